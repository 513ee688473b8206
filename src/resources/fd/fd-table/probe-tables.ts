/**
 * The two tables of system calls by which descriptors are looked at (fd-probe.ts): what a duplicate is, and then its name
 * and what its description is at. Columns are found by their place in words of 32 bits.
 */
import { Program } from '../../../agent/program.ts';
import { SyscallError } from '../../../base/errors.ts';
import type { FrozenTask } from '../../../dump/frozen-tree.ts';
import type { FownEntry } from '../../../image/gen/fown.ts';
import { errnoName } from '../../../linux/abi/errno.ts';
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
import { SO_DOMAIN, SOL_SOCKET } from '../../../linux/abi/socket.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { Folder } from '../../../linux/syscalls/folder.ts';
import {
  close,
  parseStatx,
  STATX_BYTES,
  STATX_MASK_AT,
  STATX_MNT_ID_AT,
  type Stat,
} from '../../../linux/syscalls/fs.ts';
import { descriptorLimit } from '../../../linux/syscalls/process.ts';
import { Columns } from '../../../tracee/columns.ts';
import { NO_OWNER, readOwner, type SocketFacts } from './open-file.ts';

/** So many descriptors of ours are open at once, but no more than a part of what we may have. */
const ROWS_MAX = 128;
const LIMIT_SHARE = 4;

/** Both tables, for one task after the other. */
export class ProbeTables {
  readonly rows: number;
  readonly duplicates: Duplicates;
  readonly details: Details;
  readonly #own = new Folder('/proc/self/fd');

  private constructor(rows: number) {
    this.rows = rows;
    this.duplicates = new Duplicates(rows);
    this.details = new Details(this.#own, rows);
  }

  /** Tables for so many descriptors, in portions: the known ones when they have rows enough. */
  static for(count: number, known: ProbeTables | undefined): ProbeTables {
    if (known !== undefined && known.rows >= Math.min(count, ROWS_MAX)) return known;
    known?.[Symbol.dispose]();
    return new ProbeTables(Math.min(count, ROWS_MAX, Math.ceil(descriptorLimit() / LIMIT_SHARE)));
  }

  [Symbol.dispose](): void {
    this.duplicates.close();
    this.#own[Symbol.dispose]();
  }
}

/** Room for what most descriptors have; what is longer has to be read once more. */
const FDINFO_BYTES = 1024;
const LINK_BYTES = 512;
const NAME_BYTES = 16;
const WORD = 2 ** 32;
const NO_FD = -1;
const INT_BYTES = 4;

/** What a duplicate tells of itself. */
export interface Duplicate {
  readonly localFd: number;
  readonly stat: Stat;
  /** O_* of the description. */
  readonly flags: number;
  /** `NO_MOUNT` before Linux 5.8. */
  readonly mntId: number;
  readonly owner: FownEntry;
}

export const NO_MOUNT = -1;

/** Fetches descriptors of a task, and asks each what it is. */
class Duplicates {
  readonly #columns: Columns<
    'last' | 'pidfd' | 'fd' | 'fetched' | 'statResult' | 'stat' | 'flags' | 'signal' | 'ownerResult' | 'owner'
  >;

  constructor(rows: number) {
    const program = new Program();
    const last = program.words(NO_FD);
    const pidfd = program.words(NO_FD);
    const fd = program.words(NO_FD);
    const stat = program.reserve(STATX_BYTES);
    const owner = program.reserve(8);
    program.call(SYS.close, program.wordAt(last));
    const fetched = program.call(SYS.pidfd_getfd, program.wordAt(pidfd), program.wordAt(fd), 0);
    program.store64(last, fetched);
    const mask = STATX_BASIC_STATS | STATX_MNT_ID;
    const statResult = program.call(SYS.statx, fetched, program.string(''), AT_EMPTY_PATH, mask, stat);
    const flags = program.call(SYS.fcntl, fetched, F_GETFL, 0);
    const signal = program.call(SYS.fcntl, fetched, F_GETSIG, 0);
    const ownerResult = program.call(SYS.fcntl, fetched, F_GETOWN_EX, owner);
    const columns = { last, pidfd, fd, fetched, statResult, stat, flags, signal, ownerResult, owner };
    this.#columns = new Columns(program, rows, columns);
  }

