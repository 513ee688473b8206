/**
 * Sockets that depend on each other while they are made by one task: their descriptors, and the steps that streams and
 * datagram sockets have in common.
 */
import { assert, CriuError } from '../../../base/errors.ts';
import type { UnixSkEntry } from '../../../image/gen/sk-unix.ts';
import { restoredResponse } from '../../../image/rpc-messages.ts';
import { AT_FDCWD, F_SETFL, O_CLOEXEC, O_DIRECTORY, O_NONBLOCK, O_PATH } from '../../../linux/abi/fcntl.ts';
import {
  AF_UNIX,
  SHUT_RD,
  SHUT_RDWR,
  SHUT_WR,
  SO_ERROR,
  SO_REUSEADDR,
  SO_REUSEPORT,
  SO_SNDBUFFORCE,
  SOCK_CLOEXEC,
  SOCK_STREAM,
  SOL_SOCKET,
} from '../../../linux/abi/socket.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { SETFL_MASK } from '../fd-table/owner.ts';
import type { RestoreHome } from '../file-kind.ts';
import { planKeptOptions } from '../socket-options/kept-options.ts';
import { planIntOption } from '../socket-options/plan-option.ts';
import { planSocketOptions } from '../socket-options/socket-options.ts';
import type { StepArg } from '../step.ts';
import { socketKey } from './check.ts';
import { GhostNames } from './ghost-names.ts';
import { isConnection, type UnixLinks, unixLinks } from './links.ts';
import { isPath, pathText, showName, socketAddress } from './name.ts';
import { queuedMessages, SCM_RIGHTS } from './queue.ts';

const CMSG_HEADER_BYTES = 16;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
/** Enough for all that can be queued; the real size is set at the end. */
const BIG_BUFFER = 1 << 29;

const HOW = [undefined, SHUT_RD, SHUT_WR, SHUT_RDWR] as const;

export class SocketGroup {
  readonly links: UnixLinks;
  /** The sockets to be made, by inode. */
  readonly members: ReadonlyMap<number, UnixSkEntry>;
  readonly #home: RestoreHome;
  readonly #fds = new Map<number, number>();
  readonly #cloexec = new Set<number>();
  readonly #filled = new Set<number>();
  readonly #ghosts: UnixSkEntry[] = [];

  constructor(entries: readonly UnixSkEntry[], home: RestoreHome) {
    this.#home = home;
    this.links = unixLinks(home.context);
    this.members = new Map(entries.map((entry) => [entry.ino, entry]));
  }

