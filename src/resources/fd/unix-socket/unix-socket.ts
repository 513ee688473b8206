/**
 * UNIX sockets (man 7 unix) of the tree: alone, bound, listening, in pairs, with what waits in their queues.
 *
 * Peers outside the tree are refused, unless they are datagram sockets with a name, which can be connected to again
 * (--ext-unix-sk), or the user takes care of the socket (--external unix[INODE], --inherit-fd). The connection to criu
 * itself, of a program that asks to be dumped (RPC), comes back with the answer in it.
 *
 * Lost: the pid in SO_PEERCRED when that task is dead, and, with a warning, when several tasks have connected to the same
 * listening socket, which are all connected by one of them (users and groups are kept); times of receipt; credentials of messages that nobody has asked for (SO_PASSCRED); a message
 * without bytes that was looked at (MSG_PEEK) before.
 */
import { FdTypes } from '../../../image/gen/fdinfo.ts';
import { SkShutdown } from '../../../image/gen/sk-opts.ts';
import type { UnixSkEntry } from '../../../image/gen/sk-unix.ts';
import { S_IFMT, S_IFSOCK } from '../../../linux/abi/fcntl.ts';
import { AF_UNIX, SOCK_DGRAM, SOCK_STREAM } from '../../../linux/abi/socket.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { syscall } from '../../../linux/kernel.ts';
import type { UnixDiag } from '../../../netlink/unix-diag.ts';
import type { FileKind, KindDump, OpenFile, Unsupported } from '../file-kind.ts';
import { findForeign, networkId } from '../socket-options/network-namespace.ts';
import { readPeer, readUnixOptions, type SocketPeer } from '../socket-options/socket-options.ts';
import { checkSocket } from './check.ts';
import { createSockets } from './create-sockets.ts';
import { dumpBacklog } from './dump-backlog.ts';
import { dumpPeers, peersOf } from './dump-peers.ts';
import { GhostNames } from './ghost-names.ts';
import { KernelSockets } from './kernel-sockets.ts';
import { unixLinks } from './links.ts';
import { isPath, readNameFile } from './name.ts';
import { plainPairs } from './plain-pairs.ts';
import { dumpQueue, queuedMessages } from './queue.ts';
import type { Peer } from './socket-group.ts';
import { TCP_CLOSE, TCP_ESTABLISHED, TCP_LISTEN, USK_SERVICE } from './states.ts';

export const unixSocket: FileKind = {
  type: FdTypes.UNIXSK,

  recognise: (file) => (file.stat.st_mode & S_IFMT) === S_IFSOCK && file.fd >= 0 && file.socketFamily === AF_UNIX,

  dump(file, id, dump) {
    const socket = kernelSockets(dump).get(file.stat.st_ino);
    if (socket === undefined) {
      return findForeign(file.localFd, dump) ?? { unsupported: 'the kernel does not list it (unix_diag)' };
    }
    const usk = describeSocket(file, id, socket, dump);
    if ('unsupported' in usk) {
      peersOf(dump).failed.add(socket.ino);
      return usk;
    }
    return peersOf(dump).add(file, usk, socket);
  },

  afterAll: (dump) => dumpPeers(dump, kernelSockets),

  maker({ usk }) {
    if (usk === undefined || !hasPeer(usk)) return undefined;
    return usk.peer_cred_ext?.pid ?? 'first';
  },

  pairs: plainPairs,
  groupKey: (entry, context) => unixLinks(context).groupOf(entry.id),

  needs(entry, context) {
    let ids = NO_IDS;
    for (const { message } of queuedMessages(entry.id, context)) {
      for (const { rights } of message.scm) ids = [...ids, ...rights];
    }
    return ids;
  },

  check: (entry, context) => (entry.usk === undefined ? [] : checkSocket(entry.usk, context)),

  prepare: (context) => GhostNames.of(context).prepare(),
  release: (context) => GhostNames.of(context).release(),

  create(entries, home) {
    const sockets: UnixSkEntry[] = [];
    for (const { usk } of entries) if (usk !== undefined) sockets.push(usk);
    createSockets(sockets, home);
  },

  fown: (entry) => entry.usk?.fown,
  statusFlags: (entry) => entry.usk?.flags,
};