  ask(row: number, task: FrozenTask, fd: number): void {
    const { words, rowWords, at } = this.#columns;
    const start = row * rowWords;
    words[start + at.pidfd] = task.pidfd;
    words[start + at.fd] = fd;
  }

  run(rows: number): void {
    this.#columns.run(rows);
  }

  /** What a duplicate tells, or why not: −errno when there is none. */
  look(row: number, task: FrozenTask, fd: number): Duplicate | SyscallError | number {
    const { words, unsigned, rowWords, at } = this.#columns;
    const start = row * rowWords;
    const localFd = words[start + at.fetched] ?? NO_FD;
    if (localFd < 0) return localFd;
    const statResult = words[start + at.statResult] ?? 0;
    if (statResult < 0) return failed('statx', statResult, task, fd);
    const stat = start + at.stat;
    const hasMount = ((unsigned[stat + STATX_MASK_AT] ?? 0) & STATX_MNT_ID) !== 0;
    return {
      localFd,
      stat: parseStatx(unsigned, stat),
      flags: words[start + at.flags] ?? 0,
      mntId: hasMount ? (unsigned[stat + STATX_MNT_ID_AT] ?? 0) : NO_MOUNT,
      owner: this.#owner(start, localFd),
    };
  }

  /** Files opened with O_PATH have none; EBADF says so. */
  #owner(start: number, localFd: number): FownEntry {
    const { words, at } = this.#columns;
    if ((words[start + at.ownerResult] ?? 0) < 0) return NO_OWNER;
    if (words[start + at.owner + 1] !== 0) return readOwner(localFd);
    const signum = words[start + at.signal] ?? 0;
    return signum <= 0 ? NO_OWNER : { ...NO_OWNER, signum };
  }

  /** Closes all duplicates that are open. */
  close(): void {
    const { words, rowWords, at } = this.#columns;
    for (let row = 0; row + rowWords <= words.length; row += rowWords) {
      const fd = words[row + at.last] ?? NO_FD;
      if (fd >= 0) close(fd);
      words[row + at.last] = NO_FD;
    }
  }
}

/** Asks duplicates for their names, sockets for their family, and for the position or the text of fdinfo. */
class Details {
  readonly #columns: Columns<
    | 'socket'
    | 'family'
    | 'familyResult'
    | 'own'
    | 'link'
    | 'linkResult'
    | 'seek'
    | 'seekResult'
    | 'folder'
    | 'name'
    | 'fdinfo'
    | 'read'
  >;
  readonly #own: Folder;
  /** The duplicates whose names are in the table. */
  readonly #named: Int32Array;

  /** `own`: /proc/self/fd. */
  constructor(own: Folder, rows: number) {
    const program = new Program();
    const name = { own: program.reserve(NAME_BYTES), fd: program.reserve(NAME_BYTES) };
    const link = program.reserve(LINK_BYTES);
    const seek = program.words(NO_FD);
    const folder = program.words(NO_FD);
    const text = program.reserve(FDINFO_BYTES);
    const socket = program.words(NO_FD);
    const family = program.reserve(INT_BYTES);
    const familyBytes = program.words(INT_BYTES);
    // By the number of the duplicate: it is that of the portion before, whose name the kernel has still at hand.
    const linkResult = program.call(SYS.readlinkat, own.fd, name.own, link, LINK_BYTES);
    const seekResult = program.call(SYS.lseek, program.wordAt(seek), 0, SEEK_CUR);
    const domain = [SOL_SOCKET, SO_DOMAIN, family, familyBytes] as const;
    const familyResult = program.call(SYS.getsockopt, program.wordAt(socket), ...domain);
    const opened = program.call(SYS.openat, program.wordAt(folder), name.fd, O_RDONLY | O_CLOEXEC, 0);
    const read = program.call(SYS.read, opened, text, FDINFO_BYTES);
    program.call(SYS.close, opened);
    const columns = {
      own: name.own,
      link,
      linkResult,
      seek,
      seekResult,
      folder,
      name: name.fd,
      fdinfo: text,
      read,
      socket,
      family,
      familyResult,
    };
    this.#columns = new Columns(program, rows, columns);
    this.#own = own;
    this.#named = new Int32Array(rows).fill(NO_FD);
  }

