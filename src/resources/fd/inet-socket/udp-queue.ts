/**
 * UDP datagrams that nobody has received yet. A dump looks at them without taking them (MSG_PEEK, SO_PEEK_OFF). A restore
 * sends them once more, to the new socket, as if they came from their senders: by a raw socket, to an address of this
 * host, so that they never leave it.
 *
 * UDP may lose datagrams, and so may we: those for sockets that are bound to the address of a link, of which a dump says
 * so, and those that packet filters of the host drop, of which a restore does, which counts what has arrived. What comes
 * through a certain device only, or is filtered by the socket itself, is sent before that is so. What was sent to a group
 * comes by the device that the socket is a member on, without leaving it.
 */
import { bytesOfWords, putWord } from '../../../base/bytes.ts';
import type { InetSkEntry } from '../../../image/gen/sk-inet.ts';
import type { SkPacketEntry } from '../../../image/gen/sk-packet.ts';
import { ERRNO } from '../../../linux/abi/errno.ts';
import { F_SETFL, O_NONBLOCK } from '../../../linux/abi/fcntl.ts';
import * as INET from '../../../linux/abi/inet.ts';
import * as SOCKET from '../../../linux/abi/socket.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { check, syscall } from '../../../linux/kernel.ts';
import { close } from '../../../linux/syscalls/fs.ts';
import { getsockoptInt } from '../../../linux/syscalls/socket.ts';
import { UNLOCKED_MARK } from '../../network-lock/network-lock.ts';
import type { FdTablePlan } from '../fd-table/fd-table-plan.ts';
import type { KindDump, OpenFile, RestoreContext } from '../file-kind.ts';
import { controlMessages, type Peeked, peekMessage } from '../peek-message.ts';
import { membershipDevice } from '../socket-options/multicast.ts';
import { planIntOption, planOption } from '../socket-options/plan-option.ts';
import { PAIR_ROOM, type Pointer, type StepArg } from '../step-args.ts';
import {
  type InetAddress,
  isBroadcast,
  isMapped,
  isMulticast,
  isUnspecified,
  needsDevice,
  packSockaddr,
  parseSockaddr,
} from './address.ts';
import { packWithoutPort } from './ip-packet.ts';

type UdpSocket = Pick<InetSkEntry, 'id' | 'family' | 'proto' | 'src_addr' | 'opts'>;

/** What the kernel can hand on through its loopback device, headers included. */
const DATAGRAM_MAX = 65_400;

/** Adds what waits in the socket to sk-queues.img. Throws SyscallError. */
export function dumpDatagrams(file: OpenFile, socket: UdpSocket, dump: KindDump): void {
  const lose = (why: string) => dump.warn(`${file.object}: datagrams that nobody has received yet are lost: ${why}`);
  const obstacle = findObstacle(socket);
  if (obstacle !== undefined) {
    lose(obstacle);
    return;
  }
  const fd = file.localFd;
  const [level, option] = infoOption(socket.family);
  const changed = [
    { level: SOCKET.SOL_SOCKET, option: SOCKET.SO_PEEK_OFF, value: 0 },
    { level, option, value: 1 },
  ].map((one) => ({ ...one, before: getsockoptInt(fd, one.level, one.option) }));
  for (const one of changed) setInt(fd, one.level, one.option, one.value);
  try {
    const room = dump.state('a datagram', () => new Uint8Array(1 << 16));
    for (;;) {
      const { result, control, sender } = peekDatagram(fd, room);
      if (result < 0) break;
      const message: SkPacketEntry = { id_for: socket.id, length: result, scm: [], sender_ext: sender };
      const target = targetIn(control, socket.family);
      if (target !== undefined && canReach(socket, target)) {
        message.target_ext = packSockaddr(socket.family, { port: 0, words: target });
      }
      if (result > DATAGRAM_MAX) lose(`one of them has ${result} bytes`);
      else dump.addData('sk-queues', { message, payload: room.slice(0, result) });
    }
  } finally {
    for (const one of changed) setInt(fd, one.level, one.option, one.before);
  }
}

function peekDatagram(fd: number, room: Uint8Array): Peeked {
  for (;;) {
    const peeked = peekMessage(fd, room);
    if (peeked.result !== -ERRNO.EINTR) return peeked;
  }
}

function findObstacle({ proto, src_addr }: UdpSocket): string | undefined {
  if (proto !== INET.IPPROTO_UDP) return 'they are UDPLite ones';
  if (needsDevice(src_addr) && !isMulticast(src_addr)) return 'it is bound to an address of a link';
  return undefined;
}

