/**
 * Sockets that depend on each other while they are made by one task: their descriptors, and the steps that streams and
 * datagram sockets have in common.
 */

import { byteString } from '../../../base/bytes.ts';
import { assert } from '../../../base/errors.ts';
import type { UnixSkEntry } from '../../../image/gen/sk-unix.ts';
import { restoredResponse } from '../../../image/rpc-messages.ts';
import { F_SETFL, O_CLOEXEC, O_NONBLOCK } from '../../../linux/abi/fcntl.ts';
import { PR_SET_DUMPABLE, PR_SET_SECUREBITS } from '../../../linux/abi/prctl.ts';
import {
  AF_UNIX,
  MSG_NOSIGNAL,
  SHUT_RD,
  SHUT_RDWR,
  SHUT_WR,
  SO_ERROR,
  SO_REUSEADDR,
  SO_REUSEPORT,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  SOCK_STREAM,
  SOL_SOCKET,
} from '../../../linux/abi/socket.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { SETFL_MASK } from '../fd-table/owner.ts';
import type { RestoreHome } from '../file-kind.ts';
import { planKeptOptions } from '../socket-options/kept-options.ts';
import { planIntOption } from '../socket-options/plan-option.ts';
import { planSocketOptions } from '../socket-options/socket-options.ts';
import { IntArg, PAIR_ROOM } from '../step-args.ts';
import { socketKey } from './check.ts';
import { QueueFiller } from './fill-queues.ts';
import { type UnixLinks, unixLinks } from './links.ts';
import { showName, socketAddress } from './name.ts';
import { SocketPlaces } from './socket-places.ts';

/** Who made the other end. */
export type Peer = Pick<UnixSkEntry, 'peer_cred_ext' | 'peer_groups_ext'>;

const KEEP = -1;
/** man 7 capabilities, "The securebits flags". */
const SECBIT_NO_SETUID_FIXUP = 4;

const HOW = [undefined, SHUT_RD, SHUT_WR, SHUT_RDWR] as const;

export class SocketGroup {
  readonly links: UnixLinks;
  /** The sockets to be made, by inode. */
  readonly members: ReadonlyMap<number, UnixSkEntry>;
  readonly home: RestoreHome;
  readonly places: SocketPlaces;
  readonly queues: QueueFiller;
  readonly #fds = new Map<number, number>();
  readonly #cloexec = new Set<number>();
  readonly #optionsSet = new Set<number>();
  /** The supplementary groups of the task, once that matters. */
  #groups: readonly number[] | undefined = undefined;

  constructor(entries: readonly UnixSkEntry[], home: RestoreHome) {
    this.home = home;
    this.places = new SocketPlaces(home);
    this.queues = new QueueFiller(this);
    this.links = unixLinks(home.context);
    const members = new Map<number, UnixSkEntry>();
    for (const entry of entries) members.set(entry.ino, entry);
    this.members = members;
  }

