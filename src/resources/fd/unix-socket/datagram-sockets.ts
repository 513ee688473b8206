/**
 * Datagram sockets: any number of them may be connected to one. The kernel lets a socket send to another one only when
 * that is connected to nobody else (net/unix/af_unix.c unix_may_send()), which decides the order of things here.
 */
import type { UnixSkEntry } from '../../../image/gen/sk-unix.ts';
import { SOCK_DGRAM } from '../../../linux/abi/socket.ts';
import type { SocketGroup } from './socket-group.ts';
import { TCP_ESTABLISHED } from './states.ts';

export function createDatagramSockets(group: SocketGroup): void {
  const sockets = group.missing.filter(({ type }) => type === SOCK_DGRAM);
  for (const entry of sockets) createPair(entry, sockets, group);
  const connected = sockets.filter((entry) => !group.isMade(entry) && group.links.peerOf(entry) !== undefined);
  for (const entry of sockets) if (!group.isMade(entry)) createAlone(entry, sockets, group);
  // Before they are connected, sockets with a name receive from everybody.
  for (const entry of sockets) if (needsSenders(entry, sockets, group)) group.queues.fillBySenders(entry);
  for (const entry of sourcesFirst(connected)) connect(entry, group);
}

/** Whether another one than `except` is connected to it. */
const isTarget = (entry: UnixSkEntry, sockets: readonly UnixSkEntry[], except?: UnixSkEntry): boolean =>
  sockets.some((other) => other.peer === entry.ino && other !== entry && other !== except);

/** Whether something waits in it that did not come from a socket that is going to be connected to it. */
function needsSenders(entry: UnixSkEntry, sockets: readonly UnixSkEntry[], group: SocketGroup): boolean {
  if (entry.name.length === 0 || !group.queues.has(entry)) return false;
  const source = sourcesFirst(sockets).find((other) => other.peer === entry.ino);
  return source === undefined || !group.queues.isFrom(entry, source.name);
}

/** Makes sockets that socketpair(2) made, as far as the image tells. */
function createPair(entry: UnixSkEntry, sockets: readonly UnixSkEntry[], group: SocketGroup): void {
  if (group.isMade(entry)) return;
  const peer = group.peerOf(entry);
  if (peer === entry) return;
  if (peer === undefined) {
    // A bound socket is in that state as soon as another one has connected to it.
    const hasDeadPeer = entry.peer === 0 && entry.state === TCP_ESTABLISHED && entry.name.length === 0;
    if (!hasDeadPeer || isTarget(entry, sockets)) return;
    const other = group.makePair(entry);
    group.bind(entry);
    nameSender(entry, other, group);
    group.queues.fill(entry, other);
    group.close(other);
    return;
  }
  if (group.isMade(peer)) return;
  const isMutual = peer.peer === entry.ino;
  if (!group.queues.isFrom(peer, entry.name) || !group.queues.isFrom(entry, peer.name)) return;
  if (isMutual ? isTarget(entry, sockets, peer) || isTarget(peer, sockets, entry) : peer.name.length > 0) return;
  group.makePair(entry, peer);
  group.bind(entry);
  group.bind(peer);
  if (!isMutual) group.disconnect(group.fdOf(peer), group.fdOf(entry));
  group.queues.fill(peer, group.fdOf(entry));
  if (isMutual) group.queues.fill(entry, group.fdOf(peer));
}

/** A socket that is connected later, if at all. What waits in one without a name came from a peer that is no more. */
function createAlone(entry: UnixSkEntry, sockets: readonly UnixSkEntry[], group: SocketGroup): void {
  const isOrphan = entry.name.length === 0 && group.queues.has(entry) && !isTarget(entry, sockets);
  if (!isOrphan || entry.peer === entry.ino) {
    group.make(entry);
    group.bind(entry);
    return;
  }
  const sender = group.makePair(entry);
  nameSender(entry, sender, group);
  group.disconnect(group.fdOf(entry), sender);
  group.queues.fill(entry, sender);
  group.close(sender);
}

/** Gives the helper that stands for a dead peer its name. */
function nameSender(entry: UnixSkEntry, sender: number, group: SocketGroup): void {
  const name = group.queues.firstSender(entry);
  if (name.length > 0) group.places.bindForAWhile(sender, name, `a sender to socket:[${entry.ino}]`);
}

function connect(entry: UnixSkEntry, group: SocketGroup): void {
  const target = group.links.peerOf(entry);
  if (target === undefined) return;
  group.connect(group.fdOf(entry), target);
  if (group.members.has(target.ino)) group.queues.fill(target, group.fdOf(entry));
}

/** Those that nobody is going to connect to come first. */
function sourcesFirst(sockets: readonly UnixSkEntry[]): UnixSkEntry[] {
  const left = [...sockets];
  const ordered: UnixSkEntry[] = [];
  while (left.length > 0) {
    const free = left.findIndex((entry) => !isTarget(entry, left));
    ordered.push(...left.splice(Math.max(free, 0), 1));
  }
  return ordered;
}
