/**
 * Looking at the descriptors of a task, in portions: two tables of system calls (probe-tables.ts) with a row for each
 * descriptor. A duplicate is closed when its row is used again.
 *
 * Reading /proc/PID/fdinfo takes longer than all else together. Of many descriptors it is read only where it may say more
 * than the duplicate does (quick-files.ts). Whether the others have FD_CLOEXEC is not known then.
 */
import { CriuError, SyscallError } from '../../../base/errors.ts';
import type { FrozenTask } from '../../../dump/frozen-tree.ts';
import { errnoName } from '../../../linux/abi/errno.ts';
import { S_IFMT, S_IFREG } from '../../../linux/abi/fcntl.ts';
import { Folder } from '../../../linux/syscalls/folder.ts';
import { close, type Stat, tryListNumbers } from '../../../linux/syscalls/fs.ts';
import { descriptorLimit } from '../../../linux/syscalls/process.ts';
import { InspectedFile, type Position, parsePosition } from './open-file.ts';
import { Details, Duplicates, FDINFO_BYTES, LINK_BYTES } from './probe-tables.ts';
import type { QuickFiles } from './quick-files.ts';

/** So many descriptors of ours are open at once, but no more than a part of what we may have. */
const ROWS_MAX = 128;
const LIMIT_SHARE = 4;

/** All descriptors of a task, ascending. Throws CriuError. */
export function listDescriptors(task: FrozenTask): number[] {
  const folder = `/proc/${task.pid}/fd`;
  const fds = tryListNumbers(folder);
  if (typeof fds === 'object') return fds;
  throw new CriuError({ object: task.label, action: `cannot list ${folder} (${errnoName(-fds)})`, crErrno: -fds });
}

export class FdProbe {
  readonly #task: FrozenTask;
  readonly #fds: readonly number[];
  readonly #quick: QuickFiles | undefined;
  readonly #fdinfo: Folder;
  readonly #own = new Folder('/proc/self/fd');
  readonly #rows: number;
  readonly #duplicates: Duplicates;
  readonly #details: Details;
  /** The portion that is in the tables, by places in the list. */
  #start = 0;
  #end = 0;
  /** What the files of the portion are, as far as they could be fetched. */
  #stats: (Stat | undefined)[] = [];

  /** `fds`: the descriptors that are to be looked at. `quick`: of which of them fdinfo need not be read. */
  constructor(task: FrozenTask, fds: readonly number[], quick: QuickFiles | undefined) {
    this.#task = task;
    this.#fds = fds;
    this.#quick = quick;
    this.#fdinfo = new Folder(`/proc/${task.pid}/fdinfo`);
    this.#rows = Math.min(fds.length, ROWS_MAX, Math.ceil(descriptorLimit() / LIMIT_SHARE));
    this.#duplicates = new Duplicates(task, this.#rows);
    this.#details = new Details(this.#own.fd, this.#fdinfo.fd, this.#rows);
  }

  /**
   * What is behind `fds[index]`, until an index of another portion is asked for; −errno when it cannot be fetched. Throws
   * SyscallError.
   */
  inspect(index: number): InspectedFile | number {
    if (index < this.#start || index >= this.#end) this.#run(index);
    const row = index - this.#start;
    const localFd = this.#duplicates.fd(row);
    if (localFd < 0) return localFd;
    const fd = this.#fds[index] ?? -1;
    const stat = this.#stats[row];
    if (stat === undefined) throw this.#failed('statx', this.#duplicates.statResult(row), fd);
    const link = this.#link(row, localFd, fd);
    const owner = this.#duplicates.owner(row);
    const fdinfo = this.#details.isQuick(row) ? undefined : this.#fdinfoText(row, fd);
    const position = fdinfo === undefined ? this.#position(row, stat, fd) : parsePosition(fdinfo);
    return new InspectedFile(this.#task, fd, localFd, undefined, { stat, link, owner, position, fdinfo });
  }

  /** Fills the tables with the portion that begins at an index. */
  #run(start: number): void {
    const duplicates = this.#duplicates;
    const details = this.#details;
    const count = Math.min(this.#fds.length - start, this.#rows);
    for (let row = 0; row < count; row++) duplicates.ask(row, this.#fds[start + row] ?? -1);
    duplicates.run(count);
    for (let row = 0; row < count; row++) {
      const localFd = duplicates.fd(row);
      const stat = localFd < 0 || duplicates.statResult(row) < 0 ? undefined : duplicates.stat(row);
      this.#stats[row] = stat;
      const isQuick = stat !== undefined && this.#isQuick(row, stat, localFd);
      details.ask(row, localFd, isQuick, this.#fds[start + row] ?? -1);
    }
    details.run(count);
    this.#start = start;
    this.#end = start + count;
  }

  #isQuick(row: number, stat: Stat, localFd: number): boolean {
    if (this.#quick === undefined || this.#duplicates.mntId(row) === undefined) return false;
    return this.#quick.has(stat, this.#duplicates.flags(row), localFd);
  }

  #position(row: number, stat: Stat, fd: number): Position {
    const position = this.#details.position(row);
    const isSeekable = (stat.st_mode & S_IFMT) === S_IFREG;
    if (isSeekable && position < 0n) throw this.#failed('lseek', Number(position), fd);
    return {
      pos: isSeekable ? position : 0n,
      flags: this.#duplicates.flags(row),
      mntId: this.#duplicates.mntId(row) ?? -1,
      isCloexec: undefined,
    };
  }

  #fdinfoText(row: number, fd: number): string {
    const bytes = this.#details.readResult(row);
    if (bytes < 0) throw this.#failed('read', bytes, fd);
    // A longer one may have been cut off.
    const text = bytes >= FDINFO_BYTES / 2 ? this.#fdinfo.tryReadText(fd) : undefined;
    return typeof text === 'string' ? text : this.#details.fdinfo(row);
  }

  #link(row: number, localFd: number, fd: number): string {
    const bytes = this.#details.linkResult(row);
    if (bytes < 0) throw this.#failed('readlink', bytes, fd);
    const link = bytes === LINK_BYTES ? this.#own.tryReadlink(localFd) : undefined;
    return typeof link === 'string' ? link : this.#details.link(row);
  }

  #failed(call: string, result: number, fd: number): SyscallError {
    return new SyscallError(call, -result, errnoName(-result), `fd ${fd} of task ${this.#task.pid}`);
  }

  [Symbol.dispose](): void {
    for (const fd of this.#duplicates.open()) close(fd);
    this.#fdinfo[Symbol.dispose]();
    this.#own[Symbol.dispose]();
  }
}
