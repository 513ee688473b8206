/** TCP sockets: what each is doing, and what speaks against a dump of it. */
import * as INET from '../../../linux/abi/inet.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { check, syscall } from '../../../linux/kernel.ts';
import { tryGetsockopt } from '../../../linux/syscalls/socket.ts';
import type { KindDump, OpenFile, Unsupported } from '../file-kind.ts';
import { findForeign } from '../socket-options/network-namespace.ts';
import { formatAddress, type InetAddress, unspecified } from './address.ts';
import { type Endpoint, readName, readPeer } from './endpoint.ts';
import type { KnownSocket } from './sock-diag.ts';
import { isKept, notKept } from './tcp-state.ts';

/** Ports of the tree where connections wait that --skip-in-flight lets go: their other ends have nobody to wait for. */
export const forgottenPorts = (dump: KindDump): Set<number> => dump.state('forgotten ports', () => new Set());

/** `known`: what the kernel's list of our network namespace has of it. Throws SyscallError. */
export function inspectTcp(
  file: OpenFile,
  family: number,
  known: KnownSocket | undefined,
  dump: KindDump,
): Endpoint | Unsupported {
  const isListed = known !== undefined && known.state !== INET.TCP_CLOSE;
  const foreign = isListed ? undefined : findForeign(file.localFd, dump);
  if (foreign !== undefined) return foreign;
  const { state, source, destination, waiting, backlog } = isListed ? listed(known) : ask(file.localFd, family);
  const problem = findHidden(known);
  if (problem !== undefined && (state === INET.TCP_LISTEN || dump.options.tcpClose !== true)) return problem;
  if (state === INET.TCP_LISTEN) {
    if (waiting > 0 && dump.options.skipInFlight !== true) {
      return {
        unsupported: `${waiting} connections to ${formatAddress(family, source)} wait for accept(2)`,
        remedy: 'try again, or forget them with --skip-in-flight',
      };
    }
    if (waiting > 0) forgottenPorts(dump).add(source.port);
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

interface TcpState {
  readonly state: number;
  readonly source: InetAddress;
  readonly destination: InetAddress;
  /** Of a listening socket: the connections that wait, and how many may. */
  readonly waiting: number;
  readonly backlog: number;
}

/** Of listening sockets the list has numbers of connections in place of bytes (net/ipv4/tcp_diag.c tcp_diag_get_info()). */
const listed = ({ state, source, destination, rqueue, wqueue }: KnownSocket): TcpState => ({
  state,
  source,
  destination,
  waiting: rqueue,
  backlog: wqueue,
});

/** struct tcp_info: where the state is, and, for listening sockets, the connections that wait, and how many may. */
const TCP_INFO_BYTES = 32;
const WAITING_AT = 24;
const BACKLOG_AT = 28;

/** A socket that is closed is in no list, and none is where the kernel gives no lists. */
function ask(fd: number, family: number): TcpState {
  const info = new Uint8Array(TCP_INFO_BYTES);
  check('getsockopt', tryGetsockopt(fd, INET.SOL_TCP, INET.TCP_INFO, info), 'TCP_INFO');
  const view = new DataView(info.buffer);
  return {
    state: view.getUint8(0),
    source: readName(fd, family),
    destination: readPeer(fd, family),
    waiting: view.getUint32(WAITING_AT, true),
    backlog: view.getUint32(BACKLOG_AT, true),
  };
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