/** Tells with each datagram whom it was sent to. */
const infoOption = (family: number) =>
  family === SOCKET.AF_INET6
    ? ([INET.SOL_IPV6, INET.IPV6_RECVPKTINFO] as const)
    : ([INET.SOL_IP, INET.IP_PKTINFO] as const);

function setInt(fd: number, level: number, option: number, value: number): void {
  check('setsockopt', syscall(SYS.setsockopt, fd, level, option, Int32Array.of(value), 4), `${level}, ${option}`);
}

/** struct in_pktinfo has it at byte 8, struct in6_pktinfo at 0. */
function targetIn(control: Uint8Array, family: number): number[] | undefined {
  for (const { level, type, payload } of controlMessages(control)) {
    if (family === SOCKET.AF_INET && level === INET.SOL_IP && type === INET.IP_PKTINFO) {
      return [payload.getUint32(8, true)];
    }
    if (level === INET.SOL_IPV6 && type === INET.IPV6_PKTINFO) {
      return [0, 4, 8, 12].map((at) => payload.getUint32(at, true));
    }
  }
  return undefined;
}

/** An address of this host, or of a group that the socket is a member of. */
function canReach({ family, opts }: UdpSocket, words: readonly number[]): boolean {
  const address = isMapped(words) ? words.slice(-1) : words;
  if (isBroadcast(address)) return true;
  if (isMulticast(address)) return membershipDevice(opts, address) !== undefined;
  return !needsDevice(words) && isOfHost(family, words);
}

