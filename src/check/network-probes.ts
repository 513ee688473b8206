/** Probes of sockets, network namespaces and packet filters (man 7 tcp, sock_diag, rtnetlink, socket). */

import { ERRNO } from '../linux/abi/errno.ts';
import { AT_FDCWD, O_RDONLY, O_RDWR } from '../linux/abi/fcntl.ts';
import { CLONE_NEWNET } from '../linux/abi/sched.ts';
import { MSG_DONTWAIT, SOCK_CLOEXEC, SOCK_NONBLOCK } from '../linux/abi/socket.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { syscall } from '../linux/kernel.ts';
import { close, ioctl, tryOpen, tryStat } from '../linux/syscalls/fs.ts';
import { getpid } from '../linux/syscalls/process.ts';
import * as NL from '../netlink/netlink.ts';
import { Child } from './child.ts';
import { failed, type Missing } from './probe.ts';

export const AF_UNIX = 1;
export const AF_INET = 2;
export const AF_INET6 = 10;
export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const SOL_SOCKET = 1;
const SOL_TCP = 6;
const SOL_IPV6 = 41;
const SO_BUF_LOCK = 72;
const SO_ATTACH_FILTER = 26;
const SO_BINDTODEVICE = 25;
const SO_PEEK_OFF = 42;
const IPV6_FREEBIND = 78;
const TCP_REPAIR = 19;
const TCP_TIMESTAMP = 24;
const TCP_REPAIR_WINDOW = 29;
const SIOCGSKNS = 0x894c;
const SIOCUNIXFILE = 0x89e0;
const TUNSETIFINDEX = 0x400454da;
const IPPROTO_RAW = 255;

/** Calls `use` with a socket, or says why there is none. */
function withSocket(family: number, type: number, use: (fd: number) => Missing): Missing {
  const fd = syscall(SYS.socket, family, type | SOCK_CLOEXEC, 0);
  if (fd < 0) return failed('socket', fd);
  try {
    return use(fd);
  } finally {
    close(fd);
  }
}

/** A TCP socket of IPv4, or of IPv6 where there is no IPv4. */
function withTcp(use: (fd: number) => Missing): Missing {
  const fd = syscall(SYS.socket, AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd === -ERRNO.EAFNOSUPPORT) return withSocket(AF_INET6, SOCK_STREAM, use);
  if (fd >= 0) close(fd);
  return withSocket(AF_INET, SOCK_STREAM, use);
}

function getOption(fd: number, level: number, option: number, bytes = 4): number {
  const value = new Uint8Array(bytes);
  return syscall(SYS.getsockopt, fd, level, option, value, Int32Array.of(bytes));
}

function setOption(fd: number, level: number, option: number, value: number): number {
  return syscall(SYS.setsockopt, fd, level, option, Int32Array.of(value), 4);
}

/** TCP_REPAIR (3.5) and reading of TCP_TIMESTAMP. */
export function probeTcpRepair(): Missing {
  return withTcp(
    (fd) =>
      failed('setsockopt(TCP_REPAIR)', setOption(fd, SOL_TCP, TCP_REPAIR, 1)) ??
      failed('getsockopt(TCP_TIMESTAMP)', getOption(fd, SOL_TCP, TCP_TIMESTAMP)),
  );
}

/** TCP_REPAIR_WINDOW (4.8). */
export function probeTcpWindow(): Missing {
  return withTcp(
    (fd) =>
      failed('setsockopt(TCP_REPAIR)', setOption(fd, SOL_TCP, TCP_REPAIR, 1)) ??
      failed('getsockopt(TCP_REPAIR_WINDOW)', getOption(fd, SOL_TCP, TCP_REPAIR_WINDOW, 20)),
  );
}

const SHUT_WR = 1;
const POLLOUT = 4;
const CONNECT_MS = 1000;

/** TCP_REPAIR of a connection whose sending half is closed (4.8), over the loopback device. */
export function probeTcpHalfClosed(): Missing {
  return withSocket(AF_INET, SOCK_STREAM, (listener) =>
    withSocket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, (client) => {
      const address = new Uint8Array(16);
      address.set([AF_INET, 0, 0, 0, 127, 0, 0, 1]);
      const length = Int32Array.of(address.length);
      const missing =
        failed('bind to 127.0.0.1', syscall(SYS.bind, listener, address, address.length)) ??
        failed('listen', syscall(SYS.listen, listener, 1)) ??
        failed('getsockname', syscall(SYS.getsockname, listener, address, length));
      if (missing !== undefined) return missing;
      const connected = syscall(SYS.connect, client, address, address.length);
      if (connected < 0 && connected !== -ERRNO.EINPROGRESS) return failed('connect to 127.0.0.1', connected);
      const poll = Int32Array.of(client, POLLOUT);
      if (syscall(SYS.poll, poll, 1, CONNECT_MS) !== 1) return 'the loopback device does not answer';
      return (
        failed('shutdown', syscall(SYS.shutdown, client, SHUT_WR)) ??
        failed('setsockopt(TCP_REPAIR) of a half-closed socket', setOption(client, SOL_TCP, TCP_REPAIR, 1))
      );
    }),
  );
}

