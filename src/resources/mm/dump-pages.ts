/**
 * Copies the pages of stopped tasks into pages-N.img: process_vm_readv straight into the mapped image file, so that a
 * frozen page costs one memcpy. Protected pages (PROT_NONE, write-only) are read through /proc/PID/mem.
 */
import { CriuError } from '../../base/errors.ts';
import type { PagemapEntry } from '../../image/gen/pagemap.ts';
import type { ImageDir } from '../../image/image-dir.ts';
import { PAGE_BYTES, PE_LAZY, PE_PRESENT } from '../../image/pagemap.ts';
import {
  VMA_ANON_PRIVATE,
  VMA_AREA_AIORING,
  VMA_AREA_SOCKET,
  VMA_AREA_VDSO,
  VMA_AREA_VVAR,
} from '../../image/vma-status.ts';
import { ERRNO } from '../../linux/abi/errno.ts';
import {
  MADV_DONTFORK,
  MADV_WIPEONFORK,
  MAP_DROPPABLE,
  MAP_HUGETLB,
  MAP_LOCKED,
  MAP_SHARED,
  MREMAP_MAYMOVE,
  PROT_EXEC,
  PROT_READ,
  PROT_WRITE,
} from '../../linux/abi/mman.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { check, memoryAt, syscall } from '../../linux/kernel.ts';
import { close } from '../../linux/syscalls/fs.ts';
import { mmap, munmap } from '../../linux/syscalls/mm.ts';
import { ForcedMemory } from '../../tracee/memory.ts';
import type { Range } from './address-space.ts';
import type { DescribedVma } from './dump-vmas.ts';
import { allocateAndPopulate } from './populate.ts';
import { type OnCopied, RemoteCopy } from './remote-copy.ts';

/** A run of pages to be copied, and whether they may come later in a lazy restore. */
export interface DumpRun extends Range {
  readonly isLazy: boolean;
  /** Only /proc/PID/mem may read it. */
  readonly isProtected: boolean;
  /** A fork of the task has these pages as they were. */
  readonly isInTwin: boolean;
}

/** A run and where in our memory it is to go. */
export interface PlacedRun extends DumpRun {
  readonly target: number;
}

const PROT_READ_BIT = 1;
const NOT_FORKED = [MADV_DONTFORK, MADV_WIPEONFORK].reduce((bits, advice) => bits | (1n << BigInt(advice)), 0n);

/**
 * Not what fork leaves out; not huge pages of hugetlbfs, which the kernel takes from the child when its pool is empty
 * (mm/hugetlb.c, unmap_ref_private()); not code, since the agent's trampoline is there when the twin is made.
 */
function isForked({ madv, flags, prot }: DescribedVma['entry']): boolean {
  return (BigInt(madv ?? 0) & NOT_FORKED) === 0n && (flags & MAP_HUGETLB) === 0 && (prot & PROT_EXEC) === 0;
}

/** The scanned pages that lie in dumpable private mappings, cut at the mappings' borders. */
export function planRuns(vmas: readonly DescribedVma[], content: readonly Range[]): DumpRun[] {
  const runs: DumpRun[] = [];
  let next = 0;
  for (const { entry } of vmas) {
    if ((entry.status & (VMA_AREA_VDSO | VMA_AREA_AIORING)) !== 0) {
      runs.push({ start: entry.start, end: entry.end, isLazy: false, isProtected: false, isInTwin: false });
      continue;
    }
    if ((entry.status & (VMA_AREA_VVAR | VMA_AREA_SOCKET)) !== 0 || (entry.flags & MAP_DROPPABLE) !== 0) continue;
    const isLazy = (entry.status & VMA_ANON_PRIVATE) !== 0 && (entry.flags & (MAP_LOCKED | MAP_HUGETLB)) === 0;
    const isProtected = (entry.prot & PROT_READ_BIT) === 0;
    const isInTwin = isForked(entry);
    for (; next < content.length; next++) {
      const range = content[next];
      if (range === undefined || range.start >= entry.end) break;
      const start = Math.max(range.start, entry.start);
      const end = Math.min(range.end, entry.end);
      if (start < end) runs.push({ start, end, isLazy, isProtected, isInTwin });
      if (range.end > entry.end) break;
    }
  }
  return runs;
}

