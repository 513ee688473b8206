/**
 * Options of Internet sockets: ip_opts_entry and tcp_opts_entry. Options that are off are not in the image, and neither
 * is a type of service or time to live of 0.
 */
import type { IpOptsEntry, IpOptsRawEntry } from '../../../image/gen/sk-inet.ts';
import type { TcpOptsEntry } from '../../../image/gen/tcp-stream.ts';
import * as INET from '../../../linux/abi/inet.ts';
import { AF_INET6, SOCK_RAW } from '../../../linux/abi/socket.ts';
import { check } from '../../../linux/kernel.ts';
import { getsockoptInt, tryGetsockopt } from '../../../linux/syscalls/socket.ts';
import type { FdTablePlan } from '../fd-table/fd-table-plan.ts';
import type { OptionSpec, OptionValues } from '../socket-options/option-values.ts';
import { planIntOption, planOption } from '../socket-options/plan-option.ts';

/** What kind of socket it is. */
export interface InetKind {
  readonly family: number;
  /** SOCK_* */
  readonly type: number;
  readonly proto: number;
}

type Option = readonly [level: number, option: number];

const FREEBIND: Option = [INET.SOL_IP, INET.IP_FREEBIND];
const FREEBIND6: Option = [INET.SOL_IPV6, INET.IPV6_FREEBIND];

/** IP_FREEBIND or, for IPv6, IPV6_FREEBIND. */
export const freebindOption = (family: number): Option => (family === AF_INET6 ? FREEBIND6 : FREEBIND);

const INT_BYTES = 4;

/** All that `readIpOptions` and `readTcpOptions` want to know of a kind of socket. */
export function inetOptionSpecs(kind: InetKind, isTcp: boolean): OptionSpec[] {
  const isV6 = kind.family === AF_INET6;
  const options: Option[] = isV6
    ? [
        [INET.SOL_IPV6, INET.IPV6_RECVPKTINFO],
        [INET.SOL_IPV6, INET.IPV6_V6ONLY],
      ]
    : [INET.IP_PKTINFO, INET.IP_TOS, INET.IP_TTL].map((option): Option => [INET.SOL_IP, option]);
  options.push(freebindOption(kind.family));
  if (isTcp) for (const option of TCP_OPTIONS) options.push([INET.SOL_TCP, option]);
  return options.map(([level, option]): OptionSpec => [level, option, INT_BYTES]);
}

/** Describes the options of the IP level; `fd` is the socket that was asked for the values. Throws SyscallError. */
export function readIpOptions(fd: number, values: OptionValues, kind: InetKind): IpOptsEntry {
  const entry: IpOptsEntry = {};
  // IPV6_FREEBIND exists since 4.15.
  const [level, option] = freebindOption(kind.family);
  if ((values.tryInt(level, option) ?? 0) !== 0) entry.freebind = true;
  if (kind.type === SOCK_RAW) entry.raw = readRawOptions(fd, kind);
  if (kind.family === AF_INET6) {
    if (values.int(INET.SOL_IPV6, INET.IPV6_RECVPKTINFO) !== 0) entry.pktinfo = true;
    return entry;
  }
  if (values.int(INET.SOL_IP, INET.IP_PKTINFO) !== 0) entry.pktinfo = true;
  const tos = values.int(INET.SOL_IP, INET.IP_TOS);
  const ttl = values.int(INET.SOL_IP, INET.IP_TTL);
  if (tos !== 0) entry.tos = tos;
  if (ttl !== 0) entry.ttl = ttl;
  return entry;
}

function readRawOptions(fd: number, { family, proto }: InetKind): IpOptsRawEntry {
  const isV6 = family === AF_INET6;
  const entry: IpOptsRawEntry = { icmpv_filter: [] };
  const [level, option] = headerOption(isV6);
  if (getsockoptInt(fd, level, option) !== 0) entry.hdrincl = true;
  if (!isV6 && getsockoptInt(fd, INET.SOL_IP, INET.IP_NODEFRAG) !== 0) entry.nodefrag = true;
  const filter = icmpFilter(isV6, proto);
  if (filter !== undefined) {
    const words = new Int32Array(filter.words);
    check('getsockopt', tryGetsockopt(fd, filter.level, filter.option, words), 'ICMP_FILTER');
    entry.icmpv_filter = Array.from(words, (word) => word >>> 0);
  }
  return entry;
}

const headerOption = (isV6: boolean): Option =>
  isV6 ? [INET.SOL_IPV6, INET.IPV6_HDRINCL] : [INET.SOL_IP, INET.IP_HDRINCL];

/** Which types of ICMP a raw socket does not want: struct icmp_filter, struct icmp6_filter. */
function icmpFilter(isV6: boolean, proto: number) {
  if (isV6) {
    return proto === INET.IPPROTO_ICMPV6 ? { level: INET.SOL_ICMPV6, option: INET.ICMPV6_FILTER, words: 8 } : undefined;
  }
  return proto === INET.IPPROTO_ICMP ? { level: INET.SOL_RAW, option: INET.ICMP_FILTER, words: 1 } : undefined;
}

