/**
 * Terminals of a tree that is going to be restored, opened and set up by the controller. Tasks fetch the descriptors.
 *
 * All of it happens before the first task exists, so a terminal that cannot be had (its number is taken) is found early.
 * The controller lets go of everything when the tasks have it.
 */
import { assert, CriuError, SyscallError } from '../../../base/errors.ts';
import { TtyType } from '../../../image/gen/tty.ts';
import { ERRNO } from '../../../linux/abi/errno.ts';
import {
  F_DUPFD_CLOEXEC,
  F_SETFD,
  F_SETFL,
  FASYNC,
  FD_CLOEXEC,
  O_LARGEFILE,
  O_NOCTTY,
  O_NONBLOCK,
  O_RDWR,
} from '../../../linux/abi/fcntl.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import {
  TCGETS,
  TERMIOS_BYTES,
  TIOCEXCL,
  TIOCGPGRP,
  TIOCGPTN,
  TIOCGPTPEER,
  TIOCGWINSZ,
  TIOCPKT,
  TIOCSPGRP,
  TIOCSPTLCK,
  TIOCSWINSZ,
  WINSIZE_BYTES,
} from '../../../linux/abi/tty.ts';
import { check, syscall } from '../../../linux/kernel.ts';
import { close, fcntl, ioctl, tryOpen, tryStat } from '../../../linux/syscalls/fs.ts';
import { SETFL_MASK } from '../fd-table/owner.ts';
import type { RestoreContext } from '../file-kind.ts';
import { allTerminals, isHung, isTakenOver, type TerminalFile } from './check.ts';
import { fillQueues } from './queue.ts';
import { mustIoctl, parseWinsize, withoutJobControl, writeSettings } from './settings.ts';

/** The holder of a restore. */
export const terminalHolder = (context: RestoreContext): TerminalHolder =>
  context.state('terminal holder', () => new TerminalHolder(context));

/** How a session gets its controlling terminal. */
interface ControllingTerminal {
  /** The controller's descriptor. */
  readonly fd: number;
  /** The foreground group, 0 when there is none. */
  readonly pgrp: number;
  /** It is criu's own, and mostly that of its session already: then the tree goes without. */
  readonly isOptional: boolean;
}

const MODE_BITS = 0o7777;
/** More pseudo terminals than the kernel has by default (kernel.pty.max). */
const PTY_MAX = 4096;

class TerminalHolder {
  readonly #context: RestoreContext;
  readonly #fds = new Map<number, number>();
  /** Sides that are needed only until tasks have theirs. */
  readonly #extra: number[] = [];
  readonly #sessions = new Map<number, ControllingTerminal>();
  #takenOver: number | undefined = undefined;
  /** The size that the terminal that is taken over really has. */
  #size: Uint8Array | undefined = undefined;

  constructor(context: RestoreContext) {
    this.#context = context;
  }

  /** The controller's descriptor of file `id`. */
  fdOf(id: number): number {
    const fd = this.#fds.get(id);
    assert(fd !== undefined, `terminal file ${id} is open`);
    return fd;
  }

  /** The controlling terminal of a session whose leader is in the tree. */
  sessionOf(sid: number): ControllingTerminal | undefined {
    return this.#sessions.get(sid);
  }