  /** Members that do not exist yet. */
  get missing(): UnixSkEntry[] {
    return [...this.members.values()].filter(({ ino }) => !this.#fds.has(ino));
  }

  isMade(entry: UnixSkEntry): boolean {
    return this.#fds.has(entry.ino);
  }

  /** The peer, if it is to be made here too. */
  peerOf(entry: UnixSkEntry): UnixSkEntry | undefined {
    return entry.peer === 0 ? undefined : this.members.get(entry.peer);
  }

  fdOf(entry: UnixSkEntry): number {
    const fd = this.#fds.get(entry.ino);
    assert(fd !== undefined, `${socketKey(entry)} was made`);
    return fd;
  }

  /** Takes a socket of the controller. */
  pull(entry: UnixSkEntry, controllerFd: number): void {
    this.#home.made(entry.id, this.#home.pull(controllerFd), true);
    this.#fds.set(entry.ino, -1);
  }

  /** socket(2). */
  make(entry: UnixSkEntry): number {
    const cloexec = this.#home.cloexec(entry.id);
    const type = entry.type | cloexec | (entry.flags & O_NONBLOCK);
    const fd = this.#home.table.open(`make ${socketKey(entry)}`, SYS.socket, AF_UNIX, type, 0);
    return this.#remember(entry, fd, cloexec);
  }

  /** A socket that lives only while others are made. */
  makeHelper(type: number): number {
    return this.#home.table.open('make a socket for a while', SYS.socket, AF_UNIX, type | SOCK_CLOEXEC, 0);
  }

  /** socketpair(2). Without `other` that end is a helper, to be closed; returns its number. */
  makePair(entry: UnixSkEntry, other?: UnixSkEntry): number {
    const { table, cloexec } = this.#home;
    const flags = [entry, other].map((end) => (end === undefined ? O_CLOEXEC : cloexec(end.id)));
    const both = flags[0] === flags[1] ? (flags[0] ?? 0) : O_CLOEXEC;
    const room = { bytes: new Uint8Array(8) };
    const [fd, otherFd] = table.openPair(
      `make ${socketKey(entry)}`,
      SYS.socketpair,
      AF_UNIX,
      entry.type | both,
      0,
      room,
    );
    this.#remember(entry, fd, both);
    if (other !== undefined) this.#remember(other, otherFd, both);
    return otherFd;
  }

  /** The connection of a client to criu: the answer to its request waits in it, and the other end is closed. */
  makeAnswered(entry: UnixSkEntry): void {
    const { table } = this.#home;
    const other = this.makePair(entry);
    const bytes = restoredResponse(entry.type === SOCK_STREAM);
    table.doExpecting('answer the client', bytes.length, SYS.sendto, other, { bytes }, bytes.length, MSG_NOSIGNAL);
    table.close(other);
  }

  /** accept4(2). */
  accept(entry: UnixSkEntry, listener: number): number {
    const cloexec = this.#home.cloexec(entry.id);
    const fd = this.#home.table.open(`accept ${socketKey(entry)}`, SYS.accept4, listener, 0, 0, cloexec);
    return this.#remember(entry, fd, cloexec);
  }

  close(fd: number): void {
    this.#home.table.close(fd);
  }

  /** bind(2), when it has a name. */
  bind(entry: UnixSkEntry, fd = this.fdOf(entry)): void {
    const { name, file_perms } = entry;
    if (name.length === 0) return;
    const { table } = this.#home;
    const address = socketAddress(name);
    this.#where(entry, () => {
      const path = { text: pathText(name) };
      // Whatever socket was there is dead, or would have been seen by the check.
      if (isPath(name) && !isGhost(entry)) table.doUnchecked(`remove ${path.text}`, SYS.unlink, path);
      const because = `bind ${socketKey(entry)} to ${showName(name)}`;
      table.doExpecting(because, 0, SYS.bind, fd, { bytes: address }, address.length);
      if (!isPath(name) || file_perms === undefined) return;
      table.do(`set the owner of ${path.text}`, SYS.chown, path, file_perms.uid, file_perms.gid);
      table.do(`set the mode of ${path.text}`, SYS.chmod, path, file_perms.mode & 0o7777);
    });
    if (isPath(name) && isGhost(entry)) this.#ghosts.push(entry);
  }

  listen(fd: number, backlog: number): void {
    this.#home.table.doExpecting('listen', 0, SYS.listen, fd, backlog);
  }

  /** connect(2) by the name of `target`. */
  connect(fd: number, target: UnixSkEntry): void {
    const address = socketAddress(target.name);
    const because = `connect to ${showName(target.name)}`;
    this.#where(target, () =>
      this.#home.table.doExpecting(because, 0, SYS.connect, fd, { bytes: address }, address.length),
    );
  }

  /** Makes a connected datagram socket an unconnected one; `other` was its peer, and gets an error that is cleared. */
  disconnect(fd: number, other: number): void {
    const { table } = this.#home;
    const unspecified = { bytes: new Uint8Array(2) };
    table.doExpecting('disconnect a socket', 0, SYS.connect, fd, unspecified, unspecified.bytes.length);
    const room = { bytes: new Uint8Array(4) };
    const size = { bytes: new Uint8Array(Int32Array.of(4).buffer) };
    table.do('clear the error of a socket', SYS.getsockopt, other, SOL_SOCKET, SO_ERROR, room, size);
  }

  hasQueue(entry: UnixSkEntry): boolean {
    return !this.#filled.has(entry.id) && queuedMessages(entry.id, this.#home.context).length > 0;
  }

  /** Sends what is in the queue of a socket from one that is connected to it; once. */
  fill(entry: UnixSkEntry, from: number): void {
    if (!this.hasQueue(entry)) return;
    this.#filled.add(entry.id);
    const { table, context } = this.#home;
    const because = `fill the queue of ${socketKey(entry)}`;
    planIntOption(table, from, SOL_SOCKET, SO_SNDBUFFORCE, BIG_BUFFER, because);
    for (const { message, payload } of queuedMessages(entry.id, context)) {
      const flags = MSG_DONTWAIT | MSG_NOSIGNAL;
      const fds = message.scm.flatMap(({ rights }) => rights.map((id) => this.#fdInFlight(id, entry)));
      if (fds.length === 0) {
        table.doExpecting(because, payload.length, SYS.sendto, from, { bytes: payload }, payload.length, flags);
      } else table.doExpecting(because, payload.length, SYS.sendmsg, from, messageHeader(payload, fds), flags);
    }
  }

  #fdInFlight(fileId: number, receiver: UnixSkEntry): number {
    const member = [...this.members.values()].find(({ id }) => id === fileId);
    const fd = member === undefined ? this.#home.fdOf(fileId) : (this.#fds.get(member.ino) ?? -1);
    if (fd >= 0) return fd;
    throw new CriuError({
      object: `${socketKey(receiver)} (${showName(receiver.name)})`,
      action: 'cannot be restored',
      why: 'sockets in flight wait to be received from each other, which is not supported yet',
    });
  }

  /** Removes names that are not to stay, sets options, and hands the sockets over. */
  finish(): void {
    const { table, made } = this.#home;
    for (const entry of this.#ghosts) {
      const path = pathText(entry.name);
      this.#where(entry, () => table.do(`remove ${path} again`, SYS.unlink, { text: path }));
    }
    for (const entry of this.members.values()) {
      const fd = this.fdOf(entry);
      if (fd < 0) continue;
      this.#finishSocket(entry, fd);
      made(entry.id, fd, this.#cloexec.has(entry.ino));
    }
  }

  #finishSocket({ ino, opts, shutdown, flags, type }: UnixSkEntry, fd: number): void {
    const { table, context } = this.#home;
    const what = `socket:[${ino}]`;
    const socket = { type: { family: AF_UNIX, type, proto: 0 }, opts, what };
    planKeptOptions(table, fd, socket, 'early', context.system);
    planSocketOptions(table, fd, opts, what);
    planKeptOptions(table, fd, socket, 'late', context.system);
    if (opts.reuseaddr === true) planIntOption(table, fd, SOL_SOCKET, SO_REUSEADDR, 1, `set reuseaddr of ${what}`);
    // Newer kernels refuse it for UNIX sockets, where it means nothing.
    const one = { bytes: new Uint8Array(Int32Array.of(1).buffer) };
    const because = `set so_reuseport of ${what}`;
    if (opts.so_reuseport === true) table.doUnchecked(because, SYS.setsockopt, fd, SOL_SOCKET, SO_REUSEPORT, one, 4);
    const how = shutdown === undefined ? undefined : HOW[shutdown];
    if (how !== undefined) table.do(`shut ${what} down`, SYS.shutdown, fd, how);
    if ((flags & SETFL_MASK) !== 0) table.do(`set the flags of ${what}`, SYS.fcntl, fd, F_SETFL, flags & SETFL_MASK);
  }

  #remember(entry: UnixSkEntry, fd: number, cloexec: number): number {
    this.#fds.set(entry.ino, fd);
    if (cloexec !== 0) this.#cloexec.add(entry.ino);
    return fd;
  }

  /** Does something where the name of a socket is what it says; it must not open anything. */
  #where(entry: UnixSkEntry, action: () => void): void {
    const { table, context } = this.#home;
    const { name, name_dir } = entry;
    const isRelative = isPath(name) && !pathText(name).startsWith('/') && name_dir !== undefined;
    const enter = () => {
      if (isRelative) table.do(`go to ${name_dir}`, SYS.chdir, { text: name_dir });
    };
    if (!isPath(name) || !isGhost(entry)) {
      enter();
      action();
      return;
    }
    const root = { text: '/' };
    const flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
    const rootFd = table.open('hold the root directory', SYS.openat, AT_FDCWD, root, flags);
    table.do('go where deleted names are', SYS.chdir, GhostNames.of(context).rootFor(entry));
    table.do('change the root directory', SYS.chroot, { text: '.' });
    enter();
    action();
    table.do('go back to the root directory', SYS.fchdir, rootFd);
    table.do('change the root directory back', SYS.chroot, { text: '.' });
    table.close(rootFd);
  }
}