  /**
   * Asks for the position of the duplicate, or, with a folder of fdinfo, for the text of the descriptor of the task; and for
   * the family when it is a socket.
   */
  ask(row: number, localFd: number, fdinfo: Folder | undefined, fd: number, isSocket: boolean): void {
    const { words, rowWords, at } = this.#columns;
    const start = row * rowWords;
    if (this.#named[row] !== localFd) {
      this.#columns.name(start + at.own, localFd);
      this.#named[row] = localFd;
    }
    words[start + at.seek] = fdinfo === undefined ? localFd : NO_FD;
    words[start + at.socket] = isSocket ? localFd : NO_FD;
    words[start + at.folder] = fdinfo === undefined ? NO_FD : fdinfo.fd;
    if (fdinfo !== undefined) this.#columns.name(start + at.name, fd);
  }

  run(rows: number): void {
    this.#columns.run(rows);
  }

  /** The name of a duplicate. Throws SyscallError. */
  link(row: number, task: FrozenTask, fd: number): string {
    const { words, rowWords, at } = this.#columns;
    const start = row * rowWords;
    const bytes = words[start + at.linkResult] ?? 0;
    if (bytes < 0) throw failed('readlink', bytes, task, fd);
    const whole = bytes === LINK_BYTES ? this.#own.tryReadlink(this.#named[row] ?? NO_FD) : undefined;
    return typeof whole === 'string' ? whole : this.#columns.text(start + at.link, bytes);
  }

  /** What was asked of a socket; undefined for other rows. */
  socket(row: number): SocketFacts | undefined {
    const { words, rowWords, at } = this.#columns;
    const start = row * rowWords;
    if (words[start + at.socket] === NO_FD) return undefined;
    return { family: (words[start + at.familyResult] ?? NO_FD) < 0 ? undefined : words[start + at.family] };
  }

  /** The position of a duplicate; −errno when it has none. */
  position(row: number): bigint {
    const { unsigned, words, rowWords, at } = this.#columns;
    const start = row * rowWords + at.seekResult;
    const high = words[start + 1] ?? 0;
    const low = unsigned[start] ?? 0;
    if (high === 0) return low === 0 ? 0n : BigInt(low);
    return BigInt(high) * BigInt(WORD) + BigInt(low);
  }

  /** The text of fdinfo; undefined for a row that was not asked for it. Throws SyscallError. */
  fdinfo(row: number, folder: Folder, task: FrozenTask, fd: number): string | undefined {
    const { words, rowWords, at } = this.#columns;
    const start = row * rowWords;
    if (words[start + at.folder] === NO_FD) return undefined;
    const bytes = words[start + at.read] ?? 0;
    if (bytes < 0) throw failed('read', bytes, task, fd);
    // A longer one may have been cut off.
    const whole = bytes >= FDINFO_BYTES / 2 ? folder.tryReadText(fd) : undefined;
    return typeof whole === 'string' ? whole : this.#columns.text(start + at.fdinfo, bytes);
  }
}

export function failed(call: string, result: number, task: FrozenTask, fd: number): SyscallError {
  return new SyscallError(call, -result, errnoName(-result), `fd ${fd} of task ${task.pid}`);
}
