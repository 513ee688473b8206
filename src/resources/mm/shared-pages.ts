/**
 * Pages that tasks of a tree share copy-on-write: the same page frame at the same address in several of them
 * (/proc/PID/pagemap, Documentation/admin-guide/mm/pagemap.rst). They are written once, to a base that all tasks refer to.
 *
 * Not found, and so written by each task: pages at different addresses (mremap after fork), swapped pages, and of pages at
 * one address all but the ones that were seen first. Frame numbers need CAP_SYS_ADMIN; without it nothing is found.
 */
import { PAGE_BYTES } from '../../image/pagemap.ts';
import { O_RDONLY } from '../../linux/abi/fcntl.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { check, syscall } from '../../linux/kernel.ts';
import { close, open } from '../../linux/syscalls/fs.ts';
import type { Range } from './address-space.ts';
import type { DumpRun } from './dump-pages.ts';

/** A task and its runs of pages, in order of address. */
export interface TaskRuns {
  readonly pid: number;
  readonly runs: readonly DumpRun[];
}

export interface SharedPages {
  /** Every shared page once, in order of address, with the task from which it is copied. */
  readonly base: readonly (DumpRun & { readonly pid: number })[];
  /** By pid: the same runs as before, with `isInBase` where pages are in the base. */
  readonly runs: ReadonlyMap<number, readonly DumpRun[]>;
}

/** Less is not worth a folder of its own. */
const SAVED_PAGES_MIN = 1024;

/** Halves of a word of pagemap: present, and mapped once. The frame number is in bits 0 to 54. */
const PRESENT_HIGH = 0x8000_0000;
const EXCLUSIVE_HIGH = 0x0100_0000;
const FRAME_HIGH = 0x007f_ffff;

const CHUNK_PAGES = 512;
const CHUNK_BYTES = CHUNK_PAGES * PAGE_BYTES;

/** What is known of 2 MiB of addresses. */
interface Chunk {
  /** Frame number by page, 0 when there is none yet. */
  readonly frames: Float64Array;
  readonly sharers: Uint32Array;
  /** Index of the task that was seen first. */
  readonly owners: Uint32Array;
}

/** Marks of the pages of a task, by chunk: 0, or these bits. */
export type Marks = ReadonlyMap<number, Uint8Array>;
/** It has the frame of the table; when all tasks have been seen: and shares it. */
const IN_BASE = 1;
/** The base copies it from this task. */
const OWNED = 2;

/** The shared pages of tasks; undefined when there are not enough of them. Throws SyscallError. */
export function findSharedPages(tasks: readonly TaskRuns[]): SharedPages | undefined {
  const table = new SharingTable();
  const seen = tasks.map((task, index) => ({ ...task, marks: table.addTask(task, index) }));
  if (table.savedPages < SAVED_PAGES_MIN) return undefined;
  seen.forEach(({ marks }, index) => {
    table.finish(marks, index);
  });
  const base = seen.flatMap(({ pid, runs, marks }) =>
    markRuns(runs, marks, OWNED).flatMap((run) => (run.isInBase ? [{ ...run, pid }] : [])),
  );
  return {
    base: base.sort((a, b) => a.start - b.start),
    runs: new Map(seen.map(({ pid, runs, marks }) => [pid, markRuns(runs, marks, IN_BASE)])),
  };
}

class SharingTable {
  readonly #chunks = new Map<number, Chunk>();
  savedPages = 0;

  /** Returns marks for `finish`. */
  addTask({ pid, runs }: TaskRuns, index: number): Map<number, Uint8Array> {
    const marks = new Map<number, Uint8Array>();
    const fd = open(`/proc/${pid}/pagemap`, O_RDONLY);
    try {
      for (const run of runs) if (run.isShareable) this.#addRun(fd, run, index, marks);
    } finally {
      close(fd);
    }
    return marks;
  }

  /** Leaves in the marks of a task the pages that others have too. */
  finish(marks: Marks, index: number): void {
    for (const [number, marked] of marks) {
      const { sharers, owners } = this.#chunk(number);
      for (let page = 0; page < CHUNK_PAGES; page++) {
        if (marked[page] === 0) continue;
        const isShared = (sharers[page] ?? 0) > 1;
        marked[page] = isShared ? IN_BASE | (owners[page] === index ? OWNED : 0) : 0;
      }
    }
  }

  #addRun(fd: number, { start, end }: Range, index: number, marks: Map<number, Uint8Array>): void {
    for (let at = start; at < end; ) {
      const number = Math.floor(at / CHUNK_BYTES);
      const to = Math.min(end, (number + 1) * CHUNK_BYTES);
      const pages = (to - at) / PAGE_BYTES;
      check('pread64', syscall(SYS.pread64, fd, words, pages * 8, (at / PAGE_BYTES) * 8), 'pagemap');
      const marked = marks.get(number) ?? new Uint8Array(CHUNK_PAGES);
      marks.set(number, marked);
      this.#addPages(this.#chunk(number), (at % CHUNK_BYTES) / PAGE_BYTES, pages, index, marked);
      at = to;
    }
  }

  /** Takes what has been read of one chunk. */
  #addPages({ frames, sharers, owners }: Chunk, first: number, pages: number, index: number, marked: Uint8Array): void {
    for (let i = 0, page = first; i < pages; i++, page++) {
      const high = words[2 * i + 1] ?? 0;
      if ((high & PRESENT_HIGH) === 0 || (high & EXCLUSIVE_HIGH) !== 0) continue;
      const frame = (high & FRAME_HIGH) * 0x1_0000_0000 + (words[2 * i] ?? 0);
      if (frame === 0) continue;
      if (frames[page] === 0) {
        frames[page] = frame;
        owners[page] = index;
      } else if (frames[page] !== frame) continue;
      const count = (sharers[page] ?? 0) + 1;
      sharers[page] = count;
      if (count > 1) this.savedPages++;
      marked[page] = IN_BASE;
    }
  }

  #chunk(number: number): Chunk {
    let chunk = this.#chunks.get(number);
    if (chunk === undefined) {
      chunk = {
        frames: new Float64Array(CHUNK_PAGES),
        sharers: new Uint32Array(CHUNK_PAGES),
        owners: new Uint32Array(CHUNK_PAGES),
      };
      this.#chunks.set(number, chunk);
    }
    return chunk;
  }
}

const words = new Uint32Array(CHUNK_PAGES * 2);

/** Cuts runs where pages with the mark begin and end; those have `isInBase`. Pure. */
export function markRuns(runs: readonly DumpRun[], marks: Marks, mark: number): DumpRun[] {
  const parts: DumpRun[] = [];
  for (const run of runs) {
    if (!run.isShareable) {
      parts.push(run);
      continue;
    }
    let [start, isInBase, marked] = [run.start, false, undefined as Uint8Array | undefined];
    let chunk = -1;
    for (let at = run.start; at < run.end; at += PAGE_BYTES) {
      const number = Math.floor(at / CHUNK_BYTES);
      if (number !== chunk) [chunk, marked] = [number, marks.get(number)];
      const next = ((marked?.[(at % CHUNK_BYTES) / PAGE_BYTES] ?? 0) & mark) !== 0;
      if (next === isInBase) continue;
      if (at > start) parts.push({ ...run, start, end: at, isInBase });
      [start, isInBase] = [at, next];
    }
    parts.push({ ...run, start, end: run.end, isInBase });
  }
  return parts;
}