/** Deleted names; and those of connections, whose file belongs to a listening socket that is not in the image. */
const isGhost = (entry: UnixSkEntry): boolean => entry.deleted === true || isConnection(entry);

/** struct msghdr (man 2 sendmsg) with one SCM_RIGHTS. */
function messageHeader(payload: Uint8Array, fds: readonly number[]): StepArg {
  const control = new Uint8Array((CMSG_HEADER_BYTES + fds.length * 4 + 7) & ~7);
  const cmsg = new DataView(control.buffer);
  cmsg.setBigUint64(0, BigInt(CMSG_HEADER_BYTES + fds.length * 4), true);
  cmsg.setInt32(8, SOL_SOCKET, true);
  cmsg.setInt32(12, SCM_RIGHTS, true);
  fds.forEach((fd, i) => {
    cmsg.setInt32(CMSG_HEADER_BYTES + i * 4, fd, true);
  });
  const vector = new Uint8Array(16);
  new DataView(vector.buffer).setBigUint64(8, BigInt(payload.length), true);
  const bytes = new Uint8Array(56);
  const header = new DataView(bytes.buffer);
  header.setBigUint64(24, 1n, true);
  header.setBigUint64(40, BigInt(control.length), true);
  const pointers = [
    { offset: 16, bytes: vector, pointers: [{ offset: 0, bytes: payload }] },
    { offset: 32, bytes: control },
  ];
  return { bytes, pointers };
}