  /** Members that do not exist yet. */
  get missing(): UnixSkEntry[] {
    const missing: UnixSkEntry[] = [];
    for (const entry of this.members.values()) if (!this.#fds.has(entry.ino)) missing.push(entry);
    return missing;
  }

  get isComplete(): boolean {
    return this.#fds.size === this.members.size;
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
    assert(fd !== undefined, 'the socket was made');
    return fd;
  }

  /** Takes a socket of the controller. */
  pull(entry: UnixSkEntry, controllerFd: number): void {
    this.home.made(entry.id, this.home.pull(controllerFd), true);
    this.#fds.set(entry.ino, -1);
  }

  /** socket(2). */
  make(entry: UnixSkEntry): number {
    const cloexec = this.home.cloexec(entry.id);
    const type = entry.type | cloexec | (entry.flags & O_NONBLOCK);
    const fd = this.home.table.open(`make ${socketKey(entry)}`, SYS.socket, AF_UNIX, type, 0);
    return this.#remember(entry, fd, cloexec);
  }

  /** A socket that lives only while others are made. */
  makeHelper(type: number): number {
    return this.home.table.open('make a socket for a while', SYS.socket, AF_UNIX, type | SOCK_CLOEXEC, 0);
  }

  /** socketpair(2). Without `other` that end is a helper, to be closed; returns its number. */
  makePair(entry: UnixSkEntry, other?: UnixSkEntry): number {
    const { table, cloexec } = this.home;
    const both = other === undefined ? O_CLOEXEC : cloexec(entry.id) | cloexec(other.id);
    let pair: [number, number] = [-1, -1];
    this.#as(entry, () => {
      pair = table.openPair(['make', socketKey(entry)], SYS.socketpair, AF_UNIX, entry.type | both, 0, PAIR_ROOM);
    });
    const [fd, otherFd] = pair;
    this.#remember(entry, fd, both);
    if (other !== undefined) this.#remember(other, otherFd, both);
    return otherFd;
  }

  /** The connection of a client to criu: the answer to its request waits in it, and the other end is closed. */
  makeAnswered(entry: UnixSkEntry): void {
    const { table } = this.home;
    const other = this.makePair(entry);
    const bytes = restoredResponse(entry.type === SOCK_STREAM);
    table.doExpecting('answer the client', bytes.length, SYS.sendto, other, { bytes }, bytes.length, MSG_NOSIGNAL);
    table.close(other);
  }

  /** accept4(2). */
  accept(entry: UnixSkEntry, listener: number): number {
    const cloexec = this.home.cloexec(entry.id);
    const fd = this.home.table.open(`accept ${socketKey(entry)}`, SYS.accept4, listener, 0, 0, cloexec);
    return this.#remember(entry, fd, cloexec);
  }

  close(fd: number): void {
    this.home.table.close(fd);
  }

  /** bind(2), when it has a name. */
  bind(entry: UnixSkEntry, fd = this.fdOf(entry)): void {
    if (entry.name.length > 0) this.places.bind(entry, fd);
  }

  /** listen(2); `peer`: whom clients see (SO_PEERCRED). */
  listen(fd: number, backlog: number, peer: Peer | undefined): void {
    this.#as(peer, () => this.home.table.doExpecting('listen', 0, SYS.listen, fd, backlog));
  }

  /** connect(2) by the name of `target`; `peer`: whom the server sees. */
  connect(fd: number, target: UnixSkEntry, peer?: Peer): void {
    const address = socketAddress(target.name);
    const because = `connect to ${showName(target.name)}`;
    const connect = () => this.home.table.doExpecting(because, 0, SYS.connect, fd, { bytes: address }, address.length);
    this.places.where(target, () => this.#as(peer, connect));
  }

  /** Does something as another user and group, with all capabilities: the other side will see who it was. */
  #as(peer: Peer | undefined, action: () => void): void {
    const { table } = this.home;
    const creds = peer?.peer_cred_ext;
    if (peer !== undefined) this.#takeGroups(peer.peer_groups_ext);
    if (creds === undefined || (creds.uid === 0 && creds.gid === 0)) {
      action();
      return;
    }
    table.do('keep capabilities', SYS.prctl, PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0);
    table.do('become another group', SYS.setresgid, KEEP, creds.gid, KEEP);
    table.do('become another user', SYS.setresuid, KEEP, creds.uid, KEEP);
    action();
    table.do('become root again', SYS.setresuid, KEEP, 0, KEEP);
    table.do('become the group of root again', SYS.setresgid, KEEP, 0, KEEP);
    table.do('stay dumpable', SYS.prctl, PR_SET_DUMPABLE, 1, 0, 0, 0);
    table.do('lose capabilities with ids again', SYS.prctl, PR_SET_SECUREBITS, 0, 0, 0, 0);
  }

  /** Supplementary groups, until other ones are wanted. */
  #takeGroups(wanted: readonly number[]): void {
    this.#groups ??= this.home.context.system.groups();
    if (wanted.length === this.#groups.length && wanted.every((group, i) => group === this.#groups?.[i])) return;
    this.#groups = wanted;
    const bytes = new Uint8Array(Uint32Array.from(wanted).buffer);
    this.home.table.do('take other groups', SYS.setgroups, wanted.length, { bytes });
  }

  /** Makes a connected datagram socket an unconnected one; `other` was its peer, and gets an error that is cleared. */
  disconnect(fd: number, other: number): void {
    const { table } = this.home;
    const unspecified = { bytes: new Uint8Array(2) };
    table.doExpecting('disconnect a socket', 0, SYS.connect, fd, unspecified, unspecified.bytes.length);
    const room = { bytes: new Uint8Array(4) };
    const size = { bytes: new Uint8Array(Int32Array.of(4).buffer) };
    table.do('clear the error of a socket', SYS.getsockopt, other, SOL_SOCKET, SO_ERROR, room, size);
  }

  /** A datagram socket of that name (a byte string) which exists already. */
  madeByName(name: string): number | undefined {
    for (const entry of this.members.values()) {
      const fd = this.#fds.get(entry.ino) ?? -1;
      if (entry.type === SOCK_DGRAM && fd >= 0 && byteString(entry.name) === name) return fd;
    }
    return undefined;
  }

  /** Where a file in flight is; negative when it is not there yet. */
  fdInFlight(fileId: number): number {
    for (const { id, ino } of this.members.values()) if (id === fileId) return this.#fds.get(ino) ?? -1;
    return this.home.fdOf(fileId);
  }

  /** Removes names that are not to stay, sets options, and hands the sockets over. */
  finish(): void {
    const { made } = this.home;
    this.places.finish();
    if (this.#groups !== undefined) this.#takeGroups(this.home.context.system.groups());
    for (const entry of this.members.values()) {
      const fd = this.fdOf(entry);
      if (fd < 0) continue;
      this.#finishSocket(entry, fd);
      made(entry.id, fd, this.#cloexec.has(entry.ino));
    }
  }

  /** Sets the options of a socket; once. */
  setOptions(entry: UnixSkEntry): void {
    if (this.#optionsSet.has(entry.ino)) return;
    this.#optionsSet.add(entry.ino);
    const { ino, opts, type } = entry;
    const fd = this.fdOf(entry);
    const { table, context } = this.home;
    const what = `socket:[${ino}]`;
    const hasKept = opts.options_ext.length > 0;
    const socket = { type: { family: AF_UNIX, type, proto: 0 }, opts, what };
    if (hasKept) planKeptOptions(table, fd, socket, 'early', context.system);
    const fresh = this.queues.enlarged.has(fd) ? undefined : context.system.socketBuffers();
    planSocketOptions(table, fd, opts, what, fresh);
    if (hasKept) planKeptOptions(table, fd, socket, 'late', context.system);
    if (opts.reuseaddr === true) planIntOption(table, fd, SOL_SOCKET, SO_REUSEADDR, 1, ['set reuseaddr of', what]);
    // Newer kernels refuse it for UNIX sockets, where it means nothing.
    if (opts.so_reuseport === true) {
      const because = ['set so_reuseport of', what] as const;
      table.doUnchecked(because, SYS.setsockopt, fd, SOL_SOCKET, SO_REUSEPORT, new IntArg(1), 4);
    }
  }

  #finishSocket(entry: UnixSkEntry, fd: number): void {
    this.setOptions(entry);
    const { shutdown, flags } = entry;
    const { table } = this.home;
    const how = shutdown === undefined ? undefined : HOW[shutdown];
    if (how !== undefined) table.do(['shut', socketKey(entry), 'down'], SYS.shutdown, fd, how);
    if ((flags & SETFL_MASK) === 0) return;
    table.do(['set the flags of', socketKey(entry)], SYS.fcntl, fd, F_SETFL, flags & SETFL_MASK);
  }

  #remember(entry: UnixSkEntry, fd: number, cloexec: number): number {
    this.#fds.set(entry.ino, fd);
    if (cloexec !== 0) this.#cloexec.add(entry.ino);
    return fd;
  }
}
