/** Entry → the steps that make the socket again, and what speaks against it. Pure. */

import type { CriuErrorFields } from '../../../base/errors.ts';
import { FdTypes } from '../../../image/gen/fdinfo.ts';
import type { InetSkEntry } from '../../../image/gen/sk-inet.ts';
import { SkShutdown } from '../../../image/gen/sk-opts.ts';
import { F_SETFL, O_NONBLOCK } from '../../../linux/abi/fcntl.ts';
import * as INET from '../../../linux/abi/inet.ts';
import * as SOCKET from '../../../linux/abi/socket.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { contextState } from '../context-state.ts';
import type { FdTablePlan } from '../fd-table/fd-table-plan.ts';
import { SETFL_MASK } from '../fd-table/owner.ts';
import type { RestoreContext, RestoreHome } from '../file-kind.ts';
import { filesOfType } from '../files-of-type.ts';
import { planKeptOptions } from '../socket-options/kept-options.ts';
import { planIntOption } from '../socket-options/plan-option.ts';
import {
  checkSocketOptions,
  planBuffers,
  planReceiveRules,
  planSocketOptions,
  receivingAll,
} from '../socket-options/socket-options.ts';
import { formatAddress, isUnspecified, packSockaddr, wordsOf } from './address.ts';
import { AlikeConnections } from './alike-connections.ts';
import { freebindOption, planIpOptions, planTcpExtensions, planTcpOptions } from './inet-options.ts';
import { checkConnection, finishConnection, isConnection, nameOf, planConnection, streamOf } from './tcp-restore.ts';
import { isWithinReach } from './tcp-resume.ts';
import { isUdp } from './udp-arrived.ts';
import { packetsFor, planDatagrams } from './udp-queue.ts';

const sourceOf = ({ src_port, src_addr }: InetSkEntry) => ({ port: src_port, words: src_addr });
const destinationOf = ({ dst_port, dst_addr }: InetSkEntry) => ({ port: dst_port, words: dst_addr });

const isTcp = ({ type, proto }: InetSkEntry) => type === SOCKET.SOCK_STREAM && proto === INET.IPPROTO_TCP;
const isRaw = ({ type }: InetSkEntry) => type === SOCKET.SOCK_RAW;
const isPing = ({ type, proto }: InetSkEntry) =>
  type === SOCKET.SOCK_DGRAM && (proto === INET.IPPROTO_ICMP || proto === INET.IPPROTO_ICMPV6);

/** What speaks against restoring a socket. */
export function checkInetSocket(entry: InetSkEntry, context: RestoreContext): CriuErrorFields[] {
  const action = 'cannot be restored';
  const damage = findDamage(entry);
  if (damage !== undefined) {
    return [{ object: `socket ${entry.id}`, action, why: `${damage}: the image is damaged` }];
  }
  const problems = checkSocketOptions(entry.opts, () => nameOf(entry), context.system);
  return isConnection(entry) ? [...problems, ...checkConnection(entry, context)] : problems;
}

const PORT_MAX = 0xffff;

function findDamage(entry: InetSkEntry): string | undefined {
  const { family, type, state, proto } = entry;
  if (family !== SOCKET.AF_INET && family !== SOCKET.AF_INET6) return `its family is ${family}`;
  if (![SOCKET.SOCK_STREAM, SOCKET.SOCK_DGRAM, SOCKET.SOCK_RAW].includes(type as 1)) return `its type is ${type}`;
  // Very old images have four words also for IPv4.
  const words = wordsOf(family);
  if (entry.src_addr.length < words || entry.dst_addr.length < words) return 'its address is too short';
  if (entry.src_port > PORT_MAX || entry.dst_port > PORT_MAX) return 'a port is too large';
  if (state === INET.TCP_LISTEN && !isTcp(entry)) return `it listens with protocol ${proto}`;
  return undefined;
}

/** Who has which port: sockets of the tree that share one can only be bound while all of them allow that. */
function isShared(entry: InetSkEntry, context: RestoreContext): boolean {
  const keyOf = ({ proto, src_port }: InetSkEntry) => proto * (PORT_MAX + 1) + src_port;
  const users = context.state('inet ports', () => {
    const counts = new Map<number, number>();
    for (const { isk } of filesOfType(context.tree.files, FdTypes.INETSK)) {
      if (isk === undefined || isRaw(isk)) continue;
      counts.set(keyOf(isk), (counts.get(keyOf(isk)) ?? 0) + 1);
    }
    return counts;
  });
  return entry.src_port !== 0 && !isRaw(entry) && (users.get(keyOf(entry)) ?? 0) > 1;
}

