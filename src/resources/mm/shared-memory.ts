/**
 * Shared anonymous memory in the form of older images (VMA_ANON_SHARED); newer ones have it as memfds. Each object (vma_entry.shmid) is made once, by criu itself, filled from its pages, and mapped
 * by the tasks through a descriptor that they fetch with pidfd_getfd. It is an ordinary MAP_SHARED | MAP_ANONYMOUS
 * mapping of ours, so in the tasks it has the same name and nature as before.
 */
import { RANGE } from '../../agent/ops.ts';
import type { Program } from '../../agent/program.ts';
import { CriuError } from '../../base/errors.ts';
import type { VmaEntry } from '../../image/gen/vma.ts';
import type { ImageDir } from '../../image/image-dir.ts';
import { PAGE_BYTES } from '../../image/pagemap.ts';
import { VMA_ANON_SHARED, VMA_AREA_SYSVIPC } from '../../image/vma-status.ts';
import { O_RDWR } from '../../linux/abi/fcntl.ts';
import {
  MAP_ANONYMOUS,
  MAP_HUGE_MASK,
  MAP_HUGE_SHIFT,
  MAP_HUGETLB,
  MAP_SHARED,
  PROT_READ,
  PROT_WRITE,
} from '../../linux/abi/mman.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { close, open } from '../../linux/syscalls/fs.ts';
import { mmap, munmap } from '../../linux/syscalls/mm.ts';
import { getpid } from '../../linux/syscalls/process.ts';
import { MappedFiles, planFilling } from './fill-memory.ts';
import { PagesIndex } from './pages-image.ts';
import { copyToTasks } from './remote-copy.ts';
import { hex, mmapFlags } from './restore-vmas.ts';

export const roundToPages = (bytes: number): number => Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES;

/** Puts the content of pagemap-shmem-`shmid` into an object that is mapped at `address`; returns the number of pages. */
export function fillObject(address: number, bytes: number, shmid: number, images: ImageDir): number {
  const name = `pagemap-shmem-${shmid}.img`;
  const runs = new PagesIndex(images).tryRuns('pagemap-shmem', shmid) ?? [];
  using files = new MappedFiles();
  let count = 0;
  for (const run of runs) {
    if (run.address + run.bytes > bytes) {
      throw new CriuError({ object: name, action: `has pages beyond the end of the shared memory (${bytes} bytes)` });
    }
    count += run.bytes / PAGE_BYTES;
  }
  // As if we were a task of the tree: big amounts are copied on all cores.
  const moved = runs.map((run) => ({ ...run, address: address + run.address }));
  copyToTasks(planFilling(getpid(), moved, files));
  return count;
}

/** Flags of mmap that say that it is of huge pages, and of which size. */
const HUGE_BITS = MAP_HUGETLB | (MAP_HUGE_MASK << MAP_HUGE_SHIFT);

interface SharedObject {
  readonly address: number;
  readonly bytes: number;
  readonly fd: number;
}

export class SharedMemory {
  readonly #objects = new Map<number, SharedObject>();
  readonly #ownPid: number;
  #pagesWritten = 0;

  constructor(ownPid: number) {
    this.#ownPid = ownPid;
  }

  get pagesWritten(): number {
    return this.#pagesWritten;
  }

  /** Makes and fills all objects that the mappings name. */
  create(vmas: Iterable<VmaEntry>, images: ImageDir): void {
    const sizes = new Map<number, { bytes: number; huge: number }>();
    for (const vma of vmas) {
      if ((vma.status & VMA_ANON_SHARED) === 0 || (vma.status & VMA_AREA_SYSVIPC) !== 0) continue;
      const bytes = Math.max(sizes.get(vma.shmid)?.bytes ?? 0, vma.pgoff + vma.end - vma.start);
      sizes.set(vma.shmid, { bytes, huge: vma.flags & HUGE_BITS });
    }
    for (const [shmid, { bytes, huge }] of sizes) this.#objects.set(shmid, this.#make(shmid, bytes, huge, images));
  }

  #make(shmid: number, bytes: number, huge: number, images: ImageDir): SharedObject {
    const address = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | huge, -1, 0);
    const fd = open(`/proc/self/map_files/${hex(address)}-${hex(address + bytes)}`, O_RDWR);
    this.#pagesWritten += fillObject(address, bytes, shmid, images);
    return { address, bytes, fd };
  }

  /** Adds the ops that map a part of an object into a task. */
  planMap(program: Program, vma: VmaEntry, prot: number): void {
    const object = this.#objects.get(vma.shmid);
    if (object === undefined) {
      throw new CriuError({ object: `mapping ${hex(vma.start)}-${hex(vma.end)}`, action: 'has no shared memory' });
    }
    const pidfd = program.must('find criu', SYS.pidfd_open, this.#ownPid, 0);
    const fd = program.must('fetch shared memory', SYS.pidfd_getfd, pidfd, object.fd, 0);
    const flags = mmapFlags(vma) & ~MAP_ANONYMOUS;
    program.must(`map ${RANGE}`, SYS.mmap, vma.start, vma.end - vma.start, prot, flags, fd, vma.pgoff);
    program.must('close shared memory', SYS.close, fd);
    program.must('close the pidfd', SYS.close, pidfd);
  }

  [Symbol.dispose](): void {
    for (const { address, bytes, fd } of this.#objects.values()) {
      close(fd);
      munmap(address, bytes);
    }
    this.#objects.clear();
  }
}
