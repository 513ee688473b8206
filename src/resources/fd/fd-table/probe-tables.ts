/**
 * The two tables of system calls by which descriptors are looked at (fd-probe.ts): what a duplicate is, and then its name
 * and what its description is at. Columns are found by their place in words of 32 bits.
 */
import { type Place, Program, type Result } from '../../../agent/program.ts';
import { byteStringAt } from '../../../base/bytes.ts';
import type { FrozenTask } from '../../../dump/frozen-tree.ts';
import type { FownEntry } from '../../../image/gen/fown.ts';
import {
  AT_EMPTY_PATH,
  F_GETFL,
  F_GETOWN_EX,
  F_GETSIG,
  O_CLOEXEC,
  O_RDONLY,
  SEEK_CUR,
  STATX_BASIC_STATS,
  STATX_MNT_ID,
} from '../../../linux/abi/fcntl.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { parseStatx, STATX_BYTES, STATX_MASK_AT, STATX_MNT_ID_AT, type Stat } from '../../../linux/syscalls/fs.ts';
import { CallTable } from '../../../tracee/call-table.ts';
import { NO_OWNER, readOwner } from './open-file.ts';

/** Room for what most descriptors have; what is longer has to be read once more. */
export const FDINFO_BYTES = 1024;
export const LINK_BYTES = 512;
const NAME_BYTES = 16;
const WORD = 2 ** 32;
const NO_FD = -1;

/** A table with its memory as words, and its columns by name. */
class Columns<Name extends string> {
  readonly words: Int32Array;
  readonly unsigned: Uint32Array;
  /** From one row to the next. */
  readonly rowWords: number;
  readonly at: Readonly<Record<Name, number>>;
  readonly #table: CallTable;

  constructor(program: Program, rows: number, columns: Readonly<Record<Name, Place | Result>>) {
    const table = new CallTable(program, rows);
    const at = {} as Record<Name, number>;
    for (const name in columns) {
      const column = columns[name];
      at[name] = (column.kind === 'place' ? table.at(0, column) : program.resultOffset(column)) / 4;
    }
    this.#table = table;
    this.at = at;
    this.words = new Int32Array(table.block.buffer);
    this.unsigned = new Uint32Array(table.block.buffer);
    this.rowWords = table.rowBytes / 4;
  }

  run(rows: number): void {
    this.#table.run(rows);
  }

  /** Writes a number as a C string. */
  name(at: number, number: number): void {
    const { block } = this.#table;
    const text = `${number}`;
    const start = at * 4;
    for (let i = 0; i < text.length; i++) block[start + i] = text.charCodeAt(i);
    block[start + text.length] = 0;
  }

  text(at: number, bytes: number): string {
    return byteStringAt(this.#table.block, at * 4, at * 4 + bytes);
  }
}

/** Fetches descriptors of a task, and asks each what it is. */
export class Duplicates {
  readonly #columns: Columns<
    'last' | 'fd' | 'fetched' | 'statResult' | 'stat' | 'flags' | 'signal' | 'ownerResult' | 'owner'
  >;

  constructor(task: FrozenTask, rows: number) {
    const program = new Program();
    const last = program.words(NO_FD);
    const fd = program.words(NO_FD);
    const stat = program.reserve(STATX_BYTES);
    const owner = program.reserve(8);
    program.call(SYS.close, program.wordAt(last));
    const fetched = program.call(SYS.pidfd_getfd, task.pidfd, program.wordAt(fd), 0);
    program.store64(last, fetched);
    const mask = STATX_BASIC_STATS | STATX_MNT_ID;
    const statResult = program.call(SYS.statx, fetched, program.string(''), AT_EMPTY_PATH, mask, stat);
    const flags = program.call(SYS.fcntl, fetched, F_GETFL, 0);
    const signal = program.call(SYS.fcntl, fetched, F_GETSIG, 0);
    const ownerResult = program.call(SYS.fcntl, fetched, F_GETOWN_EX, owner);
    const columns = { last, fd, fetched, statResult, stat, flags, signal, ownerResult, owner };
    this.#columns = new Columns(program, rows, columns);
  }

  ask(row: number, fd: number): void {
    const { words, rowWords, at } = this.#columns;
    words[row * rowWords + at.fd] = fd;
  }

  run(rows: number): void {
    this.#columns.run(rows);
  }

  /** The duplicate, or −errno. */
  fd(row: number): number {
    const { words, rowWords, at } = this.#columns;
    return words[row * rowWords + at.fetched] ?? NO_FD;
  }

  /** What statx(2) returned. */
  statResult(row: number): number {
    const { words, rowWords, at } = this.#columns;
    return words[row * rowWords + at.statResult] ?? 0;
  }

  stat(row: number): Stat {
    const { unsigned, rowWords, at } = this.#columns;
    return parseStatx(unsigned, row * rowWords + at.stat);
  }

