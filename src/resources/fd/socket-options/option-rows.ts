/**
 * Options of sockets that images of CRIU have no field for, by the family and protocol that has them: they go into
 * `options_ext` (docs/image-extensions.md) when they differ from those of a new socket. A new option is one row here.
 *
 * What can be set but not read is not kept: programs of a reuseport group (SO_ATTACH_REUSEPORT_*), IPsec policies,
 * IP_ROUTER_ALERT, IPV6_MTU, and the device of IP_MULTICAST_IF when it was given by its index alone. SO_INCOMING_CPU is no
 * setting: the kernel writes there which CPU the last packet came to.
 */
import type { SkOptionExt } from '../../../image/gen/sk-opts.ts';
import * as INET from '../../../linux/abi/inet.ts';
import * as SOCKET from '../../../linux/abi/socket.ts';

/** What kind of socket it is. */
export interface SocketType {
  readonly family: number;
  /** SOCK_* */
  readonly type: number;
  readonly proto: number;
}

export interface OptionRow {
  readonly level: number;
  readonly option: number;
  /** The kernel's name. */
  readonly name: string;
  /** Size of the value; of variable ones (`isVariable`): room to see whether there is one. */
  readonly bytes: number;
  readonly isVariable: boolean;
  /** It can be set only when the socket is what it is going to be: bound, connected, with its filter. */
  readonly isLate: boolean;
  /** The value is the index of a network device. */
  readonly isDevice: boolean;
  /** The kernel sets this value by itself. */
  readonly automatic: number | undefined;
  /** Connections tell the value in use instead of the one that was set. */
  readonly isMeasured: boolean;
  /** Streams cannot set it, and accepted ones get it from the first packet (net/ipv4/tcp_ipv4.c tcp_v4_syn_recv_sock()). */
  readonly isPacketOnly: boolean;
}

interface RowTraits {
  readonly bytes?: number;
  readonly isVariable?: boolean;
  readonly isLate?: boolean;
  readonly isDevice?: boolean;
  readonly automatic?: number;
  readonly isMeasured?: boolean;
  readonly isPacketOnly?: boolean;
}

type ShortRow = readonly [option: number, name: string, traits?: RowTraits];

const late: RowTraits = { isLate: true };
const two: RowTraits = { bytes: 8 };
const packets: RowTraits = { isPacketOnly: true };
const variable: RowTraits = { bytes: 8, isVariable: true };

/** Timestamps are here twice, as programs with 32-bit and 64-bit times ask for them: the later row decides. */
const ALL: readonly ShortRow[] = [
  [29, 'SO_TIMESTAMP'],
  [35, 'SO_TIMESTAMPNS'],
  // TCP sockets must be connected when packets are to be counted (SOF_TIMESTAMPING_OPT_ID).
  [37, 'SO_TIMESTAMPING', { bytes: 8, isLate: true }],
  [63, 'SO_TIMESTAMP_NEW', late],
  [64, 'SO_TIMESTAMPNS_NEW', late],
  [65, 'SO_TIMESTAMPING_NEW', { bytes: 8, isLate: true }],
  [42, 'SO_PEEK_OFF', late],
  [45, 'SO_SELECT_ERR_QUEUE'],
  // Whatever is set after it, it must not be a filter.
  [44, 'SO_LOCK_FILTER', late],
];

const UNIX: readonly ShortRow[] = [
  [76, 'SO_PASSPIDFD'],
  [83, 'SO_PASSRIGHTS', late],
];

/** Of sockets that have to do with devices: UNIX sockets take them too, but nobody ever looks at them there. */
const DEVICES: readonly ShortRow[] = [
  [1, 'SO_DEBUG'],
  [40, 'SO_RXQ_OVFL'],
  [41, 'SO_WIFI_STATUS'],
  [43, 'SO_NOFCS'],
  [46, 'SO_BUSY_POLL'],
  [47, 'SO_MAX_PACING_RATE', two],
  [60, 'SO_ZEROCOPY'],
  [61, 'SO_TXTIME', two],
  [69, 'SO_PREFER_BUSY_POLL'],
  [70, 'SO_BUSY_POLL_BUDGET'],
  [73, 'SO_RESERVE_MEM'],
  // 1 on connections.
  [74, 'SO_TXREHASH', { automatic: 1 }],
  [75, 'SO_RCVMARK'],
  [82, 'SO_RCVPRIORITY'],
];

