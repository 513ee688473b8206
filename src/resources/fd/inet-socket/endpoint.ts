/** What an Internet socket is, and what it is doing: its kind, its state and its addresses. */
import { ERRNO, errnoName } from '../../../linux/abi/errno.ts';
import * as INET from '../../../linux/abi/inet.ts';
import * as SOCKET from '../../../linux/abi/socket.ts';
import { tryGetsockname, tryGetsockopt } from '../../../linux/syscalls/socket.ts';
import type { KindDump, OpenFile } from '../file-kind.ts';
import { OptionValues } from '../socket-options/option-values.ts';
import { type InetAddress, packSockaddr, parseSockaddr, unspecified } from './address.ts';
import type { InetKind } from './inet-options.ts';
import { readProcNet } from './proc-net.ts';
import { type KnownSocket, readDiag, tryFindTcp } from './sock-diag.ts';

/** What the socket is doing. */
export interface Endpoint {
  readonly state: number;
  readonly source: InetAddress;
  readonly destination: InetAddress;
  readonly backlog: number;
  readonly shutdown: number;
  /** Something waits to be received. Only of sockets without connections. */
  readonly hasPackets?: boolean;
}

export const isTcp = ({ type, proto }: InetKind) => type === SOCKET.SOCK_STREAM && proto === INET.IPPROTO_TCP;
export const isUdp = ({ type, proto }: InetKind) =>
  type === SOCKET.SOCK_DGRAM && (proto === INET.IPPROTO_UDP || proto === INET.IPPROTO_UDPLITE);
export const isPing = ({ family, type, proto }: InetKind) =>
  type === SOCKET.SOCK_DGRAM && proto === (family === SOCKET.AF_INET6 ? INET.IPPROTO_ICMPV6 : INET.IPPROTO_ICMP);

/** By family. */
export const TCP_KINDS: Readonly<Record<number, InetKind>> = {
  [SOCKET.AF_INET]: { family: SOCKET.AF_INET, type: SOCKET.SOCK_STREAM, proto: INET.IPPROTO_TCP },
  [SOCKET.AF_INET6]: { family: SOCKET.AF_INET6, type: SOCKET.SOCK_STREAM, proto: INET.IPPROTO_TCP },
};

const KIND = [SOCKET.SO_DOMAIN, SOCKET.SO_TYPE, SOCKET.SO_PROTOCOL] as const;

/** Throws SyscallError. */
export function readKind(fd: number, dump: KindDump): InetKind {
  const values = dump.state(
    'inet kinds',
    () => new OptionValues(KIND.map((option) => [SOCKET.SOL_SOCKET, option, 4] as const)),
  );
  values.read(fd);
  const [family, type, proto] = KIND;
  const int = (option: number) => values.int(SOCKET.SOL_SOCKET, option);
  return { family: int(family), type: int(type), proto: int(proto) };
}

/** So many TCP sockets are asked for one by one, 8 microseconds each; a list takes 1.5 for each socket of the machine. */
const ASKED_ONE_BY_ONE = 32;

/** What the kernel's lists tell of it. A socket that was never bound is in none. */
export function lookUp({ stat, object, localFd }: OpenFile, kind: InetKind, dump: KindDump): KnownSocket | undefined {
  const { family, proto } = kind;
  const asked = dump.state(`TCP sockets asked for ${family}`, () => ({ count: 0 }));
  if (isTcp(kind) && asked.count++ < ASKED_ONE_BY_ONE) {
    const source = readName(localFd, family);
    if (source.port === 0) return undefined;
    const found = tryFindTcp(family, { source, destination: readPeer(localFd, family) }, stat.st_ino);
    if (found !== undefined) return found;
  }
  const suffix = family === SOCKET.AF_INET6 ? '6' : '';
  const list = isUdp(kind) || isTcp(kind) ? `${proto}` : isPing(kind) ? 'icmp' : 'raw';
  const sockets = dump.state(`inet sockets ${list} ${family}`, () =>
    list === 'icmp' || list === 'raw' ? readProcNet(`${list}${suffix}`) : readDiag(family, proto),
  );
  if (typeof sockets !== 'number') return sockets.get(stat.st_ino);
  if (sockets !== -ERRNO.ENOENT) dump.warn(`${object}: the kernel does not list it (${errnoName(-sockets)})`);
  return undefined;
}

export function readName(fd: number, family: number): InetAddress {
  const address = tryGetsockname(fd);
  return (typeof address === 'number' ? undefined : parseSockaddr(address, family)) ?? unspecified(family);
}

/** The other side; SO_PEERNAME knows it also after the end of a connection. It takes no more room than it needs. */
export function readPeer(fd: number, family: number): InetAddress {
  const address = packSockaddr(family, unspecified(family));
  const bytes = tryGetsockopt(fd, SOCKET.SOL_SOCKET, SOCKET.SO_PEERNAME, address);
  return (bytes < 0 ? undefined : parseSockaddr(address, family)) ?? unspecified(family);
}