/** SO_PEEK_OFF of unix sockets (3.4), which is −1 at first. */
export function probePeekOff(): Missing {
  return withSocket(AF_UNIX, SOCK_DGRAM, (fd) =>
    failed('getsockopt(SO_PEEK_OFF)', getOption(fd, SOL_SOCKET, SO_PEEK_OFF)),
  );
}

/** Reading back a socket's filter and device (3.8). */
export function probeSocketGets(): Missing {
  return withSocket(AF_INET, SOCK_DGRAM, (fd) => {
    const filter = syscall(SYS.getsockopt, fd, SOL_SOCKET, SO_ATTACH_FILTER, 0, Int32Array.of(0));
    return (
      failed('getsockopt(SO_GET_FILTER)', filter) ??
      failed('getsockopt(SO_BINDTODEVICE)', getOption(fd, SOL_SOCKET, SO_BINDTODEVICE, 16))
    );
  });
}

/** SO_BUF_LOCK (5.14). */
export function probeBufLock(): Missing {
  return withTcp((fd) => failed('getsockopt(SO_BUF_LOCK)', getOption(fd, SOL_SOCKET, SO_BUF_LOCK)));
}

/** IPV6_FREEBIND (4.15). */
export function probeIpv6Freebind(): Missing {
  return withSocket(AF_INET6, SOCK_DGRAM, (fd) =>
    failed('setsockopt(IPV6_FREEBIND)', setOption(fd, SOL_IPV6, IPV6_FREEBIND, 1)),
  );
}

function probeNetnsOf(fd: number, what: string): Missing {
  const netns = ioctl(fd, SIOCGSKNS);
  if (netns >= 0) close(netns);
  return failed(`ioctl(SIOCGSKNS) of ${what}`, netns);
}

/** The network namespace of a socket (4.10). */
export function probeSkNs(): Missing {
  return withSocket(AF_UNIX, SOCK_DGRAM, (fd) => probeNetnsOf(fd, 'a socket'));
}

/** The file that a unix socket is bound to (4.18); this one is bound to none. */
export function probeSkUnixFile(): Missing {
  return withSocket(AF_UNIX, SOCK_DGRAM, (fd) => {
    const file = ioctl(fd, SIOCUNIXFILE);
    if (file >= 0) close(file);
    return file === -ERRNO.ENOENT ? undefined : failed('ioctl(SIOCUNIXFILE)', file);
  });
}

function withTun(use: (fd: number) => Missing): Missing {
  const fd = tryOpen('/dev/net/tun', O_RDWR);
  if (fd < 0) return failed('/dev/net/tun', fd);
  try {
    return use(fd);
  } finally {
    close(fd);
  }
}

/** A tun device gets a chosen index (3.12). Only the descriptor remembers it: no device is made. */
export function probeTun(): Missing {
  return withTun((fd) => failed('ioctl(TUNSETIFINDEX)', ioctl(fd, TUNSETIFINDEX, Int32Array.of(13))));
}

/** The network namespace of a tun descriptor (4.20). */
export function probeTunNs(): Missing {
  return withTun((fd) => probeNetnsOf(fd, 'a tun descriptor'));
}

const SOCK_DIAG_BY_FAMILY = 20;

/** One sock_diag dump of a family: the kernel must know how. */
function probeDiag(family: number, request: Uint8Array): Missing {
  const answer = NL.ask(
    NL.NETLINK_SOCK_DIAG,
    NL.message(SOCK_DIAG_BY_FAMILY, NL.NLM_F_REQUEST | NL.NLM_F_DUMP, 1, request),
  );
  const error = typeof answer === 'number' ? answer : (NL.firstError(answer) ?? 0);
  return failed(`NETLINK_SOCK_DIAG of family ${family}`, error);
}

/** struct inet_diag_req_v2: all states. */
function inetRequest(family: number, protocol: number): Uint8Array {
  const request = new Uint8Array(56);
  request.set([family, protocol]);
  new DataView(request.buffer).setUint32(4, 0xffff_ffff, true);
  return request;
}

/** Dumps of sockets by netlink (3.3): unix, TCP and UDP. Other families may be missing on a machine without them. */
export function probeSockDiag(): Missing {
  const unix = new Uint8Array(24);
  unix[0] = AF_UNIX;
  new DataView(unix.buffer).setUint32(4, 0xffff_ffff, true);
  return (
    probeDiag(AF_UNIX, unix) ??
    probeDiag(AF_INET, inetRequest(AF_INET, SOL_TCP)) ??
    probeDiag(AF_INET, inetRequest(AF_INET, 17)) ??
    (tryStat('/proc/sys/net/ipv6') instanceof Object ? probeDiag(AF_INET6, inetRequest(AF_INET6, SOL_TCP)) : undefined)
  );
}

/** Dumps of raw sockets (4.10). */
export function probeNetDiagRaw(): Missing {
  return (
    probeDiag(AF_INET, inetRequest(AF_INET, IPPROTO_RAW)) ?? probeDiag(AF_INET6, inetRequest(AF_INET6, IPPROTO_RAW))
  );
}

