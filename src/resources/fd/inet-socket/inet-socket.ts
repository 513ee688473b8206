/**
 * Internet sockets (man 7 ip, ipv6, tcp, udp, raw): UDP, UDPLite, raw, ping, and TCP: new, bound, listening, connected,
 * and closed in one or both directions.
 *
 * Lost: packets that wait in raw and ping sockets, and what the kernel does not tell (socket-options/option-rows.ts). Sockets
 * belong to the user who restores.
 */
import { FdTypes } from '../../../image/gen/fdinfo.ts';
import { S_IFMT, S_IFSOCK } from '../../../linux/abi/fcntl.ts';
import { AF_INET, AF_INET6 } from '../../../linux/abi/socket.ts';
import type { FileKind, OpenFile } from '../file-kind.ts';
import { dumpInetSocket } from './dump-inet.ts';
import { checkInetSocket, createInetSocket, finishInetSocket } from './restore-inet.ts';
import { dumpHeldSockets } from './tcp-dump.ts';
import { holdConnections, lockNetwork, releaseNetwork, resumeConnections } from './tcp-resume.ts';
import { checkArrived } from './udp-arrived.ts';

export const inetSocket: FileKind = {
  type: FdTypes.INETSK,

  recognise,

  dump: dumpInetSocket,

  afterAll: dumpHeldSockets,

  prepare: lockNetwork,

  settle(context) {
    checkArrived(context);
    holdConnections(context);
  },

  resume: resumeConnections,

  release: releaseNetwork,

  check: ({ isk }, context) => (isk === undefined ? [] : checkInetSocket(isk, context)),

  create([entry], home) {
    if (entry?.isk !== undefined) createInetSocket(entry.isk, home);
  },

  finish({ isk }, fd, home) {
    if (isk !== undefined) finishInetSocket(isk, fd, home);
  },

  fown: (entry) => entry.isk?.fown,

  statusFlags: (entry) => entry.isk?.flags,
};

function recognise({ stat, socketFamily }: OpenFile): boolean {
  return (stat.st_mode & S_IFMT) === S_IFSOCK && (socketFamily === AF_INET || socketFamily === AF_INET6);
}
