/**
 * Pairs of connected sockets about which there is nothing special, as socketpair(2) makes them. There may be thousands, and
 * what can be special about a socket (socket-group.ts) takes ten times as long to be asked for.
 */
import type { UnixSkEntry } from '../../../image/gen/sk-unix.ts';
import { F_SETFL } from '../../../linux/abi/fcntl.ts';
import { AF_UNIX, SOCK_DGRAM } from '../../../linux/abi/socket.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { SETFL_MASK } from '../fd-table/owner.ts';
import type { RestoreHome } from '../file-kind.ts';
import { hasFreshOptions } from '../socket-options/socket-options.ts';
import { PAIR_ROOM } from '../step.ts';
import { socketKey } from './check.ts';
import { hasRoom, SEND_FLAGS } from './fill-queues.ts';
import { type QueuedMessage, queuedMessages } from './queue.ts';
import { TCP_ESTABLISHED } from './states.ts';

/** Plans such a pair; false when the sockets are something else. */
export function tryCreatePair(entries: readonly UnixSkEntry[], home: RestoreHome): boolean {
  const [entry, peer] = entries;
  const { context, table } = home;
  if (entry === undefined || peer === undefined || entries.length > 2) return false;
  if (context.options.inheritFds.length > 0) return false;
  if (entry.type !== peer.type || entry.peer !== peer.ino || peer.peer !== entry.ino) return false;
  if (!isPlain(entry, home) || !isPlain(peer, home)) return false;
  const [own, other] = [queuedMessages(entry.id, context), queuedMessages(peer.id, context)];
  if (!isPlainQueue(own, home) || !isPlainQueue(other, home)) return false;
  const cloexec = home.cloexec(entry.id) | home.cloexec(peer.id);
  const because = ['make', socketKey(entry)];
  const [fd, otherFd] = table.openPair(because, SYS.socketpair, AF_UNIX, entry.type | cloexec, 0, PAIR_ROOM);
  fill(own, otherFd, entry, home);
  fill(other, fd, peer, home);
  finish(entry, fd, cloexec, home);
  finish(peer, otherFd, cloexec, home);
  return true;
}

function isPlain(entry: UnixSkEntry, { context }: RestoreHome): boolean {
  const { type, state, uflags, name, shutdown = 0, peer_cred_ext, peer_groups_ext, opts } = entry;
  if (type === SOCK_DGRAM || state !== TCP_ESTABLISHED || uflags !== 0 || name.length > 0 || shutdown !== 0)
    return false;
  if (peer_cred_ext !== undefined && (peer_cred_ext.uid !== 0 || peer_cred_ext.gid !== 0)) return false;
  if (!isSame(peer_groups_ext, context.system.groups())) return false;
  if (opts.reuseaddr === true || opts.so_reuseport === true || opts.options_ext.length > 0) return false;
  return hasFreshOptions(opts, context.system.socketBuffers());
}

function isSame(groups: readonly number[], others: readonly number[]): boolean {
  if (groups.length !== others.length) return false;
  for (let i = 0; i < groups.length; i++) if (groups[i] !== others[i]) return false;
  return true;
}

function isPlainQueue(messages: readonly QueuedMessage[], { context }: RestoreHome): boolean {
  for (const { message } of messages) {
    if (message.scm.length > 0 || message.creds_ext !== undefined || message.sender_ext !== undefined) return false;
  }
  return messages.length === 0 || hasRoom(messages, context);
}

function fill(messages: readonly QueuedMessage[], from: number, entry: UnixSkEntry, { table }: RestoreHome): void {
  for (const { payload } of messages) {
    const because = ['fill the queue of', socketKey(entry)];
    table.doExpecting(because, payload.length, SYS.sendto, from, { bytes: payload }, payload.length, SEND_FLAGS);
  }
}

function finish(entry: UnixSkEntry, fd: number, cloexec: number, { table, made }: RestoreHome): void {
  const flags = entry.flags & SETFL_MASK;
  if (flags !== 0) table.do(['set the flags of', socketKey(entry)], SYS.fcntl, fd, F_SETFL, flags);
  made(entry.id, fd, cloexec !== 0);
}
