/** An open Internet socket → its entry. */
import { keepEncoded } from '../../../image/codec.ts';
import type { InetSkEntry } from '../../../image/gen/sk-inet.ts';
import type { SkOptsEntry, SkShutdown } from '../../../image/gen/sk-opts.ts';
import { ERRNO, errnoName } from '../../../linux/abi/errno.ts';
import * as INET from '../../../linux/abi/inet.ts';
import * as SOCKET from '../../../linux/abi/socket.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { check, syscall } from '../../../linux/kernel.ts';
import { ioctl } from '../../../linux/syscalls/fs.ts';
import { tryGetsockname, tryGetsockopt } from '../../../linux/syscalls/socket.ts';
import type { KindDump, OpenFile, Unsupported } from '../file-kind.ts';
import { readGroups } from '../socket-options/multicast.ts';
import { findForeign } from '../socket-options/network-namespace.ts';
import { withoutMeasured } from '../socket-options/option-rows.ts';
import { OptionValues } from '../socket-options/option-values.ts';
import { readSocketOptions } from '../socket-options/socket-options.ts';
import { formatAddress, type InetAddress, needsDevice, packSockaddr, parseSockaddr, unspecified } from './address.ts';
import { type InetKind, inetOptionSpecs, readIpOptions, readTcpOptions } from './inet-options.ts';
import { readProcNet } from './proc-net.ts';
import { type KnownSocket, readDiag } from './sock-diag.ts';
import { forgottenPorts, holdConnection } from './tcp-dump.ts';
import { isKept, notKept } from './tcp-state.ts';
import { dumpDatagrams } from './udp-queue.ts';

type Options = Pick<InetSkEntry, 'ip_opts' | 'tcp_opts'>;

/** The options of sockets of a kind: thousands of them are mostly the same. */
interface KindOptions {
  readonly values: OptionValues;
  /** Of the socket that was asked last. */
  known: Options | undefined;
}

const optionsOf = (kind: InetKind, dump: KindDump): KindOptions =>
  dump.state(`inet options ${kind.family} ${kind.type} ${kind.proto}`, () => ({
    values: new OptionValues(inetOptionSpecs(kind, isTcp(kind))),
    known: undefined,
  }));

/** Options of IP, and of TCP. */
function readOptions(fd: number, kind: InetKind, ofKind: KindOptions): Options {
  const { values } = ofKind;
  if (!values.read(fd)) ofKind.known = undefined;
  // What raw sockets have, is asked in another way.
  if (ofKind.known !== undefined && kind.type !== SOCKET.SOCK_RAW) return ofKind.known;
  const options = { ip_opts: readIpOptions(fd, values, kind), tcp_opts: isTcp(kind) ? readTcpOptions(values) : {} };
  ofKind.known = options;
  return options;
}

/** What the socket is doing. */
interface Endpoint {
  readonly state: number;
  readonly source: InetAddress;
  readonly destination: InetAddress;
  readonly backlog: number;
  readonly shutdown: number;
  /** Something waits to be received. Only of sockets without connections. */
  readonly hasPackets?: boolean;
}

/** Describes the socket, or says why it cannot be dumped. Throws SyscallError. */
export function dumpInetSocket(file: OpenFile, id: number, dump: KindDump): InetSkEntry | Unsupported {
  const fd = file.localFd;
  const kind = readKind(fd, dump);
  const problem = findProblem(fd, kind, dump);
  if (problem !== undefined) return problem;
  const endpoint = isTcp(kind) ? inspectTcp(file, kind, dump) : inspectOther(file, kind, dump);
  if ('unsupported' in endpoint) return endpoint;
  const opts = readSocketOptions(fd, kind, dump, dump.state('multicast groups', readGroups));
  if ('unsupported' in opts) return opts;
  const { state, source, destination, backlog, shutdown } = endpoint;
  const isConnected = destination.port !== 0;
  const ofKind = optionsOf(kind, dump);
  const hasMeasured = isTcp(kind) && isConnected && opts.options_ext.length > 0;
  const entry: InetSkEntry = {
    id,
    ino: Number(BigInt.asUintN(32, BigInt(file.stat.st_ino))),
    ...kind,
    state,
    src_port: source.port,
    dst_port: destination.port,
    flags: file.flags,
    backlog,
    src_addr: [...source.words],
    dst_addr: [...destination.words],
    fown: file.fown,
    opts: hasMeasured ? optionsOfConnection(kind, opts) : opts,
    ...readOptions(fd, kind, ofKind),
  };
  if (isTcp(kind) && isConnected && dump.options.tcpClose !== true) holdConnection(file, entry, dump);
  if (isUdp(kind) && endpoint.hasPackets === true) dumpDatagrams(file, entry, dump);
  if (shutdown !== 0) entry.shutdown = shutdown as SkShutdown;
  if (kind.family !== SOCKET.AF_INET6) return entry;
  entry.v6only = ofKind.values.int(INET.SOL_IPV6, INET.IPV6_V6ONLY) !== 0;
  if (source.port === 0 || !needsDevice(source.words)) return entry;
  if (opts.so_bound_dev === undefined) return { unsupported: 'it is bound to a link-local address without a device' };
  entry.ifname = opts.so_bound_dev;
  return entry;
}

