/** An open Internet socket → its entry. */
import type { FileEntry } from '../../../image/gen/fdinfo.ts';
import { FdTypes } from '../../../image/gen/fdinfo.ts';
import type { InetSkEntry } from '../../../image/gen/sk-inet.ts';
import type { SkShutdown } from '../../../image/gen/sk-opts.ts';
import * as INET from '../../../linux/abi/inet.ts';
import * as SOCKET from '../../../linux/abi/socket.ts';
import { ioctl } from '../../../linux/syscalls/fs.ts';
import { tryGetsockoptInt } from '../../../linux/syscalls/socket.ts';
import type { KindDump, OpenFile, Unsupported } from '../file-kind.ts';
import { findForeign } from '../socket-options/network-namespace.ts';
import { needsDevice } from './address.ts';
import { type Endpoint, isPing, isTcp, isUdp, lookUp, readKind, readName, readPeer, TCP_KINDS } from './endpoint.ts';
import type { InetKind } from './inet-options.ts';
import { inspectTcp } from './inspect-tcp.ts';
import { type InetOptions, InetReader, optionsOfConnection } from './read-inet.ts';
import type { KnownSocket } from './sock-diag.ts';
import { holdSocket } from './tcp-dump.ts';
import { dumpDatagrams } from './udp-queue.ts';

/** Describes the socket, or says why it cannot be dumped; a TCP socket is in its entry later. Throws SyscallError. */
export function dumpInetSocket(file: OpenFile, id: number, dump: KindDump): FileEntry | Unsupported {
  const tcp = TCP_KINDS[file.socketFamily ?? -1];
  const isStream = tryGetsockoptInt(file.localFd, SOCKET.SOL_SOCKET, SOCKET.SO_TYPE) === SOCKET.SOCK_STREAM;
  const listed = tcp !== undefined && isStream ? lookUp(file, tcp, dump) : undefined;
  if (tcp !== undefined && listed !== undefined) return dumpTcp(file, id, tcp, listed, dump);
  const kind = readKind(file.localFd, dump);
  const problem = findProblem(kind);
  if (problem !== undefined) return problem;
  return isTcp(kind) ? dumpTcp(file, id, kind, undefined, dump) : dumpOther(file, id, kind, dump);
}

function dumpTcp(
  file: OpenFile,
  id: number,
  kind: InetKind,
  known: KnownSocket | undefined,
  dump: KindDump,
): FileEntry | Unsupported {
  const endpoint = inspectTcp(file, kind.family, known, dump);
  if ('unsupported' in endpoint) return endpoint;
  const entry: FileEntry = { type: FdTypes.INETSK, id };
  const complete = (options: InetOptions) => {
    const isk = describe(file, id, kind, endpoint, options);
    if (!('unsupported' in isk)) entry.isk = isk;
    return isk;
  };
  holdSocket({ file, kind, known, isConnected: endpoint.destination.port !== 0, complete }, dump);
  return entry;
}

function dumpOther(file: OpenFile, id: number, kind: InetKind, dump: KindDump): FileEntry | Unsupported {
  const problem = findForeign(file.localFd, dump) ?? findUnsent(file.localFd);
  if (problem !== undefined) return problem;
  const endpoint = inspectOther(file, kind, dump);
  const { family, type, proto } = kind;
  const reader = dump.state(`inet options ${family} ${type} ${proto}`, () => new InetReader(kind, 1, dump));
  const options = reader.read(file.localFd);
  if ('unsupported' in options) return options;
  const isk = describe(file, id, kind, endpoint, options);
  if ('unsupported' in isk) return isk;
  if (isUdp(kind) && endpoint.hasPackets === true) dumpDatagrams(file, isk, dump);
  return { type: FdTypes.INETSK, id, isk };
}

function describe(
  file: OpenFile,
  id: number,
  kind: InetKind,
  { state, source, destination, backlog, shutdown }: Endpoint,
  options: InetOptions,
): InetSkEntry | Unsupported {
  const { family, type, proto } = kind;
  const isConnected = isTcp(kind) && destination.port !== 0;
  const entry: InetSkEntry = {
    id,
    ino: file.stat.st_ino >>> 0,
    family,
    type,
    proto,
    state,
    src_port: source.port,
    dst_port: destination.port,
    flags: file.flags,
    backlog,
    src_addr: [...source.words],
    dst_addr: [...destination.words],
    fown: file.fown,
    ...options,
  };
  if (isConnected) entry.opts = optionsOfConnection(kind, options.opts);
  if (shutdown !== 0) entry.shutdown = shutdown as SkShutdown;
  if (family !== SOCKET.AF_INET6 || source.port === 0 || !needsDevice(source.words)) return entry;
  const device = options.opts.so_bound_dev;
  if (device === undefined) return { unsupported: 'it is bound to a link-local address without a device' };
  entry.ifname = device;
  return entry;
}

const OTHER_PROTOCOLS: Readonly<Record<number, string>> = { 33: 'DCCP', 115: 'L2TP', 132: 'SCTP', 256: 'SMC' };

/** What speaks against this kind of socket. */
function findProblem(kind: InetKind): Unsupported | undefined {
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
  return undefined;
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
