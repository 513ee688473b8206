/**
 * Pages that tasks of a tree share copy-on-write: the same page frame at the same address in several of them
 * (read-frames.ts). They are written once, to a base that all tasks refer to.
 *
 * Not found, and so written by each task: pages at different addresses (mremap after fork), swapped pages, and of pages at
 * one address all but the ones that were seen first. Frame numbers need CAP_SYS_ADMIN; without it nothing is found.
 */
import { PAGE_BYTES } from '../../image/pagemap.ts';
import { expandHuge, HUGE_MARK, TABLE_HALVES, TABLE_SPAN } from '../../linux/page-tables.ts';
import type { Range } from './address-space.ts';
import type { DumpRun } from './dump-pages.ts';
import { PIECE_BYTES, type Piece, readFrames } from './read-frames.ts';

/** A task and its runs of pages, in order of address. */
export interface TaskRuns {
  readonly pid: number;
  readonly runs: readonly DumpRun[];
  /** Where its page tables are; see read-frames.ts. */
  readonly topTable?: bigint | undefined;
}

export interface SharedPages {
  /** Every shared page once, in order of address, with the task from which it is copied. */
  readonly base: readonly (DumpRun & { readonly pid: number })[];
  /** By pid: the same runs as before, with `isInBase` where pages are in the base. */
  readonly runs: ReadonlyMap<number, readonly DumpRun[]>;
}

/** Less is not worth a folder of its own. */
const SAVED_PAGES_MIN = 1024;

/** What has one page table. */
const CHUNK_BYTES = TABLE_SPAN;
const CHUNK_PAGES = CHUNK_BYTES / PAGE_BYTES;

/** What is known of 2 MiB of addresses. */
interface Chunk {
  /** Frame by page, 0 when there is none yet. */
  readonly frames: Float64Array;
  readonly sharers: Uint32Array;
  /** Index of the task that was seen first. */
  readonly owners: Uint32Array;
}

/** Pages of a task that have been looked at; of others too, when they have just the same, which forked tasks often have. */
interface SeenPiece extends Range {
  readonly index: number;
  /** What was read of it. */
  readonly words: Uint32Array;
  /** By page: 1 when it has the frame of the table. And how many do. */
  readonly candidates: Uint8Array;
  readonly count: number;
  /** How many other tasks are the same, and their marks. */
  same: number;
  sameMarks: PageMarks | undefined;
}

/** Marks of a range of pages: 0, or these bits. */
export interface PageMarks extends Range {
  readonly bits: Uint8Array;
  /** What all pages have; undefined when they differ. */
  readonly uniform: number | undefined;
}

/** Others have it too. */
const IN_BASE = 1;
/** The base copies it from this task. */
const OWNED = 2;

/** The shared pages of tasks; undefined when there are not enough of them. Throws SyscallError. */
export function findSharedPages(tasks: readonly TaskRuns[]): SharedPages | undefined {
  const table = new SharingTable();
  const seen = tasks.map((): SeenPiece[] => []);
  readFrames(findPieces(tasks), (piece, words) => seen[piece.index]?.push(table.add(piece, words)));
  if (table.savedPages < SAVED_PAGES_MIN) return undefined;
  table.finish();
  const base: SharedPages['base'][number][] = [];
  const byPid = new Map<number, readonly DumpRun[]>();
  tasks.forEach(({ pid, runs }, index) => {
    const marks = (seen[index] ?? []).map((piece) => table.marksOf(piece, index));
    for (const run of markRuns(runs, marks, OWNED)) if (run.isInBase) base.push({ ...run, pid });
    byPid.set(pid, markRuns(runs, marks, IN_BASE));
  });
  return { base: base.sort((a, b) => a.start - b.start), runs: byPid };
}

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
  for (const [index, task] of tasks.entries()) {
    for (const run of task.runs) if (run.isShareable) addPieces(pieces, run, common, task, index);
  }
  return pieces;
}

function addPieces(
  pieces: TaskPiece[],
  run: DumpRun,
  common: ReadonlySet<number>,
  { pid, topTable }: TaskRuns,
  index: number,
): void {
  let start = run.start;
  for (let [at, to] = [start, 0]; at < run.end; at = to) {
    const number = Math.floor(at / CHUNK_BYTES);
    to = Math.min(run.end, (number + 1) * CHUNK_BYTES);
    const isCommon = common.has(number);
    if (isCommon && to < run.end && to + CHUNK_BYTES - chunkStart(start) <= PIECE_BYTES) continue;
    const end = isCommon ? to : at;
    if (start < end) pieces.push({ start, end, pid, topTable, index });
    start = to;
  }
}

/** Pages of a range, `from` to before `to`, and their chunk, where `inChunk` is the first of them. */
interface Part {
  readonly chunk: Chunk;
  readonly inChunk: number;
  readonly from: number;
  readonly to: number;
}

const chunkStart = (address: number) => address - (address % CHUNK_BYTES);

class SharingTable {
  readonly #chunks = new Map<number, Chunk>();
  /** By address: the first of those that begin there. */
  readonly #first = new Map<number, SeenPiece>();
  savedPages = 0;