const NO_IDS: readonly number[] = [];

const kernelSockets = (dump: KindDump): KernelSockets => dump.state('unix sockets', () => KernelSockets.read());

const SHUTDOWN = [SkShutdown.NONE, SkShutdown.READ, SkShutdown.WRITE, SkShutdown.BOTH] as const;

function describeSocket(file: OpenFile, id: number, socket: UnixDiag, dump: KindDump): UnixSkEntry | Unsupported {
  const { type, state, name } = socket;
  if (state !== TCP_ESTABLISHED && state !== TCP_CLOSE && state !== TCP_LISTEN) {
    return { unsupported: `it is in state ${state}, which UNIX sockets do not have` };
  }
  const isConnected = state === TCP_ESTABLISHED && type !== SOCK_DGRAM;
  const named = isPath(name) ? readNameFile(file.localFd, name, !isConnected) : undefined;
  if (named !== undefined && 'unsupported' in named) return named;
  const opts = readUnixOptions(file, type, dump);
  if ('unsupported' in opts) return opts;
  if (state !== TCP_LISTEN) {
    const problem = hasQueue(file, socket) ? dumpQueue({ file, id, socket, opts }, dump) : undefined;
    if (problem !== undefined) return problem;
  }
  const pending_ext = state === TCP_LISTEN ? dumpBacklog(file, socket, opts, dump) : [];
  if ('unsupported' in pending_ext) return pending_ext;
  const { peer_cred_ext, peer_groups_ext } = hasPeer(socket) ? describePeer(readPeer(file, type, dump), file) : NO_PEER;
  // One shape for thousands: what hardly any has is added to those that have it.
  const usk: UnixSkEntry = {
    id,
    ino: socket.ino,
    type,
    state,
    flags: file.flags,
    uflags: 0,
    backlog: socket.sendQueue,
    peer: socket.peer,
    fown: file.fown,
    opts,
    name,
    pending_ext,
    peer_groups_ext,
    ns_id: networkId(dump),
  };
  if (peer_cred_ext !== undefined) usk.peer_cred_ext = peer_cred_ext;
  const shutdown = SHUTDOWN[socket.shutdown & 3];
  if (shutdown !== undefined && shutdown !== SkShutdown.NONE) usk.shutdown = shutdown;
  if (named !== undefined) Object.assign(usk, named);
  const isService = socket.peer !== 0 && socket.peer === dump.options.serviceSocketInode;
  // The connection ends with the answer that the restored client finds in it; CRIU reads it the same way.
  if (isService) Object.assign(usk, { state: TCP_CLOSE, peer: 0, uflags: USK_SERVICE });
  return usk;
}

/** Whether it tells who made the other end. */
const hasPeer = ({ type, state }: Pick<UnixSkEntry, 'type' | 'state'>): boolean =>
  state === TCP_LISTEN || (state === TCP_ESTABLISHED && type !== SOCK_DGRAM);

const NO_PEER: Peer = { peer_groups_ext: [] };

/** Nothing when it is root, and the task that will make the socket again anyway. */
function describePeer({ creds, groups }: SocketPeer, { task }: OpenFile): Peer {
  const isUsual = creds.uid === 0 && creds.gid === 0 && creds.pid === task.pid && groups.length === 0;
  return isUsual ? NO_PEER : { peer_cred_ext: creds, peer_groups_ext: groups };
}

const POLLIN = 1;

/** Whether something waits in it. A datagram without bytes does not count in what unix_diag shows. */
function hasQueue(file: OpenFile, { type, receiveQueue }: UnixDiag): boolean {
  if (receiveQueue > 0 || type === SOCK_STREAM) return receiveQueue > 0;
  const pollfd = Int32Array.of(file.localFd, POLLIN);
  return syscall(SYS.poll, pollfd, 1, 0) > 0 && (((pollfd[1] ?? 0) >> 16) & POLLIN) !== 0;
}
