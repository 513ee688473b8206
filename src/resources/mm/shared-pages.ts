/**
 * Pages that tasks of a tree share copy-on-write: the same page frame at the same address in several of them
 * (/proc/PID/pagemap, Documentation/admin-guide/mm/pagemap.rst). They are written once, to a base that all tasks refer to.
 *
 * Not found, and so written by each task: pages at different addresses (mremap after fork), swapped pages, and of pages at
 * one address all but the ones that were seen first. Frame numbers need CAP_SYS_ADMIN; without it nothing is found.
 */
import { PAGE_BYTES } from '../../image/pagemap.ts';
import type { DumpRun } from './dump-pages.ts';
import { PIECE_PAGES, type Piece, readFrames } from './read-frames.ts';

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
  const table = new SharingTable();
  const added = tasks.map((task) => ({ ...task, candidates: new Map<number, Uint8Array>() }));
  readFrames(findPieces(tasks), (piece, words) => {
    table.add(piece, words, (added[piece.index] as (typeof added)[number]).candidates);
  });
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

/** Pages of a task, by its index. */
interface TaskPiece extends Piece {
  readonly index: number;
}

/** What is to be looked at, task by task. */
function findPieces(tasks: readonly TaskRuns[]): TaskPiece[] {
  const common = findCommonChunks(tasks);
  const pieces: TaskPiece[] = [];
  for (const [index, { pid, runs }] of tasks.entries()) {
    for (const run of runs) if (run.isShareable) addPieces(pieces, run, common, pid, index);
  }
  return pieces;
}

function addPieces(pieces: TaskPiece[], run: DumpRun, common: ReadonlySet<number>, pid: number, index: number): void {
  let start = run.start;
  for (let [at, to] = [start, 0]; at < run.end; at = to) {
    const number = Math.floor(at / CHUNK_BYTES);
    to = Math.min(run.end, (number + 1) * CHUNK_BYTES);
    const isCommon = common.has(number);
    if (isCommon && to < run.end && to + CHUNK_BYTES - start <= PIECE_PAGES * PAGE_BYTES) continue;
    const end = isCommon ? to : at;
    if (start < end) pieces.push({ start, end, pid, index });
    start = to;
  }
}

class SharingTable {
  readonly #chunks = new Map<number, Chunk>();
  savedPages = 0;

  /** Looks at a piece and the words of its pages. */
  add({ start, end, index }: TaskPiece, words: Uint32Array, candidates: Candidates): void {
    for (let [from, to] = [start, 0]; from < end; from = to) {
      const number = Math.floor(from / CHUNK_BYTES);
      to = Math.min(end, (number + 1) * CHUNK_BYTES);
      const pages = (to - from) / PAGE_BYTES;
      const at = ((from - start) / PAGE_BYTES) * 2;
      const own = words.subarray(at, at + 2 * pages);
      const chunk = this.#chunk(number);
      if (pages === CHUNK_PAGES) candidates.set(number, this.#addWhole(chunk, own, index));
      else {
        const marks = candidates.get(number) ?? new Uint8Array(CHUNK_PAGES);
        candidates.set(number, marks);
        this.#compare(chunk, own, (from % CHUNK_BYTES) / PAGE_BYTES, index, marks);
      }
    }
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

  /** A chunk that lies in one run. Returns the candidates. */
  #addWhole(chunk: Chunk, words: Uint32Array, index: number): Uint8Array {
    const { first } = chunk;
    if (first !== undefined && Buffer.compare(bytesOf(first.words), bytesOf(words)) === 0) {
      first.same++;
      this.savedPages += first.count;
      return first.candidates;
    }
    const candidates = new Uint8Array(CHUNK_PAGES);
    const count = this.#compare(chunk, words, 0, index, candidates);
    chunk.first ??= { index, words: words.slice(), candidates, count, same: 0, sameMarks: undefined };
    return candidates;
  }

  /** Compares page by page, from page `from` of the chunk on; returns how many have the frame of the table. */
  #compare(
    { frames, sharers, owners }: Chunk,
    words: Uint32Array,
    from: number,
    index: number,
    marks: Uint8Array,
  ): number {
    let count = 0;
    for (let i = 0, page = from; i < words.length; i += 2, page++) {
      const high = words[i + 1] ?? 0;
      if ((high & PRESENT_HIGH) === 0 || (high & EXCLUSIVE_HIGH) !== 0) continue;
      const frame = (high & FRAME_HIGH) * 0x1_0000_0000 + (words[i] ?? 0);
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