  /** Looks at some pages of a task and their frames. */
  add({ start, end, index }: TaskPiece, words: Uint32Array): SeenPiece {
    const first = this.#first.get(start);
    if (first !== undefined && first.end === end && Buffer.compare(bytesOf(first.words), bytesOf(words)) === 0) {
      first.same++;
      this.savedPages += first.count;
      return first;
    }
    const candidates = new Uint8Array((end - start) / PAGE_BYTES);
    let count = 0;
    for (const part of this.#partsOf(start, end)) {
      const frames = allFrames(words.subarray(2 * part.from, 2 * part.to));
      count += this.#compare(part, frames, index, candidates);
    }
    const piece = { start, end, index, words: words.slice(), candidates, count, same: 0, sameMarks: undefined };
    if (first === undefined) this.#first.set(start, piece);
    return piece;
  }

  /** To be called when all tasks were added. */
  finish(): void {
    for (const { start, end, candidates, same } of this.#first.values()) {
      if (same === 0) continue;
      for (const { chunk, inChunk, from, to } of this.#partsOf(start, end)) {
        const { sharers } = chunk;
        for (let page = from, i = inChunk; page < to; page++, i++) {
          if (candidates[page] !== 0) sharers[i] = (sharers[i] ?? 0) + same;
        }
      }
    }
  }

  /** Which pages a task shares with others, and which it gives to the base. */
  marksOf(piece: SeenPiece, index: number): PageMarks {
    if (piece.index === index) return this.#mark(piece, OWNED);
    piece.sameMarks ??= this.#mark(piece, 0);
    return piece.sameMarks;
  }

  #mark({ start, end, candidates, index }: SeenPiece, owned: number): PageMarks {
    const bits = new Uint8Array(candidates.length);
    for (const { chunk, inChunk, from, to } of this.#partsOf(start, end)) {
      const { sharers, owners } = chunk;
      for (let page = from, i = inChunk; page < to; page++, i++) {
        if (candidates[page] === 0 || (sharers[i] ?? 0) < 2) continue;
        bits[page] = IN_BASE | (owners[i] === index ? owned : 0);
      }
    }
    const [uniform] = bits;
    return { start, end, bits, uniform: bits.every((mark) => mark === uniform) ? uniform : undefined };
  }

  /** Compares pages one by one; returns how many have the frame of the table. */
  #compare({ chunk, inChunk, from, to }: Part, words: Uint32Array, index: number, candidates: Uint8Array): number {
    const { frames, sharers, owners } = chunk;
    let count = 0;
    for (let page = from, i = inChunk, at = 0; page < to; page++, i++, at += 2) {
      const frame = (words[at + 1] ?? 0) * 0x1_0000_0000 + (words[at] ?? 0);
      if (frame === 0) continue;
      if (frames[i] === 0) {
        frames[i] = frame;
        owners[i] = index;
      } else if (frames[i] !== frame) continue;
      const sharing = (sharers[i] ?? 0) + 1;
      sharers[i] = sharing;
      if (sharing > 1) this.savedPages++;
      candidates[page] = 1;
      count++;
    }
    return count;
  }

  /** A range, chunk by chunk. */
  #partsOf(start: number, end: number): Part[] {
    const parts: Part[] = [];
    for (let at = start; at < end; ) {
      const next = Math.min(end, chunkStart(at) + CHUNK_BYTES);
      const inChunk = (at % CHUNK_BYTES) / PAGE_BYTES;
      parts.push({ chunk: this.#chunk(at), inChunk, from: (at - start) / PAGE_BYTES, to: (next - start) / PAGE_BYTES });
      at = next;
    }
    return parts;
  }

  #chunk(address: number): Chunk {
    const number = Math.floor(address / CHUNK_BYTES);
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

const bytesOf = (words: Uint32Array) => new Uint8Array(words.buffer, words.byteOffset, words.byteLength);

/** Those of a chunk, or of its begin, also when it is a huge page. */
function allFrames(words: Uint32Array): Uint32Array {
  if (((words[1] ?? 0) & HUGE_MARK) === 0) return words;
  const table = new Uint32Array(TABLE_HALVES);
  table.set(words.subarray(0, 2));
  expandHuge(table);
  return table.subarray(0, words.length);
}

/** Cuts runs where pages with the mark begin and end; those have `isInBase`. Both in order of address. Pure. */
export function markRuns(runs: readonly DumpRun[], marks: readonly PageMarks[], mark: number): DumpRun[] {
  const parts: DumpRun[] = [];
  let next = 0;
  for (const run of runs) {
    if (!run.isShareable) {
      parts.push(run);
      continue;
    }
    let [start, isInBase] = [run.start, false];
    const turn = (at: number, isMarked: boolean) => {
      if (isMarked === isInBase) return;
      if (at > start) parts.push({ ...run, start, end: at, isInBase });
      [start, isInBase] = [at, isMarked];
    };
    for (let piece = marks[next]; piece !== undefined && piece.start < run.end; piece = marks[++next]) {
      // Nobody has looked at what is between pieces.
      turn(piece.start, isMarkedAt(piece, 0, mark));
      const pages = piece.uniform === undefined ? piece.bits.length : 1;
      for (let page = 1; page < pages; page++) turn(piece.start + page * PAGE_BYTES, isMarkedAt(piece, page, mark));
      if (marks[next + 1]?.start !== piece.end) turn(piece.end, false);
    }
    if (start < run.end) parts.push({ ...run, start, end: run.end, isInBase });
  }
  return parts;
}

const isMarkedAt = ({ bits }: PageMarks, page: number, mark: number) => ((bits[page] ?? 0) & mark) !== 0;
