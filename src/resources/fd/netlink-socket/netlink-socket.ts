/**
 * Netlink sockets (man 7 netlink): protocol, port, groups, destination, options. Messages that wait to be read belong to a
 * conversation with the kernel that nobody can take up again, so such a socket is refused.
 *
 * A port that somebody else has at the restore is replaced by another one, as CRIU does: it mostly was the kernel's choice.
 * Images have 32 groups; those above, and those of sockets without a port, are options there.
 */
import type { CriuErrorFields } from '../../../base/errors.ts';
import { FdTypes } from '../../../image/gen/fdinfo.ts';
import type { NetlinkSkEntry } from '../../../image/gen/sk-netlink.ts';
import { ERRNO, errnoName } from '../../../linux/abi/errno.ts';
import { F_SETFL, S_IFMT, S_IFSOCK } from '../../../linux/abi/fcntl.ts';
import {
  AF_NETLINK,
  MSG_DONTWAIT,
  MSG_PEEK,
  SO_PROTOCOL,
  SO_TYPE,
  SOCK_RAW,
  SOL_NETLINK,
  SOL_SOCKET,
} from '../../../linux/abi/socket.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { syscall } from '../../../linux/kernel.ts';
import { getsockoptInt, tryGetpeername, tryGetsockname, tryGetsockopt } from '../../../linux/syscalls/socket.ts';
import { SETFL_MASK } from '../fd-table/owner.ts';
import type { FileKind, KindDump, OpenFile, RestoreHome, Unsupported } from '../file-kind.ts';
import { planKeptOptions } from '../socket-options/kept-options.ts';
import { findForeign, networkId } from '../socket-options/network-namespace.ts';
import { checkSocketOptions, planSocketOptions, readSocketOptions } from '../socket-options/socket-options.ts';

const NETLINK_CONNECTED = 1;
const NETLINK_ADD_MEMBERSHIP = 1;
const NETLINK_LIST_MEMBERSHIPS = 9;
const GROUPS_OF_IMAGE = 32;

export const netlinkSocket: FileKind = {
  type: FdTypes.NETLINKSK,

  recognise: (file) => (file.stat.st_mode & S_IFMT) === S_IFSOCK && file.fd >= 0 && file.socketFamily === AF_NETLINK,

  dump(file, id, dump) {
    const nlsk = describeSocket(file, id, dump);
    return 'unsupported' in nlsk ? nlsk : { type: FdTypes.NETLINKSK, id, nlsk };
  },

  check: ({ nlsk }, context): CriuErrorFields[] =>
    nlsk === undefined ? [] : checkSocketOptions(nlsk.opts, () => nameOf(nlsk), context.system),

  create([entry], home) {
    if (entry?.nlsk !== undefined) createSocket(entry.nlsk, home);
  },

  fown: (entry) => entry.nlsk?.fown,
  statusFlags: (entry) => entry.nlsk?.flags,
};

const nameOf = ({ ino, protocol }: NetlinkSkEntry) => `socket:[${ino}] (netlink protocol ${protocol})`;

function describeSocket(file: OpenFile, id: number, dump: KindDump): NetlinkSkEntry | Unsupported {
  const fd = file.localFd;
  const problem = findForeign(fd, dump) ?? findQueue(fd);
  if (problem !== undefined) return problem;
  const type = getsockoptInt(fd, SOL_SOCKET, SO_TYPE);
  const protocol = getsockoptInt(fd, SOL_SOCKET, SO_PROTOCOL);
  const opts = readSocketOptions(fd, { family: AF_NETLINK, type, proto: protocol }, dump);
  if ('unsupported' in opts) return opts;
  const own = parseAddress(tryGetsockname(fd));
  const peer = parseAddress(tryGetpeername(fd));
  const memberships = readMemberships(fd);
  const isInImage = (group: number) => own.port !== 0 && group <= GROUPS_OF_IMAGE;
  const entry: NetlinkSkEntry = {
    id,
    ino: file.stat.st_ino,
    protocol,
    state: peer.port === 0 && peer.groups === 0 ? 0 : NETLINK_CONNECTED,
    flags: file.flags,
    portid: own.port,
    groups: [],
    dst_portid: peer.port,
    // The mask of one group.
    dst_group: peer.groups === 0 ? 0 : 32 - Math.clz32(peer.groups),
    fown: file.fown,
    opts: { ...opts, options_ext: [...opts.options_ext, ...memberships.filter((g) => !isInImage(g)).map(joinOption)] },
    ns_id: networkId(dump),
  };
  const mask = memberships.filter(isInImage).reduce((bits, group) => bits | (1 << (group - 1)), 0);
  if (mask !== 0) entry.groups = [mask >>> 0];
  if (type !== SOCK_RAW) entry.type_ext = type;
  return entry;
}

