/**
 * Looking at the descriptors of a task, in portions: two tables of system calls (probe-tables.ts) with a row for each
 * descriptor. A duplicate is closed when its row is used again, or in the end.
 *
 * Reading /proc/PID/fdinfo takes longer than all else together. Of many descriptors it is read only where it may say more
 * than the duplicate does (quick-files.ts). Whether the others have FD_CLOEXEC is not known then.
 */
import { CriuError, SyscallError } from '../../../base/errors.ts';
import type { FrozenTask } from '../../../dump/frozen-tree.ts';
import { errnoName } from '../../../linux/abi/errno.ts';
import { S_IFMT, S_IFREG, S_IFSOCK } from '../../../linux/abi/fcntl.ts';
import { Folder } from '../../../linux/syscalls/folder.ts';
import { tryListNumbers } from '../../../linux/syscalls/fs.ts';
import { InspectedFile, type Position, parsePosition } from './open-file.ts';
import { type Duplicate, failed, NO_MOUNT, type ProbeTables } from './probe-tables.ts';
import type { QuickFiles } from './quick-files.ts';

const NO_FD = -1;

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
  readonly #tables: ProbeTables;
  readonly #quick: QuickFiles | undefined;
  readonly #fdinfo: Folder;
  /** The portion that is in the tables, by places in the list. */
  #start = 0;
  #end = 0;
  /** What the duplicates of the portion tell, or why there is none. */
  readonly #seen: (Duplicate | SyscallError | number)[] = [];

  /** `fds`: the descriptors that are to be looked at. `quick`: of which of them fdinfo need not be read. */
  constructor(task: FrozenTask, fds: readonly number[], tables: ProbeTables, quick: QuickFiles | undefined) {
    this.#task = task;
    this.#fds = fds;
    this.#tables = tables;
    this.#quick = quick;
    this.#fdinfo = new Folder(`/proc/${task.pid}/fdinfo`);
  }

  /**
   * What is behind `fds[index]`, until an index of another portion is asked for; −errno when it cannot be fetched. Throws
   * SyscallError.
   */
  inspect(index: number): InspectedFile | number {
    if (index < this.#start || index >= this.#end) this.#run(index);
    const row = index - this.#start;
    const seen = this.#seen[row] ?? NO_FD;
    if (typeof seen === 'number') return seen;
    if (seen instanceof SyscallError) throw seen;
    const fd = this.#fds[index] ?? NO_FD;
    const task = this.#task;
    const { stat, owner } = seen;
    const { details } = this.#tables;
    const link = details.link(row, task, fd);
    const fdinfo = details.fdinfo(row, this.#fdinfo, task, fd);
    const position = fdinfo === undefined ? this.#position(row, seen, fd) : parsePosition(fdinfo);
    return new InspectedFile(task, fd, seen.localFd, undefined, {
      stat,
      link,
      owner,
      position,
      fdinfo,
      socket: details.socket(row),
    });
  }

  /** Fills the tables with the portion that begins at an index. */
  #run(start: number): void {
    const task = this.#task;
    const { duplicates, details, rows } = this.#tables;
    const count = Math.min(this.#fds.length - start, rows);
    for (let row = 0; row < count; row++) duplicates.ask(row, task, this.#fds[start + row] ?? NO_FD);
    duplicates.run(count);
    for (let row = 0; row < count; row++) {
      const fd = this.#fds[start + row] ?? NO_FD;
      const seen = duplicates.look(row, task, fd);
      this.#seen[row] = seen;
      if (typeof seen === 'number' || seen instanceof SyscallError) {
        details.ask(row, NO_FD, undefined, fd, false);
        continue;
      }
      const isSocket = (seen.stat.st_mode & S_IFMT) === S_IFSOCK;
      details.ask(row, seen.localFd, this.#isQuick(seen) ? undefined : this.#fdinfo, fd, isSocket);
    }
    details.run(count);
    this.#start = start;
    this.#end = start + count;
  }

  #isQuick({ stat, flags, mntId, localFd }: Duplicate): boolean {
    return mntId !== NO_MOUNT && this.#quick !== undefined && this.#quick.has(stat, flags, localFd);
  }

  #position(row: number, { stat, flags, mntId }: Duplicate, fd: number): Position {
    if ((stat.st_mode & S_IFMT) !== S_IFREG) return { pos: 0n, flags, mntId, isCloexec: undefined };
    const pos = this.#tables.details.position(row);
    if (pos < 0n) throw failed('lseek', Number(pos), this.#task, fd);
    return { pos, flags, mntId, isCloexec: undefined };
  }

  [Symbol.dispose](): void {
    this.#tables.duplicates.close();
    this.#fdinfo[Symbol.dispose]();
  }
}