const IP: readonly ShortRow[] = [
  [4, 'IP_OPTIONS', variable],
  [6, 'IP_RECVOPTS'],
  [7, 'IP_RETOPTS'],
  [10, 'IP_MTU_DISCOVER'],
  [11, 'IP_RECVERR'],
  [12, 'IP_RECVTTL'],
  [13, 'IP_RECVTOS'],
  [18, 'IP_PASSSEC'],
  [19, 'IP_TRANSPARENT'],
  [20, 'IP_RECVORIGDSTADDR'],
  [21, 'IP_MINTTL'],
  [23, 'IP_CHECKSUM'],
  [24, 'IP_BIND_ADDRESS_NO_PORT', late],
  [25, 'IP_RECVFRAGSIZE'],
  [26, 'IP_RECVERR_RFC4884'],
  [32, 'IP_MULTICAST_IF', packets],
  [33, 'IP_MULTICAST_TTL', packets],
  [34, 'IP_MULTICAST_LOOP'],
  [49, 'IP_MULTICAST_ALL'],
  [50, 'IP_UNICAST_IF'],
  [51, 'IP_LOCAL_PORT_RANGE'],
];

/** IPv6 sockets have them for IPv4 packets; in IPv4 sockets they have fields of their own. */
const IP_OF_IPV6: readonly ShortRow[] = [
  [1, 'IP_TOS'],
  [2, 'IP_TTL'],
  [8, 'IP_PKTINFO'],
];

const IPV6: readonly ShortRow[] = [
  [2, 'IPV6_2292PKTINFO'],
  [3, 'IPV6_2292HOPOPTS'],
  [4, 'IPV6_2292DSTOPTS'],
  [5, 'IPV6_2292RTHDR'],
  [7, 'IPV6_CHECKSUM'],
  [8, 'IPV6_2292HOPLIMIT'],
  [11, 'IPV6_FLOWINFO'],
  [16, 'IPV6_UNICAST_HOPS'],
  [17, 'IPV6_MULTICAST_IF', { isDevice: true, isPacketOnly: true }],
  [18, 'IPV6_MULTICAST_HOPS', packets],
  [19, 'IPV6_MULTICAST_LOOP'],
  [23, 'IPV6_MTU_DISCOVER'],
  [25, 'IPV6_RECVERR'],
  [29, 'IPV6_MULTICAST_ALL'],
  [30, 'IPV6_ROUTER_ALERT_ISOLATE'],
  [31, 'IPV6_RECVERR_RFC4884'],
  [33, 'IPV6_FLOWINFO_SEND'],
  [51, 'IPV6_RECVHOPLIMIT'],
  [53, 'IPV6_RECVHOPOPTS'],
  [54, 'IPV6_HOPOPTS', variable],
  [55, 'IPV6_RTHDRDSTOPTS', variable],
  [56, 'IPV6_RECVRTHDR'],
  [57, 'IPV6_RTHDR', variable],
  [58, 'IPV6_RECVDSTOPTS'],
  [59, 'IPV6_DSTOPTS', variable],
  [60, 'IPV6_RECVPATHMTU'],
  [62, 'IPV6_DONTFRAG'],
  [66, 'IPV6_RECVTCLASS'],
  [67, 'IPV6_TCLASS'],
  [70, 'IPV6_AUTOFLOWLABEL'],
  [72, 'IPV6_ADDR_PREFERENCES'],
  [73, 'IPV6_MINHOPCOUNT'],
  [74, 'IPV6_RECVORIGDSTADDR'],
  [75, 'IPV6_TRANSPARENT'],
  [76, 'IPV6_UNICAST_IF'],
  [77, 'IPV6_RECVFRAGSIZE'],
];

const TCP: readonly ShortRow[] = [
  [2, 'TCP_MAXSEG', { isMeasured: true }],
  [7, 'TCP_SYNCNT'],
  [8, 'TCP_LINGER2'],
  [9, 'TCP_DEFER_ACCEPT'],
  // A name, with zeros behind it.
  [13, 'TCP_CONGESTION', { bytes: 16 }],
  [16, 'TCP_THIN_LINEAR_TIMEOUTS'],
  [18, 'TCP_USER_TIMEOUT'],
  [23, 'TCP_FASTOPEN'],
  [25, 'TCP_NOTSENT_LOWAT'],
  [27, 'TCP_SAVE_SYN'],
  [30, 'TCP_FASTOPEN_CONNECT'],
  [34, 'TCP_FASTOPEN_NO_COOKIE'],
  [36, 'TCP_INQ'],
  [37, 'TCP_TX_DELAY'],
  [44, 'TCP_RTO_MAX_MS'],
  [45, 'TCP_RTO_MIN_US'],
  [46, 'TCP_DELACK_MAX_US'],
];