  /** Opens all terminals. Throws CriuError. */
  prepare(): void {
    const files = allTerminals(this.#context);
    if (files.length > 0) withoutJobControl(() => this.#open(files));
  }

  /** Closes everything but the terminal that was taken over: as long as we have a master, nobody is hung up. */
  letGo(): void {
    for (const fd of [...this.#fds.values(), ...this.#extra]) if (fd !== this.#takenOver) close(fd);
    this.#fds.clear();
    this.#extra.length = 0;
  }

  /** Closes the rest. The terminal that was taken over gets its own size again. */
  release(): void {
    this.letGo();
    if (this.#takenOver === undefined) return;
    if (this.#size !== undefined) ioctl(this.#takenOver, TIOCSWINSZ, this.#size);
    close(this.#takenOver);
    this.#takenOver = undefined;
  }

  /**
   * Makes a process group of the tree the foreground job of the terminal that was taken over from criu, when criu itself
   * is the foreground job there. The group must exist.
   */
  bringToForeground(pgrp: number): void {
    const fd = this.#takenOver;
    const now = new Int32Array(1);
    if (fd === undefined || ioctl(fd, TIOCGPGRP, now) < 0 || now[0] !== syscall(SYS.getpgid, 0)) return;
    withoutJobControl(() => mustIoctl(fd, TIOCSPGRP, Int32Array.of(pgrp), 'TIOCSPGRP'));
  }

  #open(files: readonly TerminalFile[]): void {
    const byIndex = new Map<number, TerminalFile[]>();
    for (const file of files) {
      const { info, inherited } = file;
      if (inherited !== undefined) attempt(file, () => writeSettings(inherited, info));
      else if (isTakenOver(file, this.#context)) attempt(file, () => this.#takeOver(file));
      else if (info.type === TtyType.PTY) {
        const index = info.pty?.index ?? 0;
        byIndex.set(index, [...(byIndex.get(index) ?? []), file]);
      } else if (info.type !== TtyType.CTTY) attempt(file, () => this.#openSimple(file));
    }
    // The lowest free number is given out, so they are taken in order.
    for (const [index, group] of [...byIndex].sort(([a], [b]) => a - b)) this.#openPty(index, group);
    for (const file of files) this.#addSession(file);
  }

  #addSession(file: TerminalFile): void {
    const { info, entry, inherited } = file;
    const { sid, pgrp } = info;
    if (sid === 0 || info.type === TtyType.CTTY || isHung(file)) return;
    if (!this.#context.tree.tasks.some(({ pid }) => pid === sid)) return;
    const fd = inherited ?? this.#fds.get(entry.id);
    if (fd === undefined || (file.isMaster && this.#sessions.has(sid))) return;
    const isOptional = isTakenOver(file, this.#context);
    this.#sessions.set(sid, { fd: file.isMaster ? this.#peer(file, fd) : fd, pgrp, isOptional });
  }

  /** The slave side of a master, held until the end. */
  #peer(file: TerminalFile, master: number): number {
    const fd = attempt(file, () => openPeer(master, O_RDWR | O_NOCTTY));
    this.#extra.push(fd);
    return fd;
  }

  #openSimple(file: TerminalFile): void {
    const fd = check('open', tryOpen(file.path, openFlags(file)), file.path);
    this.#fds.set(file.entry.id, fd);
    writeSettings(fd, file.info);
  }

  /** Both sides of pseudo terminal `index`. */
  #openPty(index: number, group: readonly TerminalFile[]): void {
    const [first] = group;
    const masterFile = group.find(({ isMaster }) => isMaster);
    const owner = masterFile ?? first;
    assert(owner !== undefined, 'a group has a member');
    attempt(owner, () => {
      const flags = masterFile === undefined ? O_RDWR | O_NOCTTY : openFlags(masterFile);
      const master = openMaster(owner, index, flags);
      mustIoctl(master, TIOCSPTLCK, Int32Array.of(0), 'TIOCSPTLCK');
      const slaves = group.filter((file) => file !== masterFile);
      for (const file of slaves) this.#fds.set(file.entry.id, openSlave(file, index, master));
      if (masterFile === undefined) {
        this.#finishWithoutMaster(owner, master);
        return;
      }
      this.#fds.set(masterFile.entry.id, master);
      this.#setUp(masterFile, slaves[0], master);
    });
  }

  /** Nothing but the open slaves is left of a terminal that is hung up; else a client takes the master side. */
  #finishWithoutMaster(slave: TerminalFile, master: number): void {
    if (isHung(slave)) {
      close(master);
      return;
    }
    this.#extra.push(master);
    writeSettings(master, slave.info);
    const slaveFd = this.#fds.get(slave.entry.id);
    if (slave.info.exclusive && slaveFd !== undefined) mustIoctl(slaveFd, TIOCEXCL, 0, 'TIOCEXCL');
    this.#context.options.offerMaster?.(master);
  }

  #setUp(masterFile: TerminalFile, slaveFile: TerminalFile | undefined, master: number): void {
    const { info, entry } = masterFile;
    const data = this.#context.state(
      'terminal data',
      () => new Map((this.#context.images.tryRead('tty-data') ?? []).map((queue) => [queue.tty_id, queue.data])),
    );
    const toMaster = data.get(info.id);
    const toSlave = slaveFile === undefined ? undefined : data.get(slaveFile.info.id);
    const needsSlave = toMaster !== undefined || toSlave !== undefined || info.slave_closed_ext === true;
    if (needsSlave && info.termios !== undefined) {
      const slave = openPeer(master, O_RDWR | O_NOCTTY | O_NONBLOCK);
      const queues = { master: toMaster ?? new Uint8Array(0), slave: toSlave ?? new Uint8Array(0) };
      const isComplete = fillQueues(master, slave, queues, info.termios);
      close(slave);
      if (!isComplete) {
        throw new CriuError({ object: masterFile.object, action: 'cannot take all that was written to it' });
      }
    }
    writeSettings(master, info);
    fcntl(master, F_SETFL, entry.flags & SETFL_MASK & ~FASYNC);
    if (info.packet_mode) mustIoctl(master, TIOCPKT, Int32Array.of(1), 'TIOCPKT');
    if (info.locked) mustIoctl(master, TIOCSPTLCK, Int32Array.of(1), 'TIOCSPTLCK');
    if (info.exclusive) mustIoctl(master, TIOCEXCL, 0, 'TIOCEXCL');
    const slaveFd = slaveFile === undefined ? undefined : this.#fds.get(slaveFile.entry.id);
    if (slaveFile?.info.exclusive === true && slaveFd !== undefined) mustIoctl(slaveFd, TIOCEXCL, 0, 'TIOCEXCL');
  }

  /**
   * A slave of a shell's terminal becomes a slave of criu's own. It has its old size until the job runs: then the kernel
   * tells the job, by SIGWINCH, that its window has another one.
   */
  #takeOver(file: TerminalFile): void {
    const own = [0, 1, 2].find((fd) => ioctl(fd, TCGETS, new Uint8Array(TERMIOS_BYTES)) === 0);
    if (own === undefined) {
      throw new CriuError({
        object: file.object,
        action: 'cannot be restored: criu has no terminal that could take its place',
        remedy: 'run criu restore --shell-job from a terminal, or give one with --inherit-fd',
      });
    }
    const opened = tryOpen(`/proc/self/fd/${own}`, openFlags(file));
    const fd = opened < 0 ? check('fcntl', fcntl(own, F_DUPFD_CLOEXEC, 3), 'F_DUPFD_CLOEXEC') : opened;
    this.#fds.set(file.entry.id, fd);
    this.#takenOver = fd;
    const size = new Uint8Array(WINSIZE_BYTES);
    mustIoctl(fd, TIOCGWINSZ, size, 'TIOCGWINSZ');
    const { ws_row, ws_col } = parseWinsize(size);
    if (ws_row > 0 || ws_col > 0) this.#size ??= size;
    const { termios, winsize } = file.info;
    writeSettings(fd, { termios, winsize });
  }
}

const openFlags = ({ entry }: TerminalFile) => (entry.flags & ~FASYNC) | O_NOCTTY;

/** The slave side of a master. O_CLOEXEC stays visible in the flags of the open file, so it is not added. */
function openPeer(master: number, flags: number): number {
  const fd = mustIoctl(master, TIOCGPTPEER, flags, 'TIOCGPTPEER');
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  return fd;
}

/** The kernel's answer gets a name; other errors pass. */
function attempt<T>({ object }: TerminalFile, action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (!(error instanceof SyscallError)) throw error;
    throw new CriuError({ object, action: 'cannot be restored', cause: error });
  }
}

/** Opens /dev/ptmx until it gives number `index`: the lowest free one comes first. */
function openMaster(file: TerminalFile, index: number, flags: number): number {
  const path = masterPath(file);
  const tooLow: number[] = [];
  const number = new Int32Array(1);
  try {
    for (let tries = 0; tries < PTY_MAX; tries++) {
      const fd = check('open', tryOpen(path, flags), path);
      tooLow.push(fd);
      mustIoctl(fd, TIOCGPTN, number, 'TIOCGPTN');
      const got = number[0] ?? -1;
      if (got === index) {
        tooLow.pop();
        return fd;
      }
      if (got > index) break;
    }
  } finally {
    for (const fd of tooLow) close(fd);
  }
  throw new CriuError({
    object: file.object,
    action: `cannot be restored: pseudo terminal ${index} is in use`,
    remedy: 'end what uses it, or restore in a mount namespace with a devpts of its own',
    crErrno: ERRNO.EEXIST,
  });
}

function masterPath({ path, isMaster }: TerminalFile): string {
  if (isMaster) return path;
  return typeof tryStat('/dev/ptmx') === 'object' ? '/dev/ptmx' : '/dev/pts/ptmx';
}

/**
 * By its path, if that is the terminal, else by its master. One that was opened by its master in the first place shows
 * it: open(2) adds O_LARGEFILE, the ioctl does not. Gives the name its owner and permissions.
 */
function openSlave(file: TerminalFile, index: number, master: number): number {
  const { path, info, entry, mode } = file;
  const flags = openFlags(file);
  const found = tryStat(path);
  const isThere = typeof found === 'object' && found.st_rdev === info.rdev && (flags & O_LARGEFILE) !== 0;
  let fd = isThere ? tryOpen(path, flags) : -ERRNO.ENOENT;
  if (fd < 0) fd = openPeer(master, flags);
  fcntl(fd, F_SETFL, entry.flags & SETFL_MASK & ~FASYNC);
  if (mode !== undefined) check('fchmod', syscall(SYS.fchmod, fd, mode & MODE_BITS), `/dev/pts/${index}`);
  const { uid, gid } = info;
  if (uid !== undefined && gid !== undefined) {
    check('fchown', syscall(SYS.fchown, fd, uid, gid), `/dev/pts/${index}`);
  }
  return fd;
}