const joinOption = (group: number) => ({
  level: SOL_NETLINK,
  option: NETLINK_ADD_MEMBERSHIP,
  value: new Uint8Array(Int32Array.of(group).buffer),
});

function findQueue(fd: number): Unsupported | undefined {
  const byte = new Uint8Array(1);
  const got = syscall(SYS.recvfrom, fd, byte, byte.length, MSG_PEEK | MSG_DONTWAIT, 0, 0);
  if (got === -ERRNO.EAGAIN) return undefined;
  if (got < 0) return { unsupported: `its queue cannot be looked at (recvfrom: ${errnoName(-got)})` };
  return {
    unsupported: 'a message of the kernel waits in it to be read, and cannot be sent again',
    remedy: 'dump when the program has read it',
  };
}

/** struct sockaddr_nl. */
function parseAddress(bytes: Uint8Array | number): { port: number; groups: number } {
  if (typeof bytes === 'number' || bytes.length < 12) return { port: 0, groups: 0 };
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return { port: view.getUint32(4, true), groups: view.getUint32(8, true) };
}

function packAddress(port: number, groups: number): Uint8Array {
  const bytes = new Uint8Array(12);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, AF_NETLINK, true);
  view.setUint32(4, port, true);
  view.setUint32(8, groups, true);
  return bytes;
}

/** Numbers of the groups, from 1 on. */
function readMemberships(fd: number): number[] {
  const bytes = tryGetsockopt(fd, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, new Uint8Array(0));
  if (bytes <= 0) return [];
  const mask = new Uint8Array(bytes);
  if (tryGetsockopt(fd, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, mask) < 0) return [];
  return [...mask].flatMap((byte, i) =>
    [0, 1, 2, 3, 4, 5, 6, 7].flatMap((bit) => (byte & (1 << bit) ? i * 8 + bit + 1 : [])),
  );
}

function createSocket(entry: NetlinkSkEntry, home: RestoreHome): void {
  const { table, context } = home;
  const { id, portid, flags, opts, protocol } = entry;
  const what = nameOf(entry);
  const cloexec = home.cloexec(id);
  const type = entry.type_ext ?? SOCK_RAW;
  const fd = table.open(`make ${what}`, SYS.socket, AF_NETLINK, type | cloexec, protocol);
  const socket = { type: { family: AF_NETLINK, type, proto: protocol }, opts, what };
  planSocketOptions(table, fd, opts, what);
  planKeptOptions(table, fd, socket, 'early', context.system);
  if (portid !== 0) {
    const because = `bind ${what} to port ${portid}`;
    const groups = entry.groups[0] ?? 0;
    // The second one fails when the first one did not, and does no harm.
    for (const port of [portid, 0]) {
      const bytes = packAddress(port, groups);
      table.doUnchecked(because, SYS.bind, fd, { bytes }, bytes.length);
    }
  }
  if (entry.state === NETLINK_CONNECTED) {
    const bytes = packAddress(entry.dst_portid, entry.dst_group === 0 ? 0 : (1 << (entry.dst_group - 1)) >>> 0);
    table.doExpecting(`connect ${what}`, 0, SYS.connect, fd, { bytes }, bytes.length);
  }
  planKeptOptions(table, fd, socket, 'late', context.system);
  if ((flags & SETFL_MASK) !== 0) table.do(`set the flags of ${what}`, SYS.fcntl, fd, F_SETFL, flags & SETFL_MASK);
  home.made(id, fd, cloexec !== 0);
}