/**
 * SO_REUSEADDR and SO_REUSEPORT while the socket is bound: as it had them, but on where that takes more. Connections that
 * ended a moment ago (TIME_WAIT) keep a TCP port from being bound without SO_REUSEADDR.
 */
function reuseWhileBound(entry: InetSkEntry, context: RestoreContext): { address: boolean; port: boolean } {
  const { reuseaddr = false, so_reuseport = false } = entry.opts;
  const shared = isShared(entry, context);
  return { address: reuseaddr || shared || (isTcp(entry) && entry.src_port !== 0), port: so_reuseport || shared };
}

/** More than any queue takes that was full; the kernel doubles it. */
const QUEUE_ROOM = 1 << 29;

/** The connections of each table: steps are copied inside of one. */
const alikeConnections = contextState('alike connections', () => new WeakMap<FdTablePlan, AlikeConnections>());

/** Plans making the socket. */
export function createInetSocket(entry: InetSkEntry, home: RestoreHome): void {
  const { table, context } = home;
  const isCloexec = home.cloexec(entry.id) !== 0;
  const stream = isConnection(entry) && context.options.tcpClose !== true ? streamOf(entry, context) : undefined;
  if (stream === undefined) {
    home.made(entry.id, planSocket(entry, home, nameOf(entry), isCloexec), isCloexec);
    return;
  }
  const byTable = alikeConnections(context);
  const alike = byTable.get(table) ?? new AlikeConnections();
  byTable.set(table, alike);
  const connection = { entry, stream, isCloexec };
  let fd = alike.tryPlan(table, connection);
  if (fd === undefined) {
    const [start, what] = [table.stepCount, nameOf(entry)];
    fd = planSocket(entry, home, what, isCloexec);
    alike.remember(table, start, connection, what);
  }
  home.made(entry.id, fd, isCloexec);
}

/** Returns its descriptor. */
function planSocket(entry: InetSkEntry, { table, context }: RestoreHome, what: string, isCloexec: boolean): number {
  const { family, type, proto, flags } = entry;
  const mode = (isCloexec ? SOCKET.SOCK_CLOEXEC : 0) | ((flags & O_NONBLOCK) !== 0 ? SOCKET.SOCK_NONBLOCK : 0);
  const fd = table.open(['make', what], SYS.socket, family, type | mode, proto);
  const int = (level: number, option: number, value: number, name: string) =>
    planIntOption(table, fd, level, option, value, ['set', name, 'of', what]);
  // A raw socket has its protocol for a port from the beginning, after which this cannot be set.
  if (entry.v6only !== undefined && !isRaw(entry)) {
    int(INET.SOL_IPV6, INET.IPV6_V6ONLY, entry.v6only ? 1 : 0, 'v6only');
  }
  if (entry.ip_opts !== undefined) planIpOptions(table, fd, entry, entry.ip_opts, what);
  const { opts } = entry;
  planKeptOptions(table, fd, { type: entry, opts, what }, 'early', context.system);
  const hasQueue = isUdp(entry) && packetsFor(entry, context).length > 0;
  const device = opts.so_bound_dev ?? entry.ifname;
  const chosen = device === undefined ? opts : { ...opts, so_bound_dev: device };
  const later = hasQueue || (isConnection(entry) && context.options.tcpClose !== true);
  planSocketOptions(table, fd, hasQueue ? receivingAll(chosen) : chosen, what, later ? 'set later' : undefined);
  if (hasQueue) int(SOCKET.SOL_SOCKET, SOCKET.SO_RCVBUFFORCE, QUEUE_ROOM, 'so_rcvbuf');
  if (isTcp(entry) && entry.tcp_opts !== undefined) planTcpExtensions(table, fd, entry.tcp_opts, what);
  if (isConnection(entry)) planConnection(table, fd, entry, what, context);
  else planAddresses(table, fd, entry, what, context);
  if (hasQueue) {
    planBuffers(table, fd, opts, what);
    planReceiveRules(table, fd, chosen, what);
  }
  if ((flags & SETFL_MASK & ~O_NONBLOCK) !== 0) {
    table.do(['set the flags of', what], SYS.fcntl, fd, F_SETFL, flags & SETFL_MASK);
  }
  return fd;
}