/** Equal options of many sockets are one object, and so are these. */
const ofConnections = new WeakMap<SkOptsEntry, SkOptsEntry>();

function optionsOfConnection(kind: InetKind, opts: SkOptsEntry): SkOptsEntry {
  let known = ofConnections.get(opts);
  if (known === undefined) {
    known = keepEncoded({ ...opts, options_ext: withoutMeasured(kind, opts.options_ext) });
    ofConnections.set(opts, known);
  }
  return known;
}

const KIND = [SOCKET.SO_DOMAIN, SOCKET.SO_TYPE, SOCKET.SO_PROTOCOL] as const;

function readKind(fd: number, dump: KindDump): InetKind {
  const values = dump.state(
    'inet kinds',
    () => new OptionValues(KIND.map((option) => [SOCKET.SOL_SOCKET, option, 4] as const)),
  );
  values.read(fd);
  const [family, type, proto] = KIND;
  const int = (option: number) => values.int(SOCKET.SOL_SOCKET, option);
  return { family: int(family), type: int(type), proto: int(proto) };
}

const isTcp = ({ type, proto }: InetKind) => type === SOCKET.SOCK_STREAM && proto === INET.IPPROTO_TCP;
const isUdp = ({ type, proto }: InetKind) =>
  type === SOCKET.SOCK_DGRAM && (proto === INET.IPPROTO_UDP || proto === INET.IPPROTO_UDPLITE);
const isPing = ({ family, type, proto }: InetKind) =>
  type === SOCKET.SOCK_DGRAM && proto === (family === SOCKET.AF_INET6 ? INET.IPPROTO_ICMPV6 : INET.IPPROTO_ICMP);

const OTHER_PROTOCOLS: Readonly<Record<number, string>> = { 33: 'DCCP', 115: 'L2TP', 132: 'SCTP', 256: 'SMC' };

/** What speaks against this kind of socket. */
function findProblem(fd: number, kind: InetKind, dump: KindDump): Unsupported | undefined {
  if (kind.type === SOCKET.SOCK_STREAM && kind.proto === INET.IPPROTO_MPTCP) {
    const remedy = 'start it without multipath TCP; for Go programs: GODEBUG=multipathtcp=0';
    return { unsupported: 'the kernel does not tell enough about multipath TCP sockets', remedy };
  }
  if (kind.type !== SOCKET.SOCK_RAW && !isTcp(kind) && !isUdp(kind) && !isPing(kind)) {
    const name = OTHER_PROTOCOLS[kind.proto] ?? `type ${kind.type} and protocol ${kind.proto}`;
    return {
      unsupported: `Internet sockets of ${name} are not supported`,
      remedy: 'let the program close it before the dump',
    };
  }
  return findForeign(fd, dump) ?? (isTcp(kind) ? undefined : findUnsent(fd));
}

const unsent = new Int32Array(1);
/** How long a packet on its way to the network card is waited for. */
const UNSENT_TRIES = 20;

/** What has been written and is neither sent nor readable: a packet in parts (UDP_CORK, MSG_MORE; man 7 udp). */
function findUnsent(fd: number): Unsupported | undefined {
  for (let tries = 0; ioctl(fd, INET.SIOCOUTQ, unsent) === 0 && (unsent[0] ?? 0) > 0; tries++) {
    if (tries < UNSENT_TRIES) Bun.sleepSync(1);
    else {
      return {
        unsupported: 'a packet is being put together in it (UDP_CORK or MSG_MORE), and cannot be read back',
        remedy: 'dump when the program has sent it',
      };
    }
  }
  return undefined;
}

/** struct tcp_info: where the state is, and, for listening sockets, the connections that wait, and how many may. */
const TCP_INFO_BYTES = 32;
const WAITING_AT = 24;
const BACKLOG_AT = 28;

function inspectTcp(file: OpenFile, kind: InetKind, dump: KindDump): Endpoint | Unsupported {
  const { family } = kind;
  const info = new Uint8Array(TCP_INFO_BYTES);
  check('getsockopt', tryGetsockopt(file.localFd, INET.SOL_TCP, INET.TCP_INFO, info), 'TCP_INFO');
  const view = new DataView(info.buffer);
  const state = view.getUint8(0);
  const source = readName(file.localFd, family);
  const destination = readPeer(file.localFd, family);
  const problem = findHidden(lookUp(file, kind, dump));
  if (problem !== undefined && (state === INET.TCP_LISTEN || dump.options.tcpClose !== true)) return problem;
  if (state === INET.TCP_LISTEN) {
    const waiting = view.getUint32(WAITING_AT, true);
    if (waiting > 0 && dump.options.skipInFlight !== true) {
      return {
        unsupported: `${waiting} connections to ${formatAddress(family, source)} wait for accept(2)`,
        remedy: 'try again, or forget them with --skip-in-flight',
      };
    }
    if (waiting > 0) forgottenPorts(dump).add(source.port);
    const backlog = view.getUint32(BACKLOG_AT, true);
    return { state, source, destination: unspecified(family), backlog, shutdown: 0 };
  }
  if (state !== INET.TCP_CLOSE || destination.port !== 0) {
    const refusal = connectionProblem(state, dump);
    if (refusal !== undefined) {
      const [from, to] = [source, destination].map((address) => formatAddress(family, address));
      return { ...refusal, unsupported: `${refusal.unsupported}, ${from} to ${to}` };
    }
    return { state, source, destination, backlog: 0, shutdown: 0 };
  }
  return { state, source, destination, backlog: 0, shutdown: readClosedShutdown(file, dump) };
}

