/**
 * Which page frames tasks have. Many are read from the page tables (linux/page-tables.ts). Where that is not allowed, and when
 * they are few, it is /proc/PID/pagemap (Documentation/admin-guide/mm/pagemap.rst): a word of 64 bits for each page. The
 * kernel looks at each page for it, so two of our threads do it at the same time, each for some of the tasks.
 */
import { Program, type Result } from '../../agent/program.ts';
import { PAGE_BYTES } from '../../image/pagemap.ts';
import { AT_FDCWD, O_CLOEXEC, O_RDONLY } from '../../linux/abi/fcntl.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { keepFrames } from '../../linux/frame-words.ts';
import { addressOf, check } from '../../linux/kernel.ts';
import {
  expandHuge,
  HUGE_MARK,
  type PageTables,
  pageTables,
  TABLE_HALVES,
  TABLE_SPAN,
  TABLES_MAX,
} from '../../linux/page-tables.ts';
import { OwnCalls } from '../../tracee/own-calls.ts';
import { Running, threadCount } from '../../tracee/parallel.ts';
import type { Range } from './address-space.ts';

/** Pages of a task. */
export interface Piece extends Range {
  readonly pid: number;
  /** Where its page tables are (linux/task-mappings.ts), if that is known. */
  readonly topTable: bigint | undefined;
}

/**
 * Is told of a piece, in halves of words: a frame for each page that other tasks may have too, and zeros for the others.
 * For TABLE_SPAN bytes that are a huge page, there may be only the first one, with HUGE_MARK. It may not keep them.
 */
export type TakeFrames<T> = (piece: T, frames: Uint32Array) => void;

/** What a piece has at most, with all that has a table together with some of it. */
export const PIECE_BYTES = TABLES_MAX * TABLE_SPAN;
const WORD_BYTES = 8;
/** What is read before it is looked at. */
const BATCH_BYTES = 4 << 20;
/** With less to read, a second thread would not have begun. */
const PARALLEL_BYTES_MIN = 256 << 10;
/** To make ready for the reading of page tables takes as long as to read so much of pagemap. */
const TABLES_BYTES_MIN = 512 << 10;

/** Those of a page that is there (not swapped, say) and not of one task alone. */
const PAGEMAP_FORMAT = { there: 1n << 63n, own: 1n << 56n, frame: (1n << 55n) - 1n };

/** Tells all frames of the pieces, in order. Numbers mean nothing but that frames are the same. Throws SyscallError. */
export function readFrames<T extends Piece>(pieces: readonly T[], take: TakeFrames<T>): void {
  let isKnown = true;
  let bytes = 0;
  for (const piece of pieces) {
    bytes += bytesOf(piece);
    isKnown &&= piece.topTable !== undefined;
  }
  const tables = isKnown && bytes >= TABLES_BYTES_MIN ? pageTables() : undefined;
  if (tables === undefined) readPagemap(pieces, take);
  else readTables(tables, pieces, take);
}

function readTables<T extends Piece>(tables: PageTables, pieces: readonly T[], take: TakeFrames<T>): void {
  for (let first = 0; first < pieces.length; ) {
    let [next, count] = [first, 0];
    for (; next < pieces.length; next++) {
      const { start, end, topTable = 0n } = pieces[next] as T;
      if (count + tablesOf(start, end) > TABLES_MAX) break;
      for (let at = spanOf(start); at < end; at += TABLE_SPAN) tables.ask(count++, topTable, at);
    }
    tables.run(count);
    for (let table = 0; first < next; first++) {
      const piece = pieces[first] as T;
      const { start, end } = piece;
      const skipped = start - spanOf(start);
      if (skipped > 0) showHuge(tables, table);
      const at = table * TABLE_HALVES + halvesOf(skipped);
      take(piece, tables.tables.subarray(at, at + halvesOf(end - start)));
      table += tablesOf(start, end);
    }
  }
}

