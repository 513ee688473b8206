/**
 * Where the kernel has a page frame of which only its `struct page` is known: in the direct mapping, at a place that
 * differs at each boot. Both it and the array of all `struct page` are found by a page of our own, of which the number is
 * known (man 5 proc_pid_pagemap): a pipe shows its `struct page`, and its content shows where it is mapped.
 */

import { CriuError } from '../base/errors.ts';
import { O_CLOEXEC } from './abi/fcntl.ts';
import { MAP_ANONYMOUS, MAP_PRIVATE, PROT_READ, PROT_WRITE } from './abi/mman.ts';
import { SYS } from './abi/syscall-numbers.ts';
import { check, memoryAt, syscall } from './kernel.ts';
import type { KernelObjects } from './kernel-objects.ts';
import { close, open, pread } from './syscalls/fs.ts';
import { mmap, munmap } from './syscalls/mm.ts';
import { pipe2 } from './syscalls/pipe.ts';
import { randomBytes } from './syscalls/random.ts';

const PAGE_BYTES = 4096;
const FRAME_MASK = (1n << 55n) - 1n;
/** The direct mapping begins at a multiple of this (arch/x86/mm/kaslr.c). */
const STEP = 1n << 30n;
/** Up to 64 TiB: more than that is not mapped by four levels of page tables. */
const STEPS_MAX = 64 * 1024;

/** Two places that a boot has chosen. */
export class KernelPages {
  readonly #frames: bigint;
  readonly #direct: bigint;
  readonly #pageBytes: bigint;

  private constructor(frames: bigint, direct: bigint, pageBytes: bigint) {
    this.#frames = frames;
    this.#direct = direct;
    this.#pageBytes = pageBytes;
  }

  /** Throws CriuError when they are not found, and SyscallError. */
  static find(objects: KernelObjects): KernelPages {
    const [reader, writer] = pipe2(O_CLOEXEC);
    const address = mmap(0, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    try {
      const mark = memoryAt(address, MARK_BYTES);
      randomBytes(mark);
      const vector = BigUint64Array.of(BigInt(address), BigInt(PAGE_BYTES));
      check('vmsplice', syscall(SYS.vmsplice, writer, vector, 1, 0));
      const pipe = objects.word(objects.ownFile(writer), 'file.private_data');
      const page = objects.word(objects.word(pipe, 'pipe_inode_info.bufs'), 'pipe_buffer.page');
      const frame = ownFrame(address);
      const pageBytes = BigInt(objects.types.size('page'));
      const direct = findDirectMapping(objects, frame, mark);
      return new KernelPages(page - frame * pageBytes, direct, pageBytes);
    } finally {
      close(reader);
      close(writer);
      munmap(address, PAGE_BYTES);
    }
  }

  /** Where the page frame of a `struct page` is mapped. */
  addressOf(page: bigint): bigint {
    return this.#direct + ((page - this.#frames) / this.#pageBytes) * BigInt(PAGE_BYTES);
  }
}

const MARK_BYTES = 64;

/** The number of the page frame behind one of our pages. */
function ownFrame(address: number): bigint {
  const fd = open('/proc/self/pagemap', 0);
  try {
    const entry = new Uint8Array(8);
    pread(fd, entry, (address / PAGE_BYTES) * 8);
    const frame = new DataView(entry.buffer).getBigUint64(0, true) & FRAME_MASK;
    if (frame !== 0n) return frame;
    throw notFound('the number of a page frame is not shown to criu', 'run criu with CAP_SYS_ADMIN');
  } finally {
    close(fd);
  }
}

/** The top page table of ours is somewhere in it, at most as far from its begin as there is memory. */
function findDirectMapping(objects: KernelObjects, frame: bigint, mark: Uint8Array): bigint {
  const mm = objects.word(objects.ownTask, 'task_struct.mm');
  let base = (objects.word(mm, 'mm_struct.pgd') / STEP) * STEP;
  for (let i = 0; i < STEPS_MAX; i++, base -= STEP) {
    const there = objects.memory.tryRead(base + frame * BigInt(PAGE_BYTES), MARK_BYTES);
    if (there !== undefined && Buffer.compare(mark, new Uint8Array(there.buffer, there.byteOffset, MARK_BYTES)) === 0)
      return base;
  }
  throw notFound('the mapping of all memory was not found');
}

const notFound = (why: string, remedy?: string) =>
  new CriuError({
    object: 'memory of the kernel',
    action: 'cannot be read',
    why,
    ...(remedy === undefined ? {} : { remedy }),
  });