function isOfHost(family: number, words: readonly number[]): boolean {
  const fd = syscall(SYS.socket, family, SOCKET.SOCK_DGRAM | SOCKET.SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  const address = packSockaddr(family, { port: 9, words });
  const result = syscall(SYS.connect, fd, address, address.length);
  close(fd);
  return result === 0;
}

/**
 * Plans sending them again to a socket that has no address yet. `bind` plans giving it its own with a port that the kernel
 * chooses: nobody else has that one, so that nobody else receives them, whoever shares port, address or group with the
 * socket. Afterwards it can be bound once more, since a chosen port is given back by disconnecting (net/ipv4/udp.c
 * __udp_disconnect(), sk_userlocks).
 */
export function planDatagrams(
  table: FdTablePlan,
  fd: number,
  entry: InetSkEntry,
  what: string,
  context: RestoreContext,
  bind: () => void,
): void {
  const packets = packetsFor(entry, context);
  if (packets.length === 0) return;
  const because = `put a datagram into ${what}`;
  const set = (level: number, option: number, value: number) =>
    planIntOption(table, fd, level, option, value, ['receive the datagrams of', what]);
  // Their checksums are left out, since the port belongs to them.
  if (entry.family === SOCKET.AF_INET6) set(INET.SOL_UDP, INET.UDP_NO_CHECK6_RX, 1);
  planOwnDevice(table, fd, entry, what);
  bind();
  const sockets = new Map<string, number>();
  const groups = new Map<string, Route>();
  table.doUnchecked(because, SYS.getsockname, fd, PAIR_ROOM, { bytes: bytesOfWords(PAIR_ROOM.bytes.length) });
  set(SOCKET.SOL_SOCKET, SOCKET.SO_PEEK_OFF, 0);
  planWaiting(table, fd, entry, what, true);
  for (let at = 0; at < packets.length; at += AT_ONCE) {
    const some = packets.slice(at, at + AT_ONCE);
    for (const { message, payload, sender } of some) {
      const route = routeTo(targetOf(message, entry).words, isV4(entry, sender), entry, context);
      const key = `${route.family} ${route.device}`;
      const socket = sockets.get(key) ?? planRawSocket(table, route, because);
      sockets.set(key, socket);
      if (route.mustJoin && !groups.has(`${key} ${route.words}`)) {
        groups.set(`${key} ${route.words}`, route);
        planGroup(table, fd, route, 'join', because);
      }
      const words = route.family === SOCKET.AF_INET ? sender.words.slice(-1) : sender.words;
      const parts = packWithoutPort({ from: { port: sender.port, words }, to: route }, payload);
      const name = packSockaddr(route.family, { port: 0, words: route.words });
      table.doUnchecked(because, SYS.sendmsg, socket, gather(name, parts), 0);
    }
    // The kernel may hand them on a little later.
    const places = { bytes: new Uint8Array(some.length * MMSGHDR_BYTES) };
    const flags = SOCKET.MSG_PEEK | SOCKET.MSG_TRUNC;
    table.doUnchecked(`wait for datagrams of ${what}`, SYS.recvmmsg, fd, places, some.length, flags, 0);
  }
  planWaiting(table, fd, entry, what, false);
  set(SOCKET.SOL_SOCKET, SOCKET.SO_PEEK_OFF, -1);
  for (const route of groups.values()) planGroup(table, fd, route, 'leave', because);
  for (const socket of sockets.values()) table.close(socket);
  const nobody = new Uint8Array(16); // AF_UNSPEC
  table.doUnchecked(`disconnect ${what}`, SYS.connect, fd, { bytes: nobody }, nobody.length);
  if (entry.family === SOCKET.AF_INET6) set(INET.SOL_UDP, INET.UDP_NO_CHECK6_RX, 0);
  planOwnDevice(table, fd, entry, what);
}

/** So many are sent before they are waited for: fewer than the kernel keeps for a busy processor (netdev_max_backlog). */
const AT_ONCE = 256;
const WAIT_SECONDS = 1;
/** struct mmsghdr: empty ones are enough to see that somebody has sent. */
const MMSGHDR_BYTES = 64;

/** Lets a call on the socket wait for a moment; or sets the program's own again. */
function planWaiting(table: FdTablePlan, fd: number, entry: InetSkEntry, what: string, isOn: boolean): void {
  const because = ['wait for datagrams of', what];
  const { so_rcv_tmo_sec, so_rcv_tmo_usec } = entry.opts;
  const times = isOn ? [WAIT_SECONDS, 0, 0, 0] : [so_rcv_tmo_sec, 0, so_rcv_tmo_usec, 0].map(Number);
  planOption(table, fd, SOCKET.SOL_SOCKET, SOCKET.SO_RCVTIMEO, bytesOfWords(...times), because);
  if ((entry.flags & O_NONBLOCK) !== 0) table.do(because, SYS.fcntl, fd, F_SETFL, isOn ? 0 : O_NONBLOCK);
}

/** An address of a link is bound on its device only. */
function planOwnDevice(table: FdTablePlan, fd: number, entry: InetSkEntry, what: string): void {
  const device = deviceOf(entry);
  if (device === undefined || !needsDevice(entry.src_addr)) return;
  const name = Buffer.from(`${device}\0`, 'latin1');
  planOption(table, fd, SOCKET.SOL_SOCKET, SOCKET.SO_BINDTODEVICE, name, `bind ${what} to ${device}`);
}

const deviceOf = ({ opts, ifname }: InetSkEntry): string | undefined => opts.so_bound_dev || ifname;

const isV4 = ({ family }: InetSkEntry, { words }: InetAddress) => family === SOCKET.AF_INET || isMapped(words);

/** How a packet gets to the socket. */
interface Route {
  readonly family: number;
  readonly port: 0;
  readonly words: readonly number[];
  /** Index of the device that it has to come from, or 0. */
  readonly device: number;
  /** It is for a group that the socket is no member of. */
  readonly mustJoin: boolean;
}

/** The loopback device has this index in every network namespace. */
const LOOPBACK_INDEX = 1;

/** To a group by the device on which the socket is a member. */
function routeTo(target: readonly number[], isV4: boolean, entry: InetSkEntry, { system }: RestoreContext): Route {
  const words = isV4 ? target.slice(-1) : target;
  const route = { family: isV4 ? SOCKET.AF_INET : SOCKET.AF_INET6, port: 0, words } as const;
  if (!isMulticast(words)) return { ...route, device: 0, mustJoin: false };
  if (isBroadcast(words)) return { ...route, device: LOOPBACK_INDEX, mustJoin: false };
  const known = membershipDevice(entry.opts, words);
  if (known !== undefined) return { ...route, device: system.deviceIndex(known), mustJoin: false };
  const own = deviceOf(entry);
  const device = isV4 ? LOOPBACK_INDEX : own === undefined ? 0 : system.deviceIndex(own);
  return { ...route, device, mustJoin: true };
}

/** One whose packets pass the network lock. */
function planRawSocket(table: FdTablePlan, { family, device }: Route, because: string): number {
  const fd = table.open(because, SYS.socket, family, SOCKET.SOCK_RAW | SOCKET.SOCK_CLOEXEC, INET.IPPROTO_RAW);
  const set = (option: number, value: number) => planIntOption(table, fd, SOCKET.SOL_SOCKET, option, value, because);
  set(SOCKET.SO_MARK, UNLOCKED_MARK);
  if (device > 0) {
    set(SOCKET.SO_BROADCAST, 1);
    set(SOCKET.SO_BINDTOIFINDEX, device);
  }
  return fd;
}

/** struct ip_mreqn and ipv6_mreq. */
function planGroup(table: FdTablePlan, fd: number, route: Route, how: 'join' | 'leave', because: string): void {
  const { family, words, device } = route;
  const value = family === SOCKET.AF_INET ? [...words, 0, device] : [...words, device];
  const level = family === SOCKET.AF_INET ? INET.SOL_IP : INET.SOL_IPV6;
  const [join, leave] =
    family === SOCKET.AF_INET
      ? [INET.IP_ADD_MEMBERSHIP, INET.IP_DROP_MEMBERSHIP]
      : [INET.IPV6_ADD_MEMBERSHIP, INET.IPV6_DROP_MEMBERSHIP];
  const bytes = bytesOfWords(...value);
  const option = how === 'join' ? join : leave;
  table.doUnchecked(because, SYS.setsockopt, fd, level, option, { bytes }, bytes.length);
}

const MSGHDR_BYTES = 56;
const IOVEC_BYTES = 16;
/** Where getsockname(2) has put the port. */
const PORT_AT = 2;
const PORT_BYTES = 2;

/** struct msghdr of a packet whose port is in PAIR_ROOM. */
function gather(name: Uint8Array, [head, tail]: readonly [Uint8Array, Uint8Array]): StepArg {
  const vector = new Uint8Array(3 * IOVEC_BYTES);
  for (const [i, length] of [head.length, PORT_BYTES, tail.length].entries()) {
    putWord(vector, i * IOVEC_BYTES + 8, length);
  }
  const header = new Uint8Array(MSGHDR_BYTES);
  putWord(header, 8, name.length);
  putWord(header, 24, 3);
  const parts: Pointer[] = [
    { offset: 0, bytes: head },
    { offset: IOVEC_BYTES, roomAt: PORT_AT },
    { offset: 2 * IOVEC_BYTES, bytes: tail },
  ];
  return {
    bytes: header,
    pointers: [
      { offset: 0, bytes: name },
      { offset: 16, bytes: vector, pointers: parts },
    ],
  };
}

/** What waits in a socket: datagrams that can be sent again. */
export function packetsFor({ id, family }: InetSkEntry, context: RestoreContext) {
  const packets = context.state('queued datagrams', () =>
    Map.groupBy(context.images.tryRead('sk-queues') ?? [], ({ message }) => message.id_for),
  );
  return (packets.get(id) ?? []).flatMap(({ message, payload }) => {
    const sender = parseSockaddr(message.sender_ext ?? new Uint8Array(0), family);
    return sender === undefined || sender.port === 0 ? [] : [{ message, payload, sender }];
  });
}

/** How many datagrams wait in a socket of ours. Throws SyscallError. */
export function countDatagrams(fd: number): number {
  const before = getsockoptInt(fd, SOCKET.SOL_SOCKET, SOCKET.SO_PEEK_OFF);
  setInt(fd, SOCKET.SOL_SOCKET, SOCKET.SO_PEEK_OFF, 0);
  const room = new Uint8Array(1 << 16);
  let count = 0;
  while (peekDatagram(fd, room).result >= 0) count++;
  setInt(fd, SOCKET.SOL_SOCKET, SOCKET.SO_PEEK_OFF, before);
  return count;
}

const LOOPBACK = 0x0100_007f;
const LOOPBACK6 = [0, 0, 0, 0x0100_0000];

/** An address that reaches the socket: the one that was used, its own, or the host's. */
function targetOf({ target_ext, sender_ext }: SkPacketEntry, { family, src_addr }: InetSkEntry): InetAddress {
  const target = target_ext && parseSockaddr(target_ext, family);
  if (target !== undefined && (isUnspecified(src_addr) || Bun.deepEquals([...src_addr], target.words))) return target;
  const own = family === SOCKET.AF_INET ? src_addr.slice(0, 1) : src_addr;
  if (!isUnspecified(own)) return { port: 0, words: own };
  const isV4 =
    family === SOCKET.AF_INET || isMapped(parseSockaddr(sender_ext ?? new Uint8Array(0), family)?.words ?? []);
  return { port: 0, words: isV4 ? [LOOPBACK] : LOOPBACK6 };
}