/** What begins within a huge page does not see its mark. */
function showHuge({ tables }: PageTables, index: number): void {
  const table = tables.subarray(index * TABLE_HALVES, (index + 1) * TABLE_HALVES);
  if (((table[1] ?? 0) & HUGE_MARK) !== 0) expandHuge(table);
}

/** Where the part of the addresses begins that has a table of its own. */
const spanOf = (address: number) => address - (address % TABLE_SPAN);
const tablesOf = (start: number, end: number) => Math.ceil((end - spanOf(start)) / TABLE_SPAN);
const halvesOf = (bytes: number) => (bytes / PAGE_BYTES) * 2;

function readPagemap<T extends Piece>(pieces: readonly T[], take: TakeFrames<T>): void {
  const total = pieces.reduce((sum, piece) => sum + bytesOf(piece), 0);
  const words = new Uint32Array(new ArrayBuffer(Math.min(total, BATCH_BYTES)));
  const isParallel = threadCount() > 1;
  for (let first = 0; first < pieces.length; ) {
    let [next, bytes] = [first, 0];
    for (; next < pieces.length; next++) {
      const more = bytesOf(pieces[next] as T);
      if (bytes + more > words.byteLength) break;
      bytes += more;
    }
    readBatch(pieces, first, next, words, isParallel ? bytes : 0);
    keepFrames(words, bytes / WORD_BYTES, PAGEMAP_FORMAT);
    for (let at = 0; first < next; first++) {
      const piece = pieces[first] as T;
      const end = at + bytesOf(piece) / 4;
      take(piece, words.subarray(at, end));
      at = end;
    }
  }
}

const bytesOf = ({ start, end }: Range) => ((end - start) / PAGE_BYTES) * WORD_BYTES;

/** Reads the pieces from `first` to before `end`, one after the other; `bytes`: how much that is, when two may do it. */
function readBatch(pieces: readonly Piece[], first: number, end: number, words: Uint32Array, bytes: number): void {
  let [middle, address] = [first, addressOf(words)];
  let reads: Reads = [];
  let other: Running | undefined;
  if (bytes >= PARALLEL_BYTES_MIN) {
    const half = address + bytes / 2;
    for (let to = address; middle < end && to < half; middle++) to += bytesOf(pieces[middle] as Piece);
    other = new Running((program) => {
      reads = addReads(program, pieces, first, middle, address);
    });
    for (let i = first; i < middle; i++) address += bytesOf(pieces[i] as Piece);
  }
  const program = new Program();
  const own = addReads(program, pieces, middle, end, address);
  const calls = new OwnCalls(program);
  calls.run();
  other?.join();
  for (const [piece, read] of own) checkRead(piece, calls.result(read));
  for (const [piece, read] of reads) checkRead(piece, other?.result(read) ?? 0);
}

type Reads = (readonly [piece: Piece, read: Result])[];

function addReads(program: Program, pieces: readonly Piece[], first: number, end: number, address: number): Reads {
  const reads: Reads = [];
  let to = address;
  let open: { readonly pid: number; readonly fd: Result } | undefined;
  for (let i = first; i < end; i++) {
    const piece = pieces[i] as Piece;
    const { pid, start } = piece;
    if (open?.pid !== pid) {
      if (open !== undefined) program.call(SYS.close, open.fd);
      const path = program.string(`/proc/${pid}/pagemap`);
      open = { pid, fd: program.call(SYS.openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0) };
    }
    const bytes = bytesOf(piece);
    reads.push([piece, program.call(SYS.pread64, open.fd, to, bytes, (start / PAGE_BYTES) * WORD_BYTES)]);
    to += bytes;
  }
  if (open !== undefined) program.call(SYS.close, open.fd);
  return reads;
}

function checkRead(piece: Piece, got: number): void {
  check('pread64', got === bytesOf(piece) ? 0 : Math.min(got, -1), `/proc/${piece.pid}/pagemap`);
}