/** pagemap entries of runs; adjacent runs of one kind become one entry. */
export function pagemapEntries(runs: readonly DumpRun[]): PagemapEntry[] {
  const entries: PagemapEntry[] = [];
  for (const { start, end, isLazy } of runs) {
    const flags = isLazy ? PE_PRESENT | PE_LAZY : PE_PRESENT;
    const last = entries.at(-1);
    const pages = (end - start) / PAGE_BYTES;
    if (last !== undefined && last.flags === flags && last.vaddr + (last.nr_pages ?? 0) * PAGE_BYTES === start) {
      last.nr_pages = (last.nr_pages ?? 0) + pages;
    } else {
      entries.push({ vaddr: start, compat_nr_pages: 0, flags, nr_pages: pages });
    }
  }
  return entries;
}

/** Copies placed runs from a task. */
export function copyRuns(pid: number, runs: readonly PlacedRun[], onCopied?: OnCopied): void {
  const copy = new RemoteCopy();
  for (const run of runs) {
    if (run.isProtected) copyForced(pid, run);
    else copy.add(run, run.target);
  }
  copy.run('from-task', pid, onCopied);
}

function copyForced(pid: number, { start, end, target }: PlacedRun): void {
  using memory = new ForcedMemory(pid);
  memory.read(start, memoryAt(target, end - start));
}

/** A pages image that is being written, mapped into our memory. */
export class PagesFile {
  readonly id: number;
  readonly #fd: number;
  readonly #path: string;
  #address = 0;
  #bytes = 0;
  #used = 0;
  #isClosed = false;

  /** Creates pages-`id`.img. */
  constructor(images: ImageDir, id: number) {
    this.id = id;
    this.#path = images.imagePath('pages', id);
    this.#fd = images.createFile(`pages-${id}.img`);
  }

  /** Makes room for `bytes` more. Throws CriuError when the disk is full. */
  reserve(bytes: number): void {
    if (this.#used + bytes <= this.#bytes) return;
    const size = this.#used + bytes;
    const result = syscall(SYS.fallocate, this.#fd, 0, 0, size);
    if (result === -ERRNO.ENOSPC) throw noSpace(this.#path, size);
    this.#map(size);
  }

  /**
   * Makes room and brings it into memory on all cores, before the tree is frozen: a frozen page then costs one memcpy.
   * Throws CriuError when the disk is full.
   */
  prepare(bytes: number): void {
    this.#map(bytes);
    if (allocateAndPopulate(this.#fd, this.#address, bytes) === -ERRNO.ENOSPC) throw noSpace(this.#path, bytes);
  }

  /** Gives runs their places, one after the other. No room may be reserved until they are copied. */
  place(runs: readonly DumpRun[]): PlacedRun[] {
    this.reserve(runs.reduce((sum, { start, end }) => sum + end - start, 0));
    return runs.map((run) => {
      const target = this.#address + this.#used;
      this.#used += run.end - run.start;
      return { ...run, target };
    });
  }

  /** Appends bytes of ours. */
  append(bytes: Uint8Array): void {
    this.reserve(bytes.length);
    memoryAt(this.#address + this.#used, bytes.length).set(bytes);
    this.#used += bytes.length;
  }

  get pages(): number {
    return this.#used / PAGE_BYTES;
  }

  /** Cuts the file to what was written. It stays mapped until it is disposed of, which takes a while when it is big. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    check('ftruncate', syscall(SYS.ftruncate, this.#fd, this.#used), this.#path);
    close(this.#fd);
  }

  [Symbol.dispose](): void {
    this.close();
    if (this.#bytes > 0) munmap(this.#address, this.#bytes);
    this.#bytes = 0;
  }

  /** Maps the first `size` bytes of the file. What is populated already stays so. */
  #map(size: number): void {
    check('ftruncate', syscall(SYS.ftruncate, this.#fd, size), this.#path);
    this.#address =
      this.#bytes === 0
        ? mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED, this.#fd, 0)
        : check('mremap', syscall(SYS.mremap, this.#address, this.#bytes, size, MREMAP_MAYMOVE), this.#path);
    this.#bytes = size;
  }
}

function noSpace(path: string, bytes: number): CriuError {
  return new CriuError({
    object: path,
    action: `cannot make room for ${bytes} bytes of memory pages (fallocate: ENOSPC)`,
    remedy: 'free space on that file system or use another --images-dir',
  });
}
