/**
 * Reads /proc/PID/pagemap of many tasks (Documentation/admin-guide/mm/pagemap.rst): a word of 64 bits for each page. The
 * kernel looks at each page for it, so two of our threads do it at the same time, each for some of the tasks.
 */
import { Program, type Result } from '../../agent/program.ts';
import { PAGE_BYTES } from '../../image/pagemap.ts';
import { AT_FDCWD, O_CLOEXEC, O_RDONLY } from '../../linux/abi/fcntl.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { addressOf, check } from '../../linux/kernel.ts';
import { OwnCalls } from '../../tracee/own-calls.ts';
import { Running, threadCount } from '../../tracee/parallel.ts';
import type { Range } from './address-space.ts';

/** Pages of a task; at most `PIECE_PAGES` of them. */
export interface Piece extends Range {
  readonly pid: number;
}

export const PIECE_PAGES = 1 << 15;
const WORD_BYTES = 8;
/** What is read before it is looked at. */
const BATCH_BYTES = 4 << 20;
/** With less to read, a second thread would not have begun. */
const PARALLEL_BYTES_MIN = 256 << 10;

/** Calls `take` for each piece, in order, with its words in halves, which it may not keep. Throws SyscallError. */
export function readFrames<T extends Piece>(pieces: readonly T[], take: (piece: T, words: Uint32Array) => void): void {
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
