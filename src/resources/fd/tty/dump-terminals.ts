/**
 * The terminals that descriptors of a frozen tree refer to: tty-info.img and tty-data.img.
 *
 * Several descriptions may be of one terminal, which is written once. Both sides of a pseudo terminal are entries of
 * their own, with the same settings, session and foreground group. A slave whose master has been closed is hung up: it
 * has no settings any more.
 */
import type { CriuErrorFields } from '../../../base/errors.ts';
import type { TtyInfoEntry } from '../../../image/gen/tty.ts';
import { TtyType } from '../../../image/gen/tty.ts';
import type { ImageDir } from '../../../image/image-dir.ts';
import { ERRNO, errnoName } from '../../../linux/abi/errno.ts';
import { F_DUPFD_CLOEXEC, O_ACCMODE, O_NOCTTY, O_NONBLOCK, O_RDWR, O_WRONLY } from '../../../linux/abi/fcntl.ts';
import {
  TIOCGDEV,
  TIOCGEXCL,
  TIOCGPGRP,
  TIOCGPKT,
  TIOCGPTLCK,
  TIOCGPTN,
  TIOCGPTPEER,
  TIOCGSID,
  TIOCPKT,
} from '../../../linux/abi/tty.ts';
import { check } from '../../../linux/kernel.ts';
import { close, fcntl, ioctl } from '../../../linux/syscalls/fs.ts';
import type { KindDump, OpenFile, Unsupported } from '../file-kind.ts';
import { fillQueues, isHungUp, takeFromMaster, takeFromSlave } from './queue.ts';
import { readSettings, withoutJobControl } from './settings.ts';
import { type Terminal, TerminalIds, terminalKey, terminalOf } from './terminal.ts';

/** The line discipline of terminals (uapi/linux/tty.h); others are for networks over serial lines and the like. */
const N_TTY = 0;

/** A terminal that was seen. */
interface Seen {
  readonly info: TtyInfoEntry;
  readonly isMaster: boolean;
  /** /dev/tty: the controlling terminal, whichever that is. */
  readonly isCurrent: boolean;
  /** The device number that a session with it as its controlling terminal shows; negative when it is hung up. */
  readonly device: number;
  /** The description it was first seen by. */
  readonly object: string;
  /** A descriptor of ours that can be read from; only of pseudo terminals. */
  fd: number | undefined;
}

/** The value of an ioctl that fills in an int: 0 when the terminal has no such thing, −EIO when it is hung up. */
function ask(fd: number, request: number): number {
  const value = new Int32Array(1);
  const result = ioctl(fd, request, value);
  if (result === -ERRNO.ENOTTY) return 0;
  return result < 0 ? result : (value[0] ?? 0);
}

export class DumpedTerminals {
  readonly #dump: KindDump;
  readonly #ids = new TerminalIds();
  readonly #seen = new Map<number, Seen>();

  constructor(dump: KindDump) {
    this.#dump = dump;
  }