function planAddresses(
  table: FdTablePlan,
  fd: number,
  entry: InetSkEntry,
  what: string,
  context: RestoreContext,
): void {
  const bind = () => bindTo(table, fd, { ...entry, src_port: 0 }, what);
  if (isUdp(entry)) planDatagrams(table, fd, entry, what, context, bind);
  const reuse = reuseWhileBound(entry, context);
  if (reuse.address) planIntOption(table, fd, SOCKET.SOL_SOCKET, SOCKET.SO_REUSEADDR, 1, ['set reuseaddr of', what]);
  if (reuse.port) planIntOption(table, fd, SOCKET.SOL_SOCKET, SOCKET.SO_REUSEPORT, 1, ['set so_reuseport of', what]);
  planBind(table, fd, entry, what);
  if (entry.state === INET.TCP_LISTEN) table.doExpecting(['listen on', what], 0, SYS.listen, fd, entry.backlog);
  planConnect(table, fd, entry, what);
  if (isTcp(entry) && entry.tcp_opts !== undefined) planTcpOptions(table, fd, entry.tcp_opts, what);
  planShutdown(table, fd, entry, what);
}

function planBind(table: FdTablePlan, fd: number, entry: InetSkEntry, what: string): void {
  const isAnywhere = isUnspecified(entry.src_addr);
  if (!isAnywhere || (entry.src_port !== 0 && !isRaw(entry))) bindTo(table, fd, entry, what);
}

function bindTo(table: FdTablePlan, fd: number, entry: InetSkEntry, what: string): void {
  const { family, src_addr } = entry;
  const bytes = packSockaddr(family, sourceOf(entry));
  // The number of a ping socket may be taken by now: another one will do.
  if (isPing(entry) && isUnspecified(src_addr)) {
    table.doUnchecked(['bind', what], SYS.bind, fd, { bytes }, bytes.length);
    return;
  }
  // An IPv6 address that has just been given to a device cannot be bound for a moment (RFC 4862, tentative addresses).
  const isFree = family !== SOCKET.AF_INET6 || isRaw(entry) || entry.ip_opts?.freebind === true;
  const [level, option] = freebindOption(family);
  if (!isFree) planIntOption(table, fd, level, option, 1, `let ${what} have its address`);
  table.doExpecting(['bind', what], 0, SYS.bind, fd, { bytes }, bytes.length);
  if (!isFree) planIntOption(table, fd, level, option, 0, ['reset freebind of', what]);
}

function planConnect(table: FdTablePlan, fd: number, entry: InetSkEntry, what: string): void {
  const { dst_port, dst_addr, family } = entry;
  if (entry.state === INET.TCP_LISTEN || (dst_port === 0 && isUnspecified(dst_addr))) return;
  const destination = destinationOf(entry);
  const bytes = packSockaddr(family, destination);
  const because = `connect ${what} to ${formatAddress(family, destination)}`;
  table.doExpecting(because, 0, SYS.connect, fd, { bytes }, bytes.length);
}

const HOW: Readonly<Record<number, number>> = {
  [SkShutdown.READ]: SOCKET.SHUT_RD,
  [SkShutdown.WRITE]: SOCKET.SHUT_WR,
  [SkShutdown.BOTH]: SOCKET.SHUT_RDWR,
};

/** A socket that is not connected is shut down too, though the kernel calls it an error (net/ipv4/af_inet.c). */
function planShutdown(table: FdTablePlan, fd: number, { shutdown, state }: InetSkEntry, what: string): void {
  const how = shutdown === undefined ? undefined : HOW[shutdown];
  if (how === undefined) return;
  const because = ['shut down', what] as const;
  if (state === INET.TCP_ESTABLISHED) table.doExpecting(because, 0, SYS.shutdown, fd, how);
  else table.doUnchecked(because, SYS.shutdown, fd, how);
}

/** Plans taking back what was on only to bind all sockets of the tree. */
export function finishInetSocket(entry: InetSkEntry, fd: number, { table, context }: RestoreHome): void {
  const { reuseaddr = false, so_reuseport = false } = entry.opts;
  const what = nameOf(entry);
  planKeptOptions(table, fd, { type: entry, opts: entry.opts, what }, 'late', context.system);
  if (isConnection(entry)) {
    if (!isWithinReach(entry, context)) finishConnection(table, fd, entry, what, context);
    return;
  }
  const reuse = reuseWhileBound(entry, context);
  if (reuse.address && !reuseaddr)
    planIntOption(table, fd, SOCKET.SOL_SOCKET, SOCKET.SO_REUSEADDR, 0, ['reset reuseaddr of', what]);
  if (reuse.port && !so_reuseport) {
    planIntOption(table, fd, SOCKET.SOL_SOCKET, SOCKET.SO_REUSEPORT, 0, ['reset so_reuseport of', what]);
  }
}