/** Plans the options of the IP level. The type of service changes the priority: SO_PRIORITY has to be set after it. */
export function planIpOptions(table: FdTablePlan, fd: number, kind: InetKind, entry: IpOptsEntry, what: string): void {
  const isV6 = kind.family === AF_INET6;
  const int = ([level, option]: Option, value: number, name: string) =>
    planIntOption(table, fd, level, option, value, ['set', name, 'of', what]);
  if (entry.freebind === true) int(freebindOption(kind.family), 1, 'freebind');
  if (entry.pktinfo === true) {
    int(isV6 ? [INET.SOL_IPV6, INET.IPV6_RECVPKTINFO] : [INET.SOL_IP, INET.IP_PKTINFO], 1, 'pktinfo');
  }
  if (!isV6 && entry.tos !== undefined) int([INET.SOL_IP, INET.IP_TOS], entry.tos, 'tos');
  if (!isV6 && entry.ttl !== undefined) int([INET.SOL_IP, INET.IP_TTL], entry.ttl, 'ttl');
  const { raw } = entry;
  if (raw === undefined) return;
  if (raw.nodefrag === true) int([INET.SOL_IP, INET.IP_NODEFRAG], 1, 'nodefrag');
  if (raw.hdrincl !== undefined) int(headerOption(isV6), raw.hdrincl ? 1 : 0, 'hdrincl');
  const filter = icmpFilter(isV6, kind.proto);
  if (filter === undefined || raw.icmpv_filter.length === 0) return;
  const bytes = new Uint8Array(Uint32Array.from(raw.icmpv_filter).buffer);
  planOption(table, fd, filter.level, filter.option, bytes, ['set the ICMP filter of', what]);
}

/** Describes the options of the TCP level. Throws SyscallError. */
export function readTcpOptions(values: OptionValues): TcpOptsEntry {
  const int = (option: number) => values.int(INET.SOL_TCP, option);
  const entry: TcpOptsEntry = {};
  if (int(INET.TCP_CORK) !== 0) entry.cork = true;
  if (int(INET.TCP_NODELAY) !== 0) entry.nodelay = true;
  const keepcnt = int(INET.TCP_KEEPCNT);
  const keepidle = int(INET.TCP_KEEPIDLE);
  const keepintvl = int(INET.TCP_KEEPINTVL);
  if (keepcnt !== 0) entry.keepcnt = keepcnt;
  if (keepidle !== 0) entry.keepidle = keepidle;
  if (keepintvl !== 0) entry.keepintvl = keepintvl;
  return entry;
}

/** Those of the TCP level. */
const TCP_OPTIONS = [INET.TCP_CORK, INET.TCP_NODELAY, INET.TCP_KEEPCNT, INET.TCP_KEEPIDLE, INET.TCP_KEEPINTVL];

/** Of images that have them here; now they are in `options_ext` (socket-options/option-rows.ts). */
const EXTENSIONS = [
  ['user_timeout_ext', INET.TCP_USER_TIMEOUT],
  ['syncnt_ext', INET.TCP_SYNCNT],
  ['linger2_ext', INET.TCP_LINGER2],
  ['defer_accept_ext', INET.TCP_DEFER_ACCEPT],
  ['notsent_lowat_ext', INET.TCP_NOTSENT_LOWAT],
  ['fastopen_ext', INET.TCP_FASTOPEN],
  ['inq_ext', INET.TCP_INQ],
] as const;

/** Plans the options of the TCP level that CRIU does not keep, of a socket that is new. */
export function planTcpExtensions(table: FdTablePlan, fd: number, entry: TcpOptsEntry, what: string): void {
  const { congestion_ext, maxseg_ext } = entry;
  for (const [field, option] of EXTENSIONS) {
    const value = entry[field];
    if (value !== undefined) planIntOption(table, fd, INET.SOL_TCP, option, value, ['set', field, 'of', what]);
  }
  if (maxseg_ext !== undefined) {
    planIntOption(table, fd, INET.SOL_TCP, INET.TCP_MAXSEG, maxseg_ext, ['set maxseg_ext of', what]);
  }
  if (congestion_ext === undefined) return;
  const name = Buffer.from(congestion_ext, 'latin1');
  planOption(table, fd, INET.SOL_TCP, INET.TCP_CONGESTION, name, `set congestion control ${congestion_ext} of ${what}`);
}

/** Plans the options of the TCP level. */
export function planTcpOptions(table: FdTablePlan, fd: number, entry: TcpOptsEntry, what: string): void {
  const { nodelay, cork, keepcnt, keepidle, keepintvl } = entry;
  const options = [
    [INET.TCP_NODELAY, nodelay, 'nodelay'],
    [INET.TCP_CORK, cork, 'cork'],
    [INET.TCP_KEEPCNT, keepcnt, 'keepcnt'],
    [INET.TCP_KEEPIDLE, keepidle, 'keepidle'],
    [INET.TCP_KEEPINTVL, keepintvl, 'keepintvl'],
  ] as const;
  for (const [option, value, name] of options) {
    if (value === undefined || value === false) continue;
    planIntOption(table, fd, INET.SOL_TCP, option, Number(value), ['set', name, 'of', what]);
  }
}
