/**
 * Looking at the descriptors of a task, one after the other. Each takes nine system calls; one program makes them all.
 * The first of them closes the descriptor before.
 */
import { type Place, Program, type Result } from '../../../agent/program.ts';
import { byteString } from '../../../base/bytes.ts';
import { SyscallError } from '../../../base/errors.ts';
import type { FrozenTask } from '../../../dump/frozen-tree.ts';
import type { FownEntry } from '../../../image/gen/fown.ts';
import { errnoName } from '../../../linux/abi/errno.ts';
import { F_GETOWN_EX, F_GETSIG, O_CLOEXEC, O_RDONLY } from '../../../linux/abi/fcntl.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { Folder } from '../../../linux/syscalls/folder.ts';
import { close, parseStat, STAT_BYTES } from '../../../linux/syscalls/fs.ts';
import { OwnCalls } from '../../../tracee/own-calls.ts';
import { InspectedFile, noOwner, readOwner } from './open-file.ts';

const FDINFO_BYTES = 4096;
const LINK_BYTES = 4096;
const NAME_BYTES = 16;

export class FdProbe {
  readonly #task: FrozenTask;
  readonly #fdinfo: Folder;
  readonly #links: Folder;
  readonly #calls: OwnCalls;
  readonly #results: Readonly<Record<'fetched' | 'read' | 'link' | 'signal' | 'owner' | 'stat', Result>>;
  readonly #at: Readonly<Record<'last' | 'fd' | 'name' | 'fdinfo' | 'stat' | 'link' | 'owner', number>>;

  constructor(task: FrozenTask) {
    this.#task = task;
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
    const opened = program.call(SYS.openat, this.#fdinfo.fd, places.name, O_RDONLY | O_CLOEXEC, 0);
    const read = program.call(SYS.read, opened, places.fdinfo, FDINFO_BYTES);
    program.call(SYS.close, opened);
    const stat = program.call(SYS.fstat, fetched, places.stat);
    const link = program.call(SYS.readlinkat, this.#links.fd, places.name, places.link, LINK_BYTES);
    const signal = program.call(SYS.fcntl, fetched, F_GETSIG, 0);
    const owner = program.call(SYS.fcntl, fetched, F_GETOWN_EX, places.owner);
    this.#results = { fetched, read, link, signal, owner, stat };
    this.#calls = new OwnCalls(program);
    const at = (place: Place) => this.#calls.offsetOf(place);
    this.#at = {
      last: at(places.last),
      fd: at(places.fd),
      name: at(places.name),
      fdinfo: at(places.fdinfo),
      stat: at(places.stat),
      link: at(places.link),
      owner: at(places.owner),
    };
  }

  /** What is behind descriptor `fd`, until the next one is inspected; −errno when it cannot be fetched. */
  inspect(fd: number): InspectedFile | number {
    const calls = this.#calls;
    calls.view.setInt32(this.#at.fd, fd, true);
    const text = `${fd}\0`;
    for (let i = 0; i < text.length; i++) calls.block[this.#at.name + i] = text.charCodeAt(i);
    calls.run();
    const { fetched, read, link, stat } = this.#results;
    const localFd = calls.result(fetched);
    calls.view.setInt32(this.#at.last, localFd, true);
    if (localFd < 0) return localFd;
    const path = `/proc/${this.#task.pid}/fd/${fd}`;
    this.#check('fstat', stat, path);
    const fdinfoBytes = this.#check('read', read, `/proc/${this.#task.pid}/fdinfo/${fd}`);
    const linkBytes = this.#check('readlink', link, path);
    return new InspectedFile(this.#task, fd, localFd, `fd ${fd}`, {
      fdinfo: this.#fdinfoText(fd, fdinfoBytes),
      stat: parseStat(calls.view, this.#at.stat),
      link: byteString(calls.block.subarray(this.#at.link, this.#at.link + linkBytes)),
      owner: this.#owner(localFd),
    });
  }

  #check(name: string, result: Result, path: string): number {
    const value = this.#calls.result(result);
    if (value < 0) throw new SyscallError(name, -value, errnoName(-value), path);
    return value;
  }

  #fdinfoText(fd: number, bytes: number): string {
    // A longer one may have been cut off.
    if (bytes >= FDINFO_BYTES / 2) {
      const text = this.#fdinfo.tryReadText(fd);
      if (typeof text === 'string') return text;
    }
    return byteString(this.#calls.block.subarray(this.#at.fdinfo, this.#at.fdinfo + bytes));
  }

  /** Files opened with O_PATH have none; EBADF says so. */
  #owner(localFd: number): FownEntry {
    const { signal, owner } = this.#results;
    if (this.#calls.result(owner) < 0) return noOwner();
    const signum = Math.max(this.#calls.result(signal), 0);
    const pid = this.#calls.view.getInt32(this.#at.owner + 4, true);
    return pid === 0 ? { ...noOwner(), signum } : readOwner(localFd);
  }

  [Symbol.dispose](): void {
    const last = this.#calls.view.getInt32(this.#at.last, true);
    if (last >= 0) close(last);
    this.#fdinfo[Symbol.dispose]();
    this.#links[Symbol.dispose]();
  }
}
