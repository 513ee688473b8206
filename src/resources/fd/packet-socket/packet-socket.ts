/**
 * Packet sockets (man 7 packet): protocol and device, options, memberships, rings, fanout.
 *
 * Lost: packets that nobody has received yet, in the queue or in a ring, with a warning (ARCHITECTURE.md, "Packets in other
 * sockets", says why). A ring begins at its first block again. The kernel does not tell of a fanout group how many members it may have, nor the program of one by BPF, which is
 * refused therefore.
 */
import { FdTypes } from '../../../image/gen/fdinfo.ts';
import type { PacketMclist, PacketRing, PacketSockEntry } from '../../../image/gen/packet-sock.ts';
import { S_IFMT, S_IFSOCK } from '../../../linux/abi/fcntl.ts';
import { SIOCINQ } from '../../../linux/abi/inet.ts';
import * as PACKET from '../../../linux/abi/packet.ts';
import { AF_PACKET } from '../../../linux/abi/socket.ts';
import { ioctl } from '../../../linux/syscalls/fs.ts';
import { type PacketDiag, packetDiagRequest, parsePacketDiag } from '../../../netlink/packet-diag.ts';
import { askForSockets } from '../../../netlink/sock-diag.ts';
import type { FileKind, KindDump, OpenFile, Unsupported } from '../file-kind.ts';
import { findForeign, networkId } from '../socket-options/network-namespace.ts';
import { readSocketOptions } from '../socket-options/socket-options.ts';
import { checkPacketSocket, createPacketSocket } from './restore-packet.ts';

export const packetSocket: FileKind = {
  type: FdTypes.PACKETSK,

  recognise: (file) => (file.stat.st_mode & S_IFMT) === S_IFSOCK && file.fd >= 0 && file.socketFamily === AF_PACKET,

  dump(file, id, dump) {
    const psk = describeSocket(file, id, dump);
    if ('unsupported' in psk) return psk;
    packetSockets(dump).set(file.stat.st_ino, id);
    return { type: FdTypes.PACKETSK, id, psk };
  },

  check: ({ psk }, context) => (psk === undefined ? [] : checkPacketSocket(psk, context)),

  create([entry], home) {
    if (entry?.psk !== undefined) createPacketSocket(entry.psk, home);
  },

  fown: (entry) => entry.psk?.fown,
  statusFlags: (entry) => entry.psk?.flags,
};

/** Ids of the packet sockets of the tree by inode: rings that are mapped refer to them. */
export const packetSockets = (dump: Pick<KindDump, 'state'>): Map<number, number> =>
  dump.state('packet sockets', () => new Map<number, number>());

function readAll(): ReadonlyMap<number, PacketDiag> {
  const all = askForSockets(packetDiagRequest(), 'AF_PACKET').flatMap((answer) => parsePacketDiag(answer) ?? []);
  return new Map(all.map((socket) => [socket.ino, socket]));
}

function describeSocket(file: OpenFile, id: number, dump: KindDump): PacketSockEntry | Unsupported {
  const foreign = findForeign(file.localFd, dump);
  if (foreign !== undefined) return foreign;
  const seen = dump.state('kernel packet sockets', readAll).get(file.stat.st_ino);
  if (seen === undefined) return { unsupported: 'the kernel does not list it (packet_diag)' };
  const { type, protocol, fanout } = seen;
  const mode = fanout === undefined ? undefined : (fanout >>> 16) & 0xff;
  if (mode === PACKET.PACKET_FANOUT_CBPF || mode === PACKET.PACKET_FANOUT_EBPF) {
    return { unsupported: 'a BPF program distributes the packets of its fanout group, which cannot be read back' };
  }
  const opts = readSocketOptions(file.localFd, { family: AF_PACKET, type, proto: protocol }, dump);
  if ('unsupported' in opts) return opts;
  warnOfLoss(file, seen, dump);
  const entry: PacketSockEntry = {
    id,
    type,
    // As socket(2) takes it: in network order.
    protocol: ((protocol & 0xff) << 8) | (protocol >> 8),
    flags: file.flags,
    ifindex: seen.index,
    fown: file.fown,
    opts,
    version: seen.version,
    reserve: seen.reserve,
    aux_data: (seen.flags & PACKET.PDI_AUXDATA) !== 0,
    orig_dev: (seen.flags & PACKET.PDI_ORIGDEV) !== 0,
    vnet_hdr: (seen.flags & PACKET.PDI_VNETHDR) !== 0,
    loss: (seen.flags & PACKET.PDI_LOSS) !== 0,
    timestamp: seen.timestamp,
    copy_thresh: seen.copyThreshold,
    mclist: seen.memberships.flatMap(({ index, type: kind, address, count }) =>
      new Array<PacketMclist>(count).fill({ index, type: kind, addr: address }),
    ),
    ns_id: networkId(dump),
  };
  if (fanout !== undefined) entry.fanout = fanout;
  if (seen.rxRing !== undefined) entry.rx_ring = describeRing(seen.rxRing);
  if (seen.txRing !== undefined) entry.tx_ring = describeRing(seen.txRing);
  return entry;
}

function describeRing(words: readonly number[]): PacketRing {
  const [block_size = 0, block_nr = 0, frame_size = 0, frame_nr = 0, retire_tmo = 0, sizeof_priv = 0, features = 0] =
    words;
  return { block_size, block_nr, frame_size, frame_nr, retire_tmo, sizeof_priv, features };
}

const waiting = new Int32Array(1);

function warnOfLoss(file: OpenFile, { rxRing }: PacketDiag, dump: KindDump): void {
  if (ioctl(file.localFd, SIOCINQ, waiting) === 0 && (waiting[0] ?? 0) > 0) {
    dump.warn(`${file.object}: packets that nobody has received yet are lost`);
  }
  if (rxRing !== undefined) {
    dump.warn(`${file.object}: packets in its ring are lost, and the kernel begins at its first frame again`);
  }
}
