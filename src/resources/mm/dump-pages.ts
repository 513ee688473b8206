/**
 * Copies the pages of stopped tasks into pages-N.img: process_vm_readv straight into the mapped image file, so that a
 * frozen page costs one memcpy. Protected pages (PROT_NONE, write-only) are read through /proc/PID/mem.
 */
import { CriuError } from '../../base/errors.ts';
import type { PagemapEntry } from '../../image/gen/pagemap.ts';
import type { ImageDir } from '../../image/image-dir.ts';
import { PAGE_BYTES, PE_LAZY, PE_PRESENT } from '../../image/pagemap.ts';
import { VMA_ANON_PRIVATE, VMA_AREA_AIORING, VMA_AREA_VDSO, VMA_AREA_VVAR } from '../../image/vma-status.ts';
import { MAP_SHARED, PROT_READ, PROT_WRITE } from '../../linux/abi/mman.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { check, memoryAt, syscall } from '../../linux/kernel.ts';
import { close } from '../../linux/syscalls/fs.ts';
import { mmap, munmap } from '../../linux/syscalls/mm.ts';
import { ForcedMemory } from '../../tracee/memory.ts';
import type { Range } from './address-space.ts';
import type { DescribedVma } from './dump-vmas.ts';

/** A run of pages to be copied, and whether they may come later in a lazy restore. */
export interface DumpRun extends Range {
  readonly isLazy: boolean;
  /** Only /proc/PID/mem may read it. */
  readonly isProtected: boolean;
}

const PROT_READ_BIT = 1;

/** The scanned pages that lie in dumpable private mappings, cut at the mappings' borders. */
export function planRuns(vmas: readonly DescribedVma[], content: readonly Range[]): DumpRun[] {
  const runs: DumpRun[] = [];
  let next = 0;
  for (const { entry } of vmas) {
    if ((entry.status & VMA_AREA_VDSO) !== 0) {
      runs.push({ start: entry.start, end: entry.end, isLazy: false, isProtected: false });
      continue;
    }
    if ((entry.status & (VMA_AREA_VVAR | VMA_AREA_AIORING)) !== 0) continue;
    const isLazy = (entry.status & VMA_ANON_PRIVATE) !== 0 && (entry.flags & MAP_LOCKED) === 0;
    const isProtected = (entry.prot & PROT_READ_BIT) === 0;
    for (; next < content.length; next++) {
      const range = content[next];
      if (range === undefined || range.start >= entry.end) break;
      const start = Math.max(range.start, entry.start);
      const end = Math.min(range.end, entry.end);
      if (start < end) runs.push({ start, end, isLazy, isProtected });
      if (range.end > entry.end) break;
    }
  }
  return runs;
}

const MAP_LOCKED = 0x2000;

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

const IOV_MAX = 1024;
const CALL_BYTES_MAX = 1 << 30;
const local = new BigUint64Array(2);
const remote = new BigUint64Array(2 * IOV_MAX);

/** A pages image that is being written, mapped into our memory. */
export class PagesFile {
  readonly id: number;
  readonly #fd: number;
  readonly #path: string;
  #address = 0;
  #bytes = 0;
  #used = 0;

  /** Creates pages-`id`.img. */
  constructor(images: ImageDir, id: number) {
    this.id = id;
    this.#path = images.imagePath('pages', id);
    this.#fd = images.createFile(`pages-${id}.img`);
  }

  /** Makes room for `bytes` more. Throws CriuError when the disk is full. */
  reserve(bytes: number): void {
    if (this.#used + bytes <= this.#bytes) return;
    this.#unmap();
    this.#bytes = this.#used + bytes;
    const result = syscall(SYS.fallocate, this.#fd, 0, 0, this.#bytes);
    if (result < 0) check('fallocate', syscall(SYS.ftruncate, this.#fd, this.#bytes), this.#path);
    if (result === -28) throw noSpace(this.#path, this.#bytes);
    this.#address = mmap(0, this.#bytes, PROT_READ | PROT_WRITE, MAP_SHARED, this.#fd, 0);
  }

  /** Copies the runs of a task. */
  copy(pid: number, runs: readonly DumpRun[]): void {
    this.reserve(runs.reduce((sum, { start, end }) => sum + end - start, 0));
    let from = 0;
    while (from < runs.length) {
      if (runs[from]?.isProtected === true) {
        this.#copyForced(pid, runs[from] ?? { start: 0, end: 0 });
        from++;
        continue;
      }
      let bytes = 0;
      let count = 0;
      for (let i = from; i < runs.length && count < IOV_MAX; i++, count++) {
        const run = runs[i];
        if (run === undefined || run.isProtected) break;
        if (count > 0 && bytes + run.end - run.start > CALL_BYTES_MAX) break;
        remote[2 * count] = BigInt(run.start);
        remote[2 * count + 1] = BigInt(run.end - run.start);
        bytes += run.end - run.start;
      }
      this.#read(pid, bytes, count, runs[from]?.start ?? 0);
      from += count;
    }
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

  /** Cuts the file to what was written. */
  close(): void {
    this.#unmap();
    check('ftruncate', syscall(SYS.ftruncate, this.#fd, this.#used), this.#path);
    close(this.#fd);
  }

  #read(pid: number, bytes: number, count: number, where: number): void {
    let done = 0;
    local[0] = BigInt(this.#address + this.#used);
    local[1] = BigInt(bytes);
    done = syscall(SYS.process_vm_readv, pid, local, 1, remote, count, 0);
    check('process_vm_readv', done, `task ${pid}, 0x${where.toString(16)}`);
    if (done !== bytes) {
      throw new CriuError({
        object: `task ${pid}`,
        action: `cannot read its memory: ${done} of ${bytes} bytes from 0x${where.toString(16)} on`,
      });
    }
    this.#used += bytes;
  }

  #copyForced(pid: number, { start, end }: Range): void {
    using memory = new ForcedMemory(pid);
    memory.read(start, memoryAt(this.#address + this.#used, end - start));
    this.#used += end - start;
  }

  #unmap(): void {
    if (this.#bytes > 0) munmap(this.#address, this.#bytes);
    this.#bytes = 0;
  }
}

function noSpace(path: string, bytes: number): CriuError {
  return new CriuError({
    object: path,
    action: `cannot make room for ${bytes} bytes of memory pages (fallocate: ENOSPC)`,
    remedy: 'free space on that file system or use another --images-dir',
  });
}
