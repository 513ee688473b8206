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
  /** The first task that has the whole chunk. Forked tasks often have just the same, which is seen at one glance. */
  first: FirstTask | undefined;
}

interface FirstTask {
  readonly index: number;
  /** What was read of it. */
  readonly words: Uint32Array;
  readonly candidates: Uint8Array;
  /** How many candidates it has, and how many other tasks are the same. */
  readonly count: number;
  same: number;
  /** Their marks. */
  sameMarks: PageMarks | undefined;
}

/** Marks of 512 pages: 0, or these bits. */
export interface PageMarks {
  readonly bits: Uint8Array;
  /** What all pages have; undefined when they differ. */
  readonly uniform: number | undefined;
}

/** Marks of the pages of a task, by chunk. */
export type Marks = ReadonlyMap<number, PageMarks>;
/** Others have it too. */
const IN_BASE = 1;
/** The base copies it from this task. */
const OWNED = 2;

/** The shared pages of tasks; undefined when there are not enough of them. Throws SyscallError. */
export function findSharedPages(tasks: readonly TaskRuns[]): SharedPages | undefined {
  const table = new SharingTable(findCommonChunks(tasks));
  const added = tasks.map((task, index) => ({ ...task, candidates: table.addTask(task, index) }));
  if (table.savedPages < SAVED_PAGES_MIN) return undefined;
  const seen = added.map(({ pid, runs, candidates }, index) => ({ pid, runs, marks: table.finish(candidates, index) }));
  const base = seen.flatMap(({ pid, runs, marks }) =>
    markRuns(runs, marks, OWNED).flatMap((run) => (run.isInBase ? [{ ...run, pid }] : [])),
  );
  return {
    base: base.sort((a, b) => a.start - b.start),
    runs: new Map(seen.map(({ pid, runs, marks }) => [pid, markRuns(runs, marks, IN_BASE)])),
  };
}

/** Pages of a task that have the frame of the table, by chunk: 1, others 0. */
type Candidates = Map<number, Uint8Array>;

/** Numbers of the chunks in which more than one task has shareable pages: nowhere else is it worth to look. Pure. */
export function findCommonChunks(tasks: readonly Pick<TaskRuns, 'runs'>[]): ReadonlySet<number> {
  const seen = new Map<number, number>();
  const common = new Set<number>();
  tasks.forEach(({ runs }, index) => {
    for (const { start, end, isShareable } of runs) {
      if (!isShareable) continue;
      const to = Math.ceil(end / CHUNK_BYTES);
      for (let number = Math.floor(start / CHUNK_BYTES); number < to; number++) {
        const first = seen.get(number);
        if (first === undefined) seen.set(number, index);
        else if (first !== index) common.add(number);
      }
    }
  });
  return common;
}

class SharingTable {
  readonly #common: ReadonlySet<number>;
  readonly #chunks = new Map<number, Chunk>();
  savedPages = 0;

  constructor(common: ReadonlySet<number>) {
    this.#common = common;
  }

  addTask({ pid, runs }: TaskRuns, index: number): Candidates {
    const candidates: Candidates = new Map();
    const fd = open(`/proc/${pid}/pagemap`, O_RDONLY);
    try {
      for (const run of runs) if (run.isShareable) this.#addRun(fd, run, index, candidates);
    } finally {
      close(fd);
    }
    return candidates;
  }

  /** When all tasks were added: which pages a task shares with others, and which it gives to the base. */
  finish(candidates: Candidates, index: number): Marks {
    const marks = new Map<number, PageMarks>();
    for (const [number, own] of candidates) {
      const chunk = this.#chunk(number);
      const { first } = chunk;
      if (first === undefined || first.candidates !== own || first.index === index) {
        marks.set(number, finishChunk(chunk, own, index));
        continue;
      }
      first.sameMarks ??= finishChunk(chunk, own, index);
      marks.set(number, first.sameMarks);
    }
    return marks;
  }

  #addRun(fd: number, { start, end }: Range, index: number, candidates: Candidates): void {
    for (let at = start; at < end; ) {
      const number = Math.floor(at / CHUNK_BYTES);
      const to = Math.min(end, (number + 1) * CHUNK_BYTES);
      if (!this.#common.has(number)) {
        at = to;
        continue;
      }
      const pages = (to - at) / PAGE_BYTES;
      check('pread64', syscall(SYS.pread64, fd, buffer, pages * 8, (at / PAGE_BYTES) * 8), 'pagemap');
      const chunk = this.#chunk(number);
      if (pages === CHUNK_PAGES) candidates.set(number, this.#addWhole(chunk, index));
      else {
        const marks = candidates.get(number) ?? new Uint8Array(CHUNK_PAGES);
        candidates.set(number, marks);
        this.#compare(chunk, (at % CHUNK_BYTES) / PAGE_BYTES, pages, index, marks);
      }
      at = to;
    }
  }