  /** Registers the terminal behind a file; its number, or why it cannot be dumped. Throws SyscallError. */
  register(file: OpenFile, isExternal: boolean): number | Unsupported {
    const terminal = identify(file, isExternal);
    if ('unsupported' in terminal) return terminal;
    if (this.#seen.size === 0) this.#dump.addImage((images) => this.#write(images));
    const session = this.#sessionOf(file, terminal);
    const id = this.#ids.identify(terminal, keyOf(file, terminal, session.sid));
    const known = this.#seen.get(id);
    if (known === undefined) this.#seen.set(id, this.#describe(file, terminal, id, session));
    else if (terminal.type === TtyType.PTY && known.info.dev !== file.stat.st_dev && !terminal.isMaster) {
      return { unsupported: `${known.object} is another terminal of the same number, of another devpts` };
    }
    this.#keep(file, id, terminal);
    return id;
  }

  /** What only shows when all descriptors are known. */
  problems(): CriuErrorFields[] {
    const problems: CriuErrorFields[] = [];
    const { shellJob, orphanMasters = false } = this.#dump.options;
    const alone: Seen[] = [];
    for (const seen of this.#seen.values()) {
      const { info, object } = seen;
      const discipline = info.termios?.c_line ?? N_TTY;
      if (discipline !== N_TTY) {
        const why = `line discipline ${discipline} is not supported, only that of terminals is`;
        problems.push({ object, action: 'cannot be dumped', why });
      }
      if (this.#isAlone(seen)) alone.push(seen);
      else if (info.sid !== 0 && !this.#dump.hasTask(info.sid) && !shellJob) {
        problems.push(dangling(object, `it is the controlling terminal of session ${info.sid}, which is not`));
      }
    }
    for (const { info, object } of alone) {
      if (orphanMasters || !this.#dump.hasTask(info.sid)) continue;
      this.#dump.warn(
        `${object}: session ${info.sid} will have no controlling terminal, unless criu's own has no session`,
      );
    }
    const [first, second] = alone;
    if (orphanMasters) return [...problems, ...this.#lostTerminals()];
    if (first !== undefined && !shellJob) {
      const { info, object } = first;
      const key = terminalKey(info.rdev, info.dev ?? 0);
      const other = `, or declare it with --external ${key} and give another one with --inherit-fd on restore`;
      problems.push(dangling(object, 'the master side of this terminal is not', other));
    } else if (first !== undefined && second !== undefined) {
      problems.push({
        object: second.object,
        action: 'cannot be dumped',
        why: `only one terminal can be taken over from another shell, and there is ${first.object} already`,
      });
    }
    return [...problems, ...this.#lostTerminals()];
  }

  /** Controlling terminals that nobody in the tree has open. */
  #lostTerminals(): CriuErrorFields[] {
    const devices = new Set([...this.#seen.values()].flatMap((seen) => (seen.isCurrent ? [] : seen.device)));
    return this.#dump.tasks.flatMap(({ pid, sid, label, stat }) => {
      if (pid !== sid || stat.ttyNr === 0 || devices.has(stat.ttyNr)) return [];
      const action = 'cannot be dumped: its session has a controlling terminal that nobody in the tree has open';
      return [{ object: label, action, why: 'it could not be made again' }];
    });
  }

  /** A slave without its master, which is not hung up. */
  #isAlone({ info, isMaster }: Seen): boolean {
    if (info.type !== TtyType.PTY || isMaster || info.termios === undefined) return false;
    return !this.#seen.has(info.id + 1);
  }

  #describe(file: OpenFile, terminal: Terminal, id: number, session: { sid: number; pgrp: number }): Seen {
    const { localFd, stat, object } = file;
    const { type, isMaster, index } = terminal;
    const exclusive = ask(localFd, TIOCGEXCL);
    const isPty = type === TtyType.PTY;
    const info: TtyInfoEntry = {
      id,
      type,
      locked: isMaster && ask(localFd, TIOCGPTLCK) > 0,
      exclusive: exclusive > 0,
      packet_mode: isMaster && ask(localFd, TIOCGPKT) > 0,
      ...session,
      rdev: stat.st_rdev,
      dev: stat.st_dev,
      uid: stat.st_uid,
      gid: stat.st_gid,
    };
    if (isPty) info.pty = { index };
    if (exclusive !== -ERRNO.EIO) Object.assign(info, readSettings(localFd));
    const isCurrent = type === TtyType.CTTY;
    return { info, isMaster, isCurrent, device: ask(localFd, TIOCGDEV), object, fd: undefined };
  }

  /** Session and foreground group. Of a slave the kernel tells them to its own session only, but /proc/PID/stat has them. */
  #sessionOf({ localFd }: OpenFile, { isMaster }: Terminal): { sid: number; pgrp: number } {
    if (isMaster) {
      const pgrp = ask(localFd, TIOCGPGRP);
      return { sid: Math.max(ask(localFd, TIOCGSID), 0), pgrp: Math.max(pgrp, 0) };
    }
    const device = ask(localFd, TIOCGDEV);
    const task = device > 0 ? this.#dump.tasks.find(({ stat }) => stat.ttyNr === device) : undefined;
    return task === undefined ? { sid: 0, pgrp: 0 } : { sid: task.sid, pgrp: Math.max(task.stat.tpgid, 0) };
  }

