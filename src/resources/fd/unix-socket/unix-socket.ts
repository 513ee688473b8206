/**
 * UNIX sockets (man 7 unix) of the tree: alone, bound, listening, in pairs, with what waits in their queues.
 *
 * Peers outside the tree are refused, unless they are datagram sockets with a name, which can be connected to again
 * (--ext-unix-sk), or the user takes care of the socket (--external unix[INODE], --inherit-fd). The connection to criu
 * itself, of a program that asks to be dumped (RPC), comes back with the answer in it.
 *
 * Lost, because the image has no place for it: sender names of queued datagrams, SO_PEEK_OFF, and SO_PEERCRED, which
 * names the task that makes the socket again.
 */
import { FdTypes } from '../../../image/gen/fdinfo.ts';
import { SkShutdown } from '../../../image/gen/sk-opts.ts';
import type { UnixSkEntry } from '../../../image/gen/sk-unix.ts';
import { S_IFMT, S_IFSOCK } from '../../../linux/abi/fcntl.ts';
import { AF_UNIX, SO_DOMAIN, SOCK_DGRAM, SOL_SOCKET } from '../../../linux/abi/socket.ts';
import { tryGetsockoptInt } from '../../../linux/syscalls/socket.ts';
import type { UnixDiag } from '../../../netlink/unix-diag.ts';
import type { FileKind, KindDump, OpenFile, Unsupported } from '../file-kind.ts';
import { readSocketOptions } from '../socket-options/socket-options.ts';
import { checkSocket } from './check.ts';
import { createSockets } from './create-sockets.ts';
import { dumpPeers, peersOf } from './dump-peers.ts';
import { GhostNames } from './ghost-names.ts';
import { KernelSockets } from './kernel-sockets.ts';
import { unixLinks } from './links.ts';
import { isPath, readNameFile } from './name.ts';
import { dumpQueue, queuedMessages } from './queue.ts';
import { TCP_CLOSE, TCP_ESTABLISHED, TCP_LISTEN, USK_SERVICE } from './states.ts';

export const unixSocket: FileKind = {
  type: FdTypes.UNIXSK,

  recognise: (file) =>
    (file.stat.st_mode & S_IFMT) === S_IFSOCK &&
    file.fd >= 0 &&
    tryGetsockoptInt(file.localFd, SOL_SOCKET, SO_DOMAIN) === AF_UNIX,

  dump(file, id, dump) {
    const socket = kernelSockets(dump).get(file.stat.st_ino);
    if (socket === undefined) return { unsupported: 'it belongs to another network namespace than criu' };
    const usk = describeSocket(file, id, socket, dump);
    if ('unsupported' in usk) {
      peersOf(dump).failed.add(socket.ino);
      return usk;
    }
    return peersOf(dump).add(file, usk, socket);
  },

  afterAll: (dump) => dumpPeers(dump, kernelSockets),

  groupKey: (entry, context) => unixLinks(context).groupOf(entry.id),

  needs: (entry, context) =>
    queuedMessages(entry.id, context).flatMap(({ message }) => message.scm.flatMap(({ rights }) => rights)),

  check: (entry, context) => (entry.usk === undefined ? [] : checkSocket(entry.usk, context)),

  prepare: (context) => GhostNames.of(context).prepare(),
  release: (context) => GhostNames.of(context).release(),

  create(entries, home) {
    createSockets(
      entries.flatMap(({ usk }) => usk ?? []),
      home,
    );
  },

  fown: (entry) => entry.usk?.fown,
  statusFlags: (entry) => entry.usk?.flags,
};

const kernelSockets = (dump: KindDump): KernelSockets => dump.state('unix sockets', () => KernelSockets.read());

const SHUTDOWN = [SkShutdown.NONE, SkShutdown.READ, SkShutdown.WRITE, SkShutdown.BOTH] as const;

function describeSocket(file: OpenFile, id: number, socket: UnixDiag, dump: KindDump): UnixSkEntry | Unsupported {
  const { type, state, name } = socket;
  if (state !== TCP_ESTABLISHED && state !== TCP_CLOSE && state !== TCP_LISTEN) {
    return { unsupported: `it is in state ${state}, which UNIX sockets do not have` };
  }
  const isConnected = state === TCP_ESTABLISHED && type !== SOCK_DGRAM;
  const named = isPath(name) ? readNameFile(file.localFd, name, !isConnected) : {};
  if ('unsupported' in named) return named;
  const opts = readSocketOptions(file.localFd, { family: AF_UNIX, type, proto: 0 }, dump);
  if ('unsupported' in opts) return opts;
  if (state !== TCP_LISTEN) {
    const problem = socket.receiveQueue === 0 ? undefined : dumpQueue(file, id, type, dump);
    if (problem !== undefined) return problem;
  }
  const shutdown = SHUTDOWN[socket.shutdown & 3];
  const isService = socket.peer !== 0 && socket.peer === dump.options.serviceSocketInode;
  return {
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
    ...(shutdown === undefined || shutdown === SkShutdown.NONE ? {} : { shutdown }),
    ...named,
    // The connection ends with the answer that the restored client finds in it; CRIU reads it the same way.
    ...(isService ? { state: TCP_CLOSE, peer: 0, uflags: USK_SERVICE } : {}),
    ns_id: NETWORK_ID,
  };
}

/** The number of criu's own network namespace (src/dump/namespace-ids.ts numbers it second). */
const NETWORK_ID = 2;
