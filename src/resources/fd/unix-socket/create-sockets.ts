/** Steps that make UNIX sockets which depend on each other, with names, connections and queues. */
import type { UnixPendingExt, UnixSkEntry } from '../../../image/gen/sk-unix.ts';
import { SOCK_DGRAM } from '../../../linux/abi/socket.ts';
import type { RestoreHome } from '../file-kind.ts';
import { socketKey } from './check.ts';
import { createDatagramSockets } from './datagram-sockets.ts';
import { isConnection, nameKey } from './links.ts';
import { SocketGroup } from './socket-group.ts';
import { TCP_LISTEN, USK_SERVICE } from './states.ts';

export function createSockets(entries: readonly UnixSkEntry[], home: RestoreHome): void {
  const group = new SocketGroup(entries, home);
  for (const entry of home.context.options.inheritFds.length === 0 ? [] : entries) {
    const inherited = home.context.inherited(socketKey(entry));
    if (inherited !== undefined) group.pull(entry, inherited);
  }
  if (entries.some(({ type }) => type === SOCK_DGRAM)) createDatagramSockets(group);
  new StreamSockets(group).create();
  group.finish();
}

/** Stream and seqpacket sockets. */
class StreamSockets {
  readonly #group: SocketGroup;
  /** Listening sockets by name. */
  readonly #listeners = new Map<string, { fd: number; entry: UnixSkEntry }>();
  readonly #helpers: number[] = [];

  constructor(group: SocketGroup) {
    this.#group = group;
  }

  create(): void {
    const group = this.#group;
    const entries = group.missing;
    for (const entry of entries) if (entry.state === TCP_LISTEN) this.#createListener(entry);
    for (const entry of entries) if (!group.isMade(entry) && isConnected(entry, group)) this.#createConnection(entry);
    if (!group.isComplete) this.#createOthers();
    for (const entry of group.members.values()) if (entry.state === TCP_LISTEN) this.#fillBacklog(entry);
    for (const fd of this.#helpers) group.close(fd);
  }

  #createOthers(): void {
    const group = this.#group;
    for (const entry of group.missing) if ((entry.uflags & USK_SERVICE) !== 0) group.makeAnswered(entry);
    for (const entry of group.missing) {
      group.make(entry);
      group.bind(entry);
    }
  }

  #createListener(entry: UnixSkEntry): void {
    const fd = this.#group.make(entry);
    this.#group.bind(entry);
    this.#group.listen(fd, entry.backlog, entry);
    this.#listeners.set(nameKey(entry), { fd, entry });
  }

  /** Connections that nobody has accepted yet. */
  #fillBacklog(listener: UnixSkEntry): void {
    const group = this.#group;
    const clients = [...group.members.values()].filter((entry) => isConnection(entry) && entry.peer === listener.ino);
    const known = listener.pending_ext;
    const others = clients.filter(({ ino }) => !known.some(({ peer }) => peer === ino));
    const backlog = [...known, ...others.map(({ ino }) => ({ peer: ino, groups: [] }))];
    if (backlog.length === 0) return;
    const fd = group.fdOf(listener);
    // What the options ask for holds for connections that come later.
    if (fd >= 0) group.setOptions(listener);
    const hasRoom = fd < 0 || backlog.length <= listener.backlog;
    if (!hasRoom) group.listen(fd, backlog.length, listener);
    for (const pending of backlog) this.#connectPending(listener, pending);
    if (!hasRoom) group.listen(fd, listener.backlog, listener);
  }

  #connectPending(listener: UnixSkEntry, pending: UnixPendingExt): void {
    const group = this.#group;
    const { peer, name, creds, groups } = pending;
    const client = peer === 0 ? undefined : group.members.get(peer);
    const fd = client === undefined ? group.makeHelper(listener.type) : group.fdOf(client);
    // An inherited one is connected already.
    if (fd < 0) return;
    if (name !== undefined && name.length > 0) {
      group.places.bindForAWhile(fd, name, `a client of ${socketKey(listener)}`);
    }
    group.connect(fd, listener, creds === undefined ? client : { peer_cred_ext: creds, peer_groups_ext: groups });
    group.queues.fillPending(listener, pending, fd);
    if (client === undefined) group.close(fd);
  }

  /** Both ends, or the one that is left. */
  #createConnection(entry: UnixSkEntry): void {
    const group = this.#group;
    const peer = group.peerOf(entry);
    const [server, client] = this.#isServer(entry, peer) ? [entry, peer] : [peer, entry];
    if (server === undefined || server.name.length === 0) this.#pair(entry, peer);
    else this.#connectByName(server, client);
  }

  #pair(entry: UnixSkEntry, peer: UnixSkEntry | undefined): void {
    const group = this.#group;
    const other = group.makePair(entry, peer);
    group.bind(entry);
    nameDeadPeer(entry, peer, other, group);
    this.#fill(entry, peer, other);
  }

  /** An accepted socket shares the name of the listening one. */
  #connectByName(server: UnixSkEntry, client: UnixSkEntry | undefined): void {
    const group = this.#group;
    const listener = this.#listeners.get(nameKey(server)) ?? this.#helperFor(server);
    const other = client === undefined ? group.makeHelper(server.type) : group.make(client);
    if (client !== undefined) group.bind(client);
    nameDeadPeer(server, client, other, group);
    group.connect(other, listener.entry, server);
    group.accept(server, listener.fd);
    this.#fill(server, client, other);
  }

  #fill(entry: UnixSkEntry, peer: UnixSkEntry | undefined, other: number): void {
    const group = this.#group;
    group.queues.fill(entry, other);
    if (peer === undefined) group.close(other);
    else group.queues.fill(peer, group.fdOf(entry));
  }

  /** Which end was accepted: the one with the name of a listening socket, or else one that has a name. */
  #isServer(entry: UnixSkEntry, peer: UnixSkEntry | undefined): boolean {
    if (entry.name.length === 0) return false;
    return peer === undefined || peer.name.length === 0 || !this.#listeners.has(nameKey(peer));
  }

  /** A listening socket that was closed in the meantime. */
  #helperFor(entry: UnixSkEntry): { fd: number; entry: UnixSkEntry } {
    const group = this.#group;
    const fd = group.makeHelper(entry.type);
    group.bind(entry, fd);
    group.listen(fd, 1, undefined);
    const listener = { fd, entry };
    this.#listeners.set(nameKey(entry), listener);
    this.#helpers.push(fd);
    return listener;
  }
}

/** The other end is a helper: it has the name that messages have come from. */
function nameDeadPeer(entry: UnixSkEntry, peer: UnixSkEntry | undefined, other: number, group: SocketGroup): void {
  const name = peer === undefined ? group.queues.firstSender(entry) : undefined;
  if (name !== undefined && name.length > 0) {
    group.places.bindForAWhile(other, name, `the other end of socket:[${entry.ino}]`);
  }
}

/** Whether it is an end of an established connection; the other end may be closed. */
function isConnected(entry: UnixSkEntry, group: SocketGroup): boolean {
  return isConnection(entry) && group.peerOf(entry)?.state !== TCP_LISTEN;
}