const RTM_NEWLINK = 16;
const RTM_GETLINK = 18;
const RTM_SETLINK = 19;
const RTM_GETNSID = 90;
const NETNSA_PID = 2;
const IFLA_IFNAME = 3;
const IFLA_LINKINFO = 18;
const IFLA_NET_NS_FD = 28;
const IFLA_LINK_NETNSID = 37;
const IFLA_NEW_IFINDEX = 49;
const IFLA_INFO_KIND = 1;
const IFLA_INFO_DATA = 2;
const VETH_INFO_PEER = 1;
const IFINFO_BYTES = 16;

/** The id of a network namespace (3.20). */
export function probeNsid(): Missing {
  const request = NL.message(
    RTM_GETNSID,
    NL.NLM_F_REQUEST | NL.NLM_F_ACK,
    1,
    new Uint8Array(4),
    NL.attribute(NETNSA_PID, NL.u32(getpid())),
  );
  const answer = NL.ask(NL.NETLINK_ROUTE, request);
  return failed('RTM_GETNSID', typeof answer === 'number' ? answer : (NL.firstError(answer) ?? 0));
}

/** A device gets a chosen index when it changes namespace (5.13): the kernel looks at the index before the name. */
export function probeNewIfindex(): Missing {
  const request = NL.message(
    RTM_SETLINK,
    NL.NLM_F_REQUEST | NL.NLM_F_ACK,
    1,
    new Uint8Array(IFINFO_BYTES),
    NL.attribute(IFLA_NEW_IFINDEX, NL.u32(-1)),
    NL.attribute(IFLA_IFNAME, NL.text('criu-check')),
  );
  const answer = NL.ask(NL.NETLINK_ROUTE, request);
  const error = typeof answer === 'number' ? answer : (NL.firstError(answer) ?? 0);
  return error === -ERRNO.ERANGE ? undefined : 'a device cannot get a chosen index (IFLA_NEW_IFINDEX)';
}

/** Adds the exchange of one request over a new netlink socket; returns where the answer is. */
function addExchange(child: Child, fd: ReturnType<Child['step']>, request: ReturnType<Child['program']['data']>) {
  const answer = child.program.reserve(16 * 1024);
  child.step('send', SYS.sendto, fd, request, request.bytes, 0, 0, 0);
  // Netlink answers within the call that asks.
  const got = child.step('receive', SYS.recvfrom, fd, answer, answer.bytes, MSG_DONTWAIT, 0, 0);
  return () => NL.parseAnswers(child.bytes(answer).subarray(0, child.result(got)));
}

/** A veth device says in which namespace its peer is (3.20). Made in two network namespaces of their own. */
export function probeLinkNsid(): Missing {
  const child = new Child();
  const { program } = child;
  const path = program.string('/proc/self/ns/net');
  const peerNs = child.step('open ns/net', SYS.openat, AT_FDCWD, path, O_RDONLY);
  child.step('unshare(CLONE_NEWNET)', SYS.unshare, CLONE_NEWNET);
  const fd = child.step('socket', SYS.socket, NL.AF_NETLINK, NL.SOCK_RAW, NL.NETLINK_ROUTE);
  // The peer's namespace is the last attribute: its descriptor is known only when the child runs.
  const peer = NL.nested(VETH_INFO_PEER, new Uint8Array(IFINFO_BYTES), NL.attribute(IFLA_NET_NS_FD, NL.u32(0)));
  const info = NL.nested(IFLA_LINKINFO, NL.attribute(IFLA_INFO_KIND, NL.text('veth')), NL.nested(IFLA_INFO_DATA, peer));
  const flags = NL.NLM_F_REQUEST | NL.NLM_F_ACK | NL.NLM_F_CREATE | NL.NLM_F_EXCL;
  const name = NL.attribute(IFLA_IFNAME, NL.text('criu-check'));
  const create = NL.message(RTM_NEWLINK, flags, 1, new Uint8Array(IFINFO_BYTES), name, info);
  const createAt = program.data(create);
  program.store32({ ...createAt, offset: createAt.offset + create.length - 4 }, peerNs);
  const created = addExchange(child, fd, { ...createAt, bytes: create.length });
  const show = NL.message(RTM_GETLINK, NL.NLM_F_REQUEST, 2, new Uint8Array(IFINFO_BYTES), name);
  const shown = addExchange(child, fd, { ...program.data(show), bytes: show.length });
  const missing = child.run(CLONE_NEWNET);
  if (missing !== undefined) return missing;
  const error = NL.firstError(created()) ?? 0;
  if (error < 0) return failed('cannot make a veth pair: RTM_NEWLINK', error);
  const link = shown().find(({ type }) => type === RTM_NEWLINK);
  if (link === undefined) return 'a veth device cannot be shown (RTM_GETLINK)';
  const hasNsid = NL.attributeTypes(link.payload, IFINFO_BYTES).includes(IFLA_LINK_NETNSID);
  return hasNsid ? undefined : 'a device does not say where its peer is (IFLA_LINK_NETNSID)';
}