  /** Undefined before Linux 5.8. */
  mntId(row: number): number | undefined {
    const { unsigned, rowWords, at } = this.#columns;
    const stat = row * rowWords + at.stat;
    return ((unsigned[stat + STATX_MASK_AT] ?? 0) & STATX_MNT_ID) === 0 ? undefined : unsigned[stat + STATX_MNT_ID_AT];
  }

  /** O_* of the description. */
  flags(row: number): number {
    const { words, rowWords, at } = this.#columns;
    return words[row * rowWords + at.flags] ?? 0;
  }

  /** Files opened with O_PATH have none; EBADF says so. Throws SyscallError. */
  owner(row: number): FownEntry {
    const { words, rowWords, at } = this.#columns;
    const start = row * rowWords;
    if ((words[start + at.ownerResult] ?? 0) < 0) return NO_OWNER;
    if (words[start + at.owner + 1] !== 0) return readOwner(this.fd(row));
    const signum = words[start + at.signal] ?? 0;
    return signum <= 0 ? NO_OWNER : { ...NO_OWNER, signum };
  }

  /** The duplicates that are open. */
  open(): number[] {
    const { words, rowWords, at } = this.#columns;
    const fds: number[] = [];
    for (let row = 0; row + rowWords <= words.length; row += rowWords) {
      const fd = words[row + at.last] ?? NO_FD;
      if (fd >= 0) fds.push(fd);
    }
    return fds;
  }
}

/** Asks duplicates for their names, and for the position or the text of fdinfo. */
export class Details {
  readonly #columns: Columns<
    'own' | 'link' | 'linkResult' | 'seek' | 'seekResult' | 'folder' | 'name' | 'fdinfo' | 'read'
  >;
  /** Descriptor of the folder of fdinfo. */
  readonly #fdinfo: number;
  readonly #named: Int32Array;

  /** `own`: a descriptor of /proc/self/fd, `fdinfo`: of /proc/PID/fdinfo. */
  constructor(own: number, fdinfo: number, rows: number) {
    const program = new Program();
    const name = { own: program.reserve(NAME_BYTES), fd: program.reserve(NAME_BYTES) };
    const link = program.reserve(LINK_BYTES);
    const seek = program.words(NO_FD);
    const folder = program.words(NO_FD);
    const text = program.reserve(FDINFO_BYTES);
    // By the number of the duplicate: it is that of the portion before, whose name the kernel has still at hand.
    const linkResult = program.call(SYS.readlinkat, own, name.own, link, LINK_BYTES);
    const seekResult = program.call(SYS.lseek, program.wordAt(seek), 0, SEEK_CUR);
    const opened = program.call(SYS.openat, program.wordAt(folder), name.fd, O_RDONLY | O_CLOEXEC, 0);
    const read = program.call(SYS.read, opened, text, FDINFO_BYTES);
    program.call(SYS.close, opened);
    const columns = { own: name.own, link, linkResult, seek, seekResult, folder, name: name.fd, fdinfo: text, read };
    this.#columns = new Columns(program, rows, columns);
    this.#fdinfo = fdinfo;
    this.#named = new Int32Array(rows).fill(NO_FD);
  }

  /** Asks for the position of the duplicate, or, unless `isQuick`, for fdinfo of the descriptor of the task. */
  ask(row: number, localFd: number, isQuick: boolean, fd: number): void {
    const { words, rowWords, at } = this.#columns;
    const start = row * rowWords;
    if (this.#named[row] !== localFd) {
      this.#columns.name(start + at.own, localFd);
      this.#named[row] = localFd;
    }
    words[start + at.seek] = isQuick ? localFd : NO_FD;
    words[start + at.folder] = isQuick ? NO_FD : this.#fdinfo;
    if (!isQuick) this.#columns.name(start + at.name, fd);
  }

  run(rows: number): void {
    this.#columns.run(rows);
  }

  isQuick(row: number): boolean {
    const { words, rowWords, at } = this.#columns;
    return words[row * rowWords + at.folder] === NO_FD;
  }

  /** What readlinkat(2) returned. */
  linkResult(row: number): number {
    const { words, rowWords, at } = this.#columns;
    return words[row * rowWords + at.linkResult] ?? 0;
  }

  link(row: number): string {
    const { words, rowWords, at } = this.#columns;
    const start = row * rowWords;
    return this.#columns.text(start + at.link, words[start + at.linkResult] ?? 0);
  }

  /** What lseek(2) returned: the position, or −errno. */
  position(row: number): bigint {
    const { unsigned, words, rowWords, at } = this.#columns;
    const start = row * rowWords + at.seekResult;
    const high = words[start + 1] ?? 0;
    const low = unsigned[start] ?? 0;
    return high === 0 ? BigInt(low) : BigInt(high) * BigInt(WORD) + BigInt(low);
  }

  /** What reading fdinfo returned. */
  readResult(row: number): number {
    const { words, rowWords, at } = this.#columns;
    return words[row * rowWords + at.read] ?? 0;
  }

  fdinfo(row: number): string {
    const { words, rowWords, at } = this.#columns;
    const start = row * rowWords;
    return this.#columns.text(start + at.fdinfo, words[start + at.read] ?? 0);
  }
}
