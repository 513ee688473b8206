/**
 * Room in a file, allocated and brought into memory on all cores. A file is allocated by one thread at a time (the kernel
 * locks its inode), and that costs about a third of the whole. So one thread allocates while the others populate behind
 * it, and helps them when it is done. Who is ahead of the allocation allocates by page fault, which is slower.
 */
import type { Program, Result } from '../../agent/program.ts';
import { MADV_POPULATE_WRITE } from '../../linux/abi/mman.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { Running, threadCount } from '../../tracee/parallel.ts';
import type { Range } from './address-space.ts';

/** One system call allocates or populates at most this much. */
const PIECE_BYTES = 8 << 20;
/** What it costs to allocate a page, and to populate an allocated one; measured on tmpfs. Only the ratio matters. */
const ALLOCATE_COST = 1;
const POPULATE_COST = 2;

/** Which part each thread populates; the first one allocates everything before that. Pure. */
export function planShares(bytes: number, threads: number): Range[] {
  const populating = (bytes * POPULATE_COST + bytes * ALLOCATE_COST) / threads - bytes * ALLOCATE_COST;
  const ofFirst =
    threads === 1 ? bytes : Math.max(Math.floor(populating / POPULATE_COST / PIECE_BYTES) * PIECE_BYTES, 0);
  const ofOthers = Math.ceil((bytes - ofFirst) / Math.max(threads - 1, 1) / PIECE_BYTES) * PIECE_BYTES;
  const shares: Range[] = [];
  for (let start = 0; start < bytes - ofFirst; start += ofOthers) {
    shares.push({ start, end: Math.min(start + ofOthers, bytes - ofFirst) });
  }
  return [{ start: bytes - ofFirst, end: bytes }, ...shares];
}

/**
 * Makes room for the first `bytes` bytes of a file that are mapped at `address`; returns 0 or −errno of fallocate(2).
 * On a kernel without MADV_POPULATE_WRITE (before 5.14) pages come when they are written.
 */
export function allocateAndPopulate(fd: number, address: number, bytes: number): number {
  const [first = { start: 0, end: bytes }, ...others] = planShares(bytes, threadCount());
  const allocated: Result[] = [];
  const allocator = new Running((program) => {
    for (const { start, end } of pieces({ start: 0, end: bytes })) {
      allocated.push(program.call(SYS.fallocate, fd, 0, start, end - start));
    }
    addPopulate(program, address, first);
  });
  const threads = others.map((share) => new Running((program) => addPopulate(program, address, share)));
  for (const thread of [allocator, ...threads]) thread.join();
  return Math.min(0, ...allocated.map((result) => allocator.result(result)));
}

function addPopulate(program: Program, address: number, share: Range): void {
  for (const { start, end } of pieces(share)) {
    program.call(SYS.madvise, address + start, end - start, MADV_POPULATE_WRITE);
  }
}

function pieces({ start, end }: Range): Range[] {
  const list: Range[] = [];
  for (let at = start; at < end; at += PIECE_BYTES) list.push({ start: at, end: Math.min(at + PIECE_BYTES, end) });
  return list;
}