  /** Keeps a descriptor that the queue can be read from. */
  #keep({ localFd, flags }: OpenFile, id: number, { type }: Terminal): void {
    const seen = this.#seen.get(id);
    if (seen === undefined || seen.fd !== undefined || type !== TtyType.PTY || seen.info.termios === undefined) return;
    if ((flags & O_ACCMODE) === O_WRONLY) return;
    seen.fd = check('fcntl', fcntl(localFd, F_DUPFD_CLOEXEC, 3), 'F_DUPFD_CLOEXEC');
  }

  #write(images: ImageDir): void {
    const data: { tty_id: number; data: Uint8Array }[] = [];
    for (const seen of this.#seen.values()) {
      if (seen.isMaster && seen.fd !== undefined) data.push(...this.#takeQueues(seen, seen.fd));
    }
    images.write(
      'tty-info',
      undefined,
      [...this.#seen.values()].map(({ info }) => info),
    );
    images.write('tty-data', undefined, data);
  }

  /** Reads the queues of both sides, and fills them again at once: nobody knows yet what becomes of the tree, or of us. */
  #takeQueues(seen: Seen, master: number): { tty_id: number; data: Uint8Array }[] {
    const { info } = seen;
    const other = this.#seen.get(info.id - 1);
    if (info.packet_mode) ioctl(master, TIOCPKT, new Int32Array(1));
    if (other === undefined && isHungUp(master)) info.slave_closed_ext = true;
    const queues = withoutJobControl(() => ({
      master: takeFromMaster(master),
      slave: other?.fd === undefined ? new Uint8Array(0) : takeFromSlave(other.fd),
    }));
    putBack(master, seen, queues);
    if (info.packet_mode) ioctl(master, TIOCPKT, Int32Array.of(1));
    const entries: { tty_id: number; data: Uint8Array }[] = [];
    if (queues.master.length > 0) entries.push({ tty_id: info.id, data: queues.master });
    if (other !== undefined && queues.slave.length > 0) entries.push({ tty_id: other.info.id, data: queues.slave });
    return entries;
  }
}

function putBack(master: number, { info }: Seen, queues: { master: Uint8Array; slave: Uint8Array }): void {
  if (queues.master.length + queues.slave.length === 0 || info.termios === undefined) return;
  const slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_NONBLOCK);
  if (slave < 0) return;
  const { termios } = info;
  withoutJobControl(() => fillQueues(master, slave, queues, termios));
  close(slave);
}

function identify(file: OpenFile, isExternal: boolean): Terminal | Unsupported {
  if (isExternal) return { type: TtyType.EXT_TTY, isMaster: false, index: -1 };
  const terminal = terminalOf(file.stat.st_rdev);
  if (terminal === undefined) return { unsupported: 'terminals of this kind are not known' };
  if (terminal.type !== TtyType.PTY || !terminal.isMaster) return terminal;
  const index = ask(file.localFd, TIOCGPTN);
  if (index < 0) return { unsupported: `its number cannot be read (${errnoName(-index)})` };
  return { ...terminal, index };
}

/** What tells terminals of one type apart. */
function keyOf({ stat, object }: OpenFile, { type, index }: Terminal, sid: number): string {
  switch (type) {
    case TtyType.PTY:
      return `${index}`;
    case TtyType.CTTY:
      return `${sid}`;
    case TtyType.EXT_TTY:
      return `${terminalKey(stat.st_rdev, stat.st_dev)} ${object}`;
    default:
      return `${stat.st_rdev}`;
  }
}

/** `other`: what would do as well. */
function dangling(object: string, what: string, other = ''): CriuErrorFields {
  return {
    object,
    action: 'cannot be dumped',
    why: `${what} part of the tree: the program was started from a shell`,
    remedy: `use --shell-job (on restore too), or start the program with other files as its input and output${other}`,
  };
}