const UDP: readonly ShortRow[] = [
  [1, 'UDP_CORK', late],
  [100, 'UDP_ENCAP'],
  [101, 'UDP_NO_CHECK6_TX'],
  [102, 'UDP_NO_CHECK6_RX', late],
  [103, 'UDP_SEGMENT'],
  [104, 'UDP_GRO'],
];

const UDPLITE: readonly ShortRow[] = [
  [10, 'UDPLITE_SEND_CSCOV'],
  [11, 'UDPLITE_RECV_CSCOV'],
];

const NETLINK: readonly ShortRow[] = [
  [3, 'NETLINK_PKTINFO'],
  [4, 'NETLINK_BROADCAST_ERROR'],
  [5, 'NETLINK_NO_ENOBUFS'],
  [8, 'NETLINK_LISTEN_ALL_NSID'],
  [10, 'NETLINK_CAP_ACK'],
  [11, 'NETLINK_EXT_ACK'],
  [12, 'NETLINK_GET_STRICT_CHK'],
];

const PACKET: readonly ShortRow[] = [
  [16, 'PACKET_TX_TIMESTAMP'],
  [19, 'PACKET_TX_HAS_OFF'],
  [20, 'PACKET_QDISC_BYPASS'],
  [23, 'PACKET_IGNORE_OUTGOING'],
];

const SOL_UDPLITE = 136;

/** The same in each run. */
const known = new Map<string, readonly OptionRow[]>();

/** All that a kind of socket can have, in the order in which they are to be set. Made once for each kind. */
export function optionRows(socket: SocketType): readonly OptionRow[] {
  const key = `${socket.family} ${socket.type} ${socket.proto}`;
  const rows = known.get(key) ?? makeRows(socket);
  known.set(key, rows);
  return rows;
}

function makeRows({ family, type, proto }: SocketType): OptionRow[] {
  const isInet = family === SOCKET.AF_INET || family === SOCKET.AF_INET6;
  const isDatagram = isInet && type === SOCKET.SOCK_DGRAM;
  const groups: [level: number, rows: readonly ShortRow[]][] = [];
  if (isInet) groups.push([INET.SOL_IP, IP]);
  if (family === SOCKET.AF_INET6) groups.push([INET.SOL_IP, IP_OF_IPV6], [INET.SOL_IPV6, IPV6]);
  if (isDatagram && (proto === INET.IPPROTO_UDP || proto === INET.IPPROTO_UDPLITE)) groups.push([INET.SOL_UDP, UDP]);
  if (isDatagram && proto === INET.IPPROTO_UDPLITE) groups.push([SOL_UDPLITE, UDPLITE]);
  if (isInet && type === SOCKET.SOCK_STREAM && proto === INET.IPPROTO_TCP) groups.push([INET.SOL_TCP, TCP]);
  if (family === SOCKET.AF_NETLINK) groups.push([SOCKET.SOL_NETLINK, NETLINK]);
  if (family === SOCKET.AF_PACKET) groups.push([SOCKET.SOL_PACKET, PACKET]);
  groups.push([SOCKET.SOL_SOCKET, family === SOCKET.AF_UNIX ? UNIX : DEVICES]);
  groups.push([SOCKET.SOL_SOCKET, ALL]);
  const isStream = type === SOCKET.SOCK_STREAM;
  const all = groups.flatMap(([level, rows]) => rows.map((row) => fullRow(level, row)));
  return all.filter(({ isPacketOnly }) => !(isStream && isPacketOnly));
}

function fullRow(level: number, [option, name, traits = {}]: ShortRow): OptionRow {
  const { bytes = 4, isVariable = false, isLate = false, isDevice = false, automatic } = traits;
  const { isMeasured = false, isPacketOnly = false } = traits;
  return { level, option, name, bytes, isVariable, isLate, isDevice, isMeasured, isPacketOnly, automatic };
}

/** The row of an option of an image; undefined for one that is not known here. */
export function findRow(type: SocketType, level: number, option: number): OptionRow | undefined {
  return optionRows(type).find((row) => row.level === level && row.option === option);
}

/** The options of a socket that is connected, without those that tell what is in use. */
export function withoutMeasured(type: SocketType, options: readonly SkOptionExt[]): SkOptionExt[] {
  return options.filter(({ level, option }) => findRow(type, level, option)?.isMeasured !== true);
}
