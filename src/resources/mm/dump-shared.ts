/**
 * Shared memory: each object is written once, whoever maps it, with all pages that have content. criu reads the object
 * itself, so pages that no task has touched through its own mapping are seen too.
 */
import type { ImageDir } from '../../image/image-dir.ts';
import { SEEK_DATA, SEEK_HOLE } from '../../linux/abi/fcntl.ts';
import { MAP_SHARED, PROT_READ } from '../../linux/abi/mman.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { syscall } from '../../linux/kernel.ts';
import { pread } from '../../linux/syscalls/fs.ts';
import { mmap, munmap } from '../../linux/syscalls/mm.ts';
import { getpid } from '../../linux/syscalls/process.ts';
import type { Range } from './address-space.ts';
import { pagemapEntries, plainRun } from './dump-pages.ts';
import { copyPages, PagesFile } from './pages-file.ts';
import { roundToPages } from './shared-memory.ts';

/** A shared memory object to be written. */
export interface MemoryObject {
  /** The number of its pagemap-shmem image. */
  readonly shmid: number;
  /** A descriptor of ours that can be read. */
  readonly fd: number;
  readonly bytes: number;
  /** It consists of huge pages of hugetlbfs. */
  readonly isHuge: boolean;
}

/** Writes pagemap-shmem-N and pages images, numbered from `firstId` on; returns the number of pages. */
export function dumpSharedMemory(objects: readonly MemoryObject[], images: ImageDir, firstId: number): number {
  let id = firstId;
  let pages = 0;
  for (const object of objects) {
    if (object.bytes > 0) pages += dumpObject(object, images, id++);
  }
  return pages;
}

function dumpObject({ shmid, fd, bytes, isHuge }: MemoryObject, images: ImageDir, id: number): number {
  using file = new PagesFile(images, id);
  const parts = isHuge ? copyHuge(fd, bytes, file) : copyData(fd, bytes, file);
  const entries = pagemapEntries(parts.map(plainRun));
  images.write('pagemap-shmem', shmid, { head: { pages_id: id }, entries });
  return file.pages;
}

function copyData(fd: number, bytes: number, file: PagesFile): Range[] {
  const parts = dataRanges(fd, bytes);
  const address = mmap(0, bytes, PROT_READ, MAP_SHARED, fd, 0);
  // As if we were a task of the tree: big amounts are copied on all cores.
  const runs = parts.map(({ start, end }) => ({ start: address + start, end: address + end }));
  copyPages([{ pid: getpid(), file, runs: file.place(runs.map(plainRun)), isShared: false }]);
  munmap(address, bytes);
  return parts;
}

/** Parts of a file that are not holes, in whole pages (man 2 lseek, SEEK_DATA). */
function dataRanges(fd: number, bytes: number): Range[] {
  const ranges: Range[] = [];
  for (let at = 0; at < bytes; ) {
    const start = syscall(SYS.lseek, fd, at, SEEK_DATA);
    if (start < 0) break;
    const end = roundToPages(syscall(SYS.lseek, fd, start, SEEK_HOLE));
    ranges.push({ start, end });
    at = end;
  }
  return ranges;
}

const HUGE_CHUNK = 1 << 21;

/**
 * hugetlbfs knows no SEEK_DATA, and touching a hole through a mapping would take a page of the pool. read(2) gives
 * zeros for it (fs/hugetlbfs/inode.c hugetlbfs_read_iter()).
 */
function copyHuge(fd: number, bytes: number, file: PagesFile): Range[] {
  const ranges: Range[] = [];
  const buffer = Buffer.alloc(Math.min(bytes, HUGE_CHUNK));
  const zeros = Buffer.alloc(buffer.length);
  for (let start = 0; start < bytes; start += buffer.length) {
    const got = pread(fd, buffer, start);
    if (got <= 0) break;
    const part = buffer.subarray(0, got);
    if (part.equals(zeros.subarray(0, got))) continue;
    file.append(part);
    ranges.push({ start, end: start + got });
  }
  return ranges;
}
