/**
 * Looking at the descriptors of a task. Each takes nine system calls; those of a portion of descriptors are one table.
 * A descriptor of ours is closed when its row of the table is used again.
 */
import { type Place, Program, type Result } from '../../../agent/program.ts';
import { byteStringAt } from '../../../base/bytes.ts';
import { CriuError, SyscallError } from '../../../base/errors.ts';
import type { FrozenTask } from '../../../dump/frozen-tree.ts';
import type { FownEntry } from '../../../image/gen/fown.ts';
import { errnoName } from '../../../linux/abi/errno.ts';
import { F_GETOWN_EX, F_GETSIG, O_CLOEXEC, O_RDONLY } from '../../../linux/abi/fcntl.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { Folder } from '../../../linux/syscalls/folder.ts';
import { close, parseStat, STAT_BYTES, tryListNumbers } from '../../../linux/syscalls/fs.ts';
import { CallTable } from '../../../tracee/call-table.ts';
import { InspectedFile, NO_OWNER, readOwner } from './open-file.ts';

/** Room for what most descriptors have; what may have been cut off is read once more. */
const FDINFO_BYTES = 1024;
const LINK_BYTES = 512;
const NAME_BYTES = 16;
/** So many descriptors of ours are open at once. */
const ROWS_MAX = 128;

/** Where things are in a row, in words of 32 bits: results of calls and what they have filled. */
type Column = 'last' | 'fd' | 'name' | 'fdinfo' | 'stat' | 'link' | 'owner' | Call;
type Call = 'fetched' | 'read' | 'fstat' | 'readlink' | 'signal' | 'getown';

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
  readonly #fdinfo: Folder;
  readonly #links: Folder;
  readonly #table: CallTable;
  readonly #words: Int32Array;
  readonly #unsigned: Uint32Array;
  readonly #at: Readonly<Record<Column, number>>;
  /** The portion that is in the table, by places in the list. */
  #start = 0;
  #end = 0;

  /** `fds`: the descriptors that are to be looked at. */
  constructor(task: FrozenTask, fds: readonly number[]) {
    this.#task = task;
    this.#fds = fds;
    this.#fdinfo = new Folder(`/proc/${task.pid}/fdinfo`);
    this.#links = new Folder(`/proc/${task.pid}/fd`);
    const program = new Program();
    const places = {
      last: program.words(-1),
      fd: program.words(0),
      name: program.reserve(NAME_BYTES),
      fdinfo: program.reserve(FDINFO_BYTES),
      stat: program.reserve(STAT_BYTES),
      link: program.reserve(LINK_BYTES),
      owner: program.reserve(8),
    };
    program.call(SYS.close, program.wordAt(places.last));
    const fetched = program.call(SYS.pidfd_getfd, task.pidfd, program.wordAt(places.fd), 0);
    program.store64(places.last, fetched);
    const opened = program.call(SYS.openat, this.#fdinfo.fd, places.name, O_RDONLY | O_CLOEXEC, 0);
    const read = program.call(SYS.read, opened, places.fdinfo, FDINFO_BYTES);
    program.call(SYS.close, opened);
    const fstat = program.call(SYS.fstat, fetched, places.stat);
    const readlink = program.call(SYS.readlinkat, this.#links.fd, places.name, places.link, LINK_BYTES);
    const signal = program.call(SYS.fcntl, fetched, F_GETSIG, 0);
    const getown = program.call(SYS.fcntl, fetched, F_GETOWN_EX, places.owner);
    const table = new CallTable(program, Math.min(fds.length, ROWS_MAX));
    this.#table = table;
    this.#words = new Int32Array(table.block.buffer);
    this.#unsigned = new Uint32Array(table.block.buffer);
    const place = (of: Place) => table.at(0, of) / 4;
    const result = (of: Result) => program.resultOffset(of) / 4;
    this.#at = {
      last: place(places.last),
      fd: place(places.fd),
      name: place(places.name),
      fdinfo: place(places.fdinfo),
      stat: place(places.stat),
      link: place(places.link),
      owner: place(places.owner),
      fetched: result(fetched),
      read: result(read),
      fstat: result(fstat),
      readlink: result(readlink),
      signal: result(signal),
      getown: result(getown),
    };
  }

  /** What is behind `fds[index]`, until an index of another portion is asked for; −errno when it cannot be fetched. */
  inspect(index: number): InspectedFile | number {
    if (index < this.#start || index >= this.#end) this.#run(index);
    const fd = this.#fds[index] ?? -1;
    const at = this.#at;
    const row = (index - this.#start) * (this.#table.rowBytes / 4);
    const localFd = this.#words[row + at.fetched] ?? -1;
    if (localFd < 0) return localFd;
    this.#check('fstat', row, fd);
    const fdinfo = this.#fdinfoText(row, fd);
    const link = this.#link(row, fd);
    const stat = parseStat(this.#unsigned, row + at.stat);
    return new InspectedFile(this.#task, fd, localFd, undefined, fdinfo, stat, link, this.#owner(row, localFd));
  }

  /** Fills the table with the portion that begins at an index. */
  #run(start: number): void {
    const { block, rows, rowBytes } = this.#table;
    const at = this.#at;
    const count = Math.min(this.#fds.length - start, rows);
    for (let i = 0; i < count; i++) {
      const row = i * rowBytes;
      const fd = this.#fds[start + i] ?? -1;
      this.#words[row / 4 + at.fd] = fd;
      const text = `${fd}`;
      const name = row + at.name * 4;
      for (let digit = 0; digit < text.length; digit++) block[name + digit] = text.charCodeAt(digit);
      block[name + text.length] = 0;
    }
    this.#table.run(count);
    this.#start = start;
    this.#end = start + count;
  }

  #check(call: Call, row: number, fd: number): number {
    const result = this.#words[row + this.#at[call]] ?? 0;
    if (result >= 0) return result;
    throw new SyscallError(call, -result, errnoName(-result), `fd ${fd} of task ${this.#task.pid}`);
  }

  #fdinfoText(row: number, fd: number): string {
    const bytes = this.#check('read', row, fd);
    // A longer one may have been cut off.
    if (bytes >= FDINFO_BYTES / 2) {
      const text = this.#fdinfo.tryReadText(fd);
      if (typeof text === 'string') return text;
    }
    const start = (row + this.#at.fdinfo) * 4;
    return byteStringAt(this.#table.block, start, start + bytes);
  }

  #link(row: number, fd: number): string {
    const bytes = this.#check('readlink', row, fd);
    if (bytes === LINK_BYTES) {
      const link = this.#links.tryReadlink(fd);
      if (typeof link === 'string') return link;
    }
    const start = (row + this.#at.link) * 4;
    return byteStringAt(this.#table.block, start, start + bytes);
  }

  /** Files opened with O_PATH have none; EBADF says so. */
  #owner(row: number, localFd: number): FownEntry {
    const words = this.#words;
    const at = this.#at;
    if ((words[row + at.getown] ?? 0) < 0) return NO_OWNER;
    if (words[row + at.owner + 1] !== 0) return readOwner(localFd);
    const signum = words[row + at.signal] ?? 0;
    return signum <= 0 ? NO_OWNER : { ...NO_OWNER, signum };
  }

  [Symbol.dispose](): void {
    const rowWords = this.#table.rowBytes / 4;
    for (let row = 0; row < this.#words.length - rowWords; row += rowWords) {
      const last = this.#words[row + this.#at.last] ?? -1;
      if (last >= 0) close(last);
    }
    this.#fdinfo[Symbol.dispose]();
    this.#links[Symbol.dispose]();
  }
}
