/** Entry → the steps that make a packet socket again. Pure. */
import type { CriuErrorFields } from '../../../base/errors.ts';
import type { PacketMclist, PacketRing, PacketSockEntry } from '../../../image/gen/packet-sock.ts';
import { F_SETFL } from '../../../linux/abi/fcntl.ts';
import * as PACKET from '../../../linux/abi/packet.ts';
import { AF_PACKET, SOL_PACKET } from '../../../linux/abi/socket.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import type { FdTablePlan } from '../fd-table/fd-table-plan.ts';
import { SETFL_MASK } from '../fd-table/owner.ts';
import type { RestoreContext, RestoreHome } from '../file-kind.ts';
import { planKeptOptions } from '../socket-options/kept-options.ts';
import { planIntOption, planOption } from '../socket-options/plan-option.ts';
import { checkSocketOptions, planSocketOptions } from '../socket-options/socket-options.ts';

/** MAX_ADDR_LEN (linux/netdevice.h). */
const ADDRESS_BYTES_MAX = 32;
/** Images of CRIU have this when there is no fanout group. */
const NO_FANOUT = 0xffff_ffff;

const nameOf = ({ id, protocol }: PacketSockEntry) =>
  `packet socket ${id} (protocol 0x${hostOrder(protocol).toString(16)})`;
const hostOrder = (protocol: number) => ((protocol & 0xff) << 8) | ((protocol >> 8) & 0xff);

/** What speaks against restoring it. */
export function checkPacketSocket(entry: PacketSockEntry, { system }: RestoreContext): CriuErrorFields[] {
  const object = nameOf(entry);
  const action = 'cannot be restored';
  const problems = checkSocketOptions(entry.opts, () => object, system);
  if (entry.mclist.some(({ addr }) => addr.length > ADDRESS_BYTES_MAX)) {
    problems.push({ object, action, why: 'an address of a membership is too long: the image is damaged' });
  }
  const devices = [entry.ifindex, ...entry.mclist.map(({ index }) => index)];
  for (const index of new Set(devices)) {
    if (index === 0 || system.deviceName(index) !== undefined) continue;
    problems.push({
      object,
      action,
      why: `there is no network device with the index ${index}`,
      remedy: 'make it again',
    });
  }
  return problems;
}

/** Plans making it. It is bound last but for its fanout group: until then it receives nothing. */
export function createPacketSocket(entry: PacketSockEntry, home: RestoreHome): void {
  const { table, context } = home;
  const { id, type, opts, flags, protocol } = entry;
  const what = nameOf(entry);
  const cloexec = home.cloexec(id);
  const isObsolete = type === PACKET.SOCK_PACKET;
  const fd = table.open(`make ${what}`, SYS.socket, AF_PACKET, type | cloexec, isObsolete ? protocol : 0);
  const socket = { type: { family: AF_PACKET, type, proto: hostOrder(protocol) }, opts, what };
  planSocketOptions(table, fd, opts, what);
  if (!isObsolete) planPacketOptions(table, fd, entry, what);
  planKeptOptions(table, fd, socket, 'early', context.system);
  if (!isObsolete) {
    for (const membership of entry.mclist) planMembership(table, fd, membership, what);
    planRing(table, fd, PACKET.PACKET_RX_RING, entry.rx_ring, what);
    planRing(table, fd, PACKET.PACKET_TX_RING, entry.tx_ring, what);
  }
  planBind(table, fd, entry, what, context);
  const { fanout = NO_FANOUT } = entry;
  if (fanout !== NO_FANOUT) {
    planIntOption(table, fd, SOL_PACKET, PACKET.PACKET_FANOUT, fanout | 0, `join the fanout group of ${what}`);
  }
  planKeptOptions(table, fd, socket, 'late', context.system);
  if ((flags & SETFL_MASK) !== 0) table.do(`set the flags of ${what}`, SYS.fcntl, fd, F_SETFL, flags & SETFL_MASK);
  home.made(id, fd, cloexec !== 0);
}

/** Rings depend on these. */
function planPacketOptions(table: FdTablePlan, fd: number, entry: PacketSockEntry, what: string): void {
  const options = [
    [PACKET.PACKET_VERSION, entry.version, 'version'],
    [PACKET.PACKET_RESERVE, entry.reserve, 'reserve'],
    [PACKET.PACKET_TIMESTAMP, entry.timestamp, 'timestamp'],
    [PACKET.PACKET_COPY_THRESH, entry.copy_thresh, 'copy_thresh'],
    [PACKET.PACKET_AUXDATA, Number(entry.aux_data), 'aux_data'],
    [PACKET.PACKET_ORIGDEV, Number(entry.orig_dev), 'orig_dev'],
    [PACKET.PACKET_VNET_HDR, Number(entry.vnet_hdr), 'vnet_hdr'],
    [PACKET.PACKET_LOSS, Number(entry.loss), 'loss'],
  ] as const;
  for (const [option, value, name] of options) {
    if (value !== 0) planIntOption(table, fd, SOL_PACKET, option, value, `set ${name} of ${what}`);
  }
}

/** struct packet_mreq, with the longest address that there is. */
function planMembership(table: FdTablePlan, fd: number, { index, type, addr }: PacketMclist, what: string): void {
  const bytes = new Uint8Array(8 + ADDRESS_BYTES_MAX);
  const view = new DataView(bytes.buffer);
  view.setInt32(0, index, true);
  view.setUint16(4, type, true);
  view.setUint16(6, addr.length, true);
  bytes.set(addr, 8);
  planOption(table, fd, SOL_PACKET, PACKET.PACKET_ADD_MEMBERSHIP, bytes, `add a membership of ${what}`);
}

/** struct tpacket_req3; older versions of rings take its beginning. */
function planRing(table: FdTablePlan, fd: number, option: number, ring: PacketRing | undefined, what: string): void {
  if (ring === undefined) return;
  const { block_size, block_nr, frame_size, frame_nr, retire_tmo, sizeof_priv, features } = ring;
  const words = Uint32Array.of(block_size, block_nr, frame_size, frame_nr, retire_tmo, sizeof_priv, features);
  planOption(table, fd, SOL_PACKET, option, new Uint8Array(words.buffer), `make a ring of ${what}`);
}

/** struct sockaddr_ll, or, for the obsolete kind, struct sockaddr_pkt, which has the name of the device. */
function planBind(
  table: FdTablePlan,
  fd: number,
  { type, ifindex, protocol }: PacketSockEntry,
  what: string,
  { system }: RestoreContext,
): void {
  const isObsolete = type === PACKET.SOCK_PACKET;
  if (ifindex === 0 && (protocol === 0 || isObsolete)) return;
  const bytes = new Uint8Array(isObsolete ? 16 : 20);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, AF_PACKET, true);
  if (isObsolete) bytes.set(Buffer.from((system.deviceName(ifindex) ?? '').slice(0, 13), 'latin1'), 2);
  else {
    view.setUint16(2, protocol, true);
    view.setInt32(4, ifindex, true);
  }
  table.doExpecting(`bind ${what}`, 0, SYS.bind, fd, { bytes }, bytes.length);
}