  /** A chunk that lies in one run. Returns the candidates. */
  #addWhole(chunk: Chunk, index: number): Uint8Array {
    const { first } = chunk;
    if (first !== undefined && Buffer.compare(bytesOf(first.words), bytesOf(buffer)) === 0) {
      first.same++;
      this.savedPages += first.count;
      return first.candidates;
    }
    const candidates = new Uint8Array(CHUNK_PAGES);
    const count = this.#compare(chunk, 0, CHUNK_PAGES, index, candidates);
    chunk.first ??= { index, words: buffer.slice(), candidates, count, same: 0, sameMarks: undefined };
    return candidates;
  }

  /** Compares what has been read page by page; returns how many have the frame of the table. */
  #compare({ frames, sharers, owners }: Chunk, from: number, pages: number, index: number, marks: Uint8Array): number {
    let count = 0;
    for (let i = 0, page = from; i < pages; i++, page++) {
      const high = buffer[2 * i + 1] ?? 0;
      if ((high & PRESENT_HIGH) === 0 || (high & EXCLUSIVE_HIGH) !== 0) continue;
      const frame = (high & FRAME_HIGH) * 0x1_0000_0000 + (buffer[2 * i] ?? 0);
      if (frame === 0) continue;
      if (frames[page] === 0) {
        frames[page] = frame;
        owners[page] = index;
      } else if (frames[page] !== frame) continue;
      const sharing = (sharers[page] ?? 0) + 1;
      sharers[page] = sharing;
      if (sharing > 1) this.savedPages++;
      marks[page] = 1;
      count++;
    }
    return count;
  }

  #chunk(number: number): Chunk {
    let chunk = this.#chunks.get(number);
    if (chunk === undefined) {
      chunk = {
        frames: new Float64Array(CHUNK_PAGES),
        sharers: new Uint32Array(CHUNK_PAGES),
        owners: new Uint32Array(CHUNK_PAGES),
        first: undefined,
      };
      this.#chunks.set(number, chunk);
    }
    return chunk;
  }
}

const buffer = new Uint32Array(CHUNK_PAGES * 2);
const bytesOf = (words: Uint32Array) => new Uint8Array(words.buffer, words.byteOffset, words.byteLength);

function finishChunk({ sharers, owners, first }: Chunk, candidates: Uint8Array, index: number): PageMarks {
  const bits = new Uint8Array(CHUNK_PAGES);
  for (let page = 0; page < CHUNK_PAGES; page++) {
    if (candidates[page] === 0) continue;
    const same = first === undefined || first.candidates[page] === 0 ? 0 : first.same;
    if ((sharers[page] ?? 0) + same > 1) bits[page] = IN_BASE | (owners[page] === index ? OWNED : 0);
  }
  const uniform = bits[0];
  return { bits, uniform: bits.every((mark) => mark === uniform) ? uniform : undefined };
}

/** Cuts runs where pages with the mark begin and end; those have `isInBase`. Pure. */
export function markRuns(runs: readonly DumpRun[], marks: Marks, mark: number): DumpRun[] {
  const parts: DumpRun[] = [];
  for (const run of runs) {
    if (!run.isShareable) {
      parts.push(run);
      continue;
    }
    let [start, isInBase] = [run.start, false];
    for (let at = run.start; at < run.end; ) {
      const chunk = marks.get(Math.floor(at / CHUNK_BYTES));
      const end = Math.min(run.end, (Math.floor(at / CHUNK_BYTES) + 1) * CHUNK_BYTES);
      const isUniform = chunk === undefined || chunk.uniform !== undefined;
      const step = isUniform ? end - at : PAGE_BYTES;
      for (; at < end; at += step) {
        const next = ((chunk?.bits[(at % CHUNK_BYTES) / PAGE_BYTES] ?? 0) & mark) !== 0;
        if (next === isInBase) continue;
        if (at > start) parts.push({ ...run, start, end: at, isInBase });
        [start, isInBase] = [at, next];
      }
    }
    parts.push({ ...run, start, end: run.end, isInBase });
  }
  return parts;
}