/** What a TCP socket has that no call shows. */
function findHidden({ hasKeys, ulp = '' }: Partial<KnownSocket> = {}): Unsupported | undefined {
  const remedy = 'let the program close it before the dump';
  if (hasKeys === true)
    return { unsupported: 'its segments are signed (TCP_MD5SIG), and keys are not supported yet by this criu', remedy };
  if (ulp === '') return undefined;
  return { unsupported: `the kernel speaks ${ulp} for it (TCP_ULP), and does not give its state`, remedy };
}

/** What speaks against keeping a connection. */
function connectionProblem(state: number, dump: KindDump): Unsupported | undefined {
  const { tcpEstablished, tcpClose } = dump.options;
  if (tcpClose === true) return undefined;
  if (tcpEstablished !== true) {
    const remedy = 'keep it with --tcp-established, or let it come back closed with --tcp-close';
    return { unsupported: 'it is a TCP connection', remedy };
  }
  if (isKept(state)) return undefined;
  return { unsupported: notKept(state), remedy: 'let it come back closed with --tcp-close' };
}

const POLLHUP = 0x10;
const POLLRDHUP = 0x2000;
const SHUTDOWN_READ = 1;

/** Of a socket that was never connected only poll(2) tells whether its reading side is shut down (net/ipv4/tcp.c). */
function readClosedShutdown(file: OpenFile, dump: KindDump): number {
  const pollfd = new Uint8Array(8);
  const view = new DataView(pollfd.buffer);
  view.setInt32(0, file.localFd, true);
  view.setInt16(4, POLLHUP | POLLRDHUP, true);
  if (syscall(SYS.poll, pollfd, 1, 0) < 0) {
    dump.warn(`${file.object}: cannot tell whether it is shut down`);
    return 0;
  }
  return (view.getUint16(6, true) & POLLRDHUP) === 0 ? 0 : SHUTDOWN_READ;
}

function inspectOther(file: OpenFile, kind: InetKind, dump: KindDump): Endpoint {
  const { family } = kind;
  const known = lookUp(file, kind, dump);
  const hasPackets = (known?.rqueue ?? 0) > 0;
  if (hasPackets && !isUdp(kind)) dump.warn(`${file.object}: packets that nobody has received yet are lost`);
  const source = known?.source ?? readName(file.localFd, family);
  const destination = known?.destination ?? readPeer(file.localFd, family);
  const state = known?.state ?? (destination.port === 0 ? INET.TCP_CLOSE : INET.TCP_ESTABLISHED);
  return { state, source, destination, backlog: known?.wqueue ?? 0, shutdown: known?.shutdown ?? 0, hasPackets };
}

/** A socket that was never bound is in no list. */
function lookUp({ stat, object }: OpenFile, kind: InetKind, dump: KindDump): KnownSocket | undefined {
  const { family, proto } = kind;
  const suffix = family === SOCKET.AF_INET6 ? '6' : '';
  const list = isUdp(kind) || isTcp(kind) ? `${proto}` : isPing(kind) ? 'icmp' : 'raw';
  const sockets = dump.state(`inet sockets ${list} ${family}`, () =>
    list === 'icmp' || list === 'raw' ? readProcNet(`${list}${suffix}`) : readDiag(family, proto),
  );
  if (typeof sockets !== 'number') return sockets.get(stat.st_ino);
  if (sockets !== -ERRNO.ENOENT) dump.warn(`${object}: the kernel does not list it (${errnoName(-sockets)})`);
  return undefined;
}

function readName(fd: number, family: number): InetAddress {
  const address = tryGetsockname(fd);
  return (typeof address === 'number' ? undefined : parseSockaddr(address, family)) ?? unspecified(family);
}

/** The other side; SO_PEERNAME knows it also after the end of a connection. It takes no more room than it needs. */
function readPeer(fd: number, family: number): InetAddress {
  const address = packSockaddr(family, unspecified(family));
  const bytes = tryGetsockopt(fd, SOCKET.SOL_SOCKET, SOCKET.SO_PEERNAME, address);
  return (bytes < 0 ? undefined : parseSockaddr(address, family)) ?? unspecified(family);
}
