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
  for (const entry of sourcesFirst(connected)) connect(entry, group);
}

/** Whether another one than `except` is connected to it. */
const isTarget = (entry: UnixSkEntry, sockets: readonly UnixSkEntry[], except?: UnixSkEntry): boolean =>
  sockets.some((other) => other.peer === entry.ino && other !== entry && other !== except);

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
    group.fill(entry, other);
    group.close(other);
    return;
  }
  if (group.isMade(peer)) return;
  const isMutual = peer.peer === entry.ino;
  if (isMutual ? isTarget(entry, sockets, peer) || isTarget(peer, sockets, entry) : peer.name.length > 0) return;
  group.makePair(entry, peer);
  group.bind(entry);
  group.bind(peer);
  if (!isMutual) group.disconnect(group.fdOf(peer), group.fdOf(entry));
  group.fill(peer, group.fdOf(entry));
  if (isMutual) group.fill(entry, group.fdOf(peer));
}

/** A socket that is connected later, if at all. What waits in it came from one that is not connected to it any more. */
function createAlone(entry: UnixSkEntry, sockets: readonly UnixSkEntry[], group: SocketGroup): void {
  const needsSender = group.hasQueue(entry) && !isTarget(entry, sockets) && entry.peer !== entry.ino;
  if (needsSender && entry.name.length === 0) {
    const sender = group.makePair(entry);
    group.disconnect(group.fdOf(entry), sender);
    group.fill(entry, sender);
    group.close(sender);
    return;
  }
  group.make(entry);
  group.bind(entry);
  if (!needsSender) return;
  const sender = group.makeHelper(SOCK_DGRAM);
  group.connect(sender, entry);
  group.fill(entry, sender);
  group.close(sender);
}

function connect(entry: UnixSkEntry, group: SocketGroup): void {
  const target = group.links.peerOf(entry);
  if (target === undefined) return;
  group.connect(group.fdOf(entry), target);
  if (group.members.has(target.ino)) group.fill(target, group.fdOf(entry));
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
