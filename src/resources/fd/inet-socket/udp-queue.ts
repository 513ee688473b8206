/**
 * UDP datagrams that nobody has received yet. A dump looks at them without taking them (MSG_PEEK, SO_PEEK_OFF). A restore
 * sends them once more, to the new socket, as if they came from their senders: by a raw socket, to an address of this
 * host, so that they never leave it.
 *
 * UDP may lose datagrams, and so may we: those for sockets that are bound to a broadcast or multicast address, of which a
 * dump says so, and those that packet filters of the host drop, of which a restore does, which counts what has arrived.
 * What comes through a certain device only, or is filtered by the socket itself, is sent before that is so.
 */
import type { InetSkEntry } from '../../../image/gen/sk-inet.ts';
import type { SkPacketEntry } from '../../../image/gen/sk-packet.ts';
import { ERRNO } from '../../../linux/abi/errno.ts';
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
import { planIntOption } from '../socket-options/plan-option.ts';
import {
  type InetAddress,
  isMapped,
  isMulticast,
  isUnspecified,
  needsDevice,
  packSockaddr,
  parseSockaddr,
} from './address.ts';
import { packDatagram } from './ip-packet.ts';

type UdpSocket = Pick<InetSkEntry, 'id' | 'family' | 'proto' | 'src_addr' | 'src_port'>;

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
      if (target !== undefined && isOfHost(socket.family, target)) {
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
  if (isMulticast(src_addr) || needsDevice(src_addr)) return 'it is bound to an address that several may have';
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

/** Not a broadcast or multicast address: sending there needs permission, or would leave the host. */
function isOfHost(family: number, words: readonly number[]): boolean {
  if (isMulticast(words) || needsDevice(words)) return false;
  const fd = syscall(SYS.socket, family, SOCKET.SOCK_DGRAM | SOCKET.SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  const address = packSockaddr(family, { port: 9, words });
  const result = syscall(SYS.connect, fd, address, address.length);
  close(fd);
  return result === 0;
}

/** struct pollfd: POLLIN. */
const POLLIN = 1;
const WAIT_MS = 1000;

/**
 * Plans sending them again to a socket that is bound, and not connected yet. One that shares its port with others is
 * connected to each sender for that moment, so that the kernel chooses it.
 */
export function planDatagrams(
  table: FdTablePlan,
  fd: number,
  entry: InetSkEntry,
  what: string,
  context: RestoreContext,
  isShared: boolean,
): void {
  const raw = new Map<number, number>();
  for (const { message, payload, sender } of packetsFor(entry, context)) {
    const target = targetOf(message, entry);
    const isV4 = entry.family === SOCKET.AF_INET || isMapped(sender.words);
    const family = isV4 ? SOCKET.AF_INET : SOCKET.AF_INET6;
    const address = (words: readonly number[]) => (isV4 ? words.slice(-1) : words);
    const because = `put a datagram into ${what}`;
    const socket = raw.get(family) ?? planRawSocket(table, family, because);
    raw.set(family, socket);
    if (isShared) {
      const bytes = packSockaddr(entry.family, sender);
      table.doUnchecked(because, SYS.connect, fd, { bytes }, bytes.length);
    }
    const from = { port: sender.port, words: address(sender.words) };
    const to = { port: entry.src_port, words: address(target.words) };
    const bytes = packDatagram({ from, to }, payload);
    const name = packSockaddr(family, { port: 0, words: to.words });
    table.doUnchecked(because, SYS.sendto, socket, { bytes }, bytes.length, 0, { bytes: name }, name.length);
  }
  if (raw.size === 0) return;
  // The kernel may hand them on a little later.
  const pollfd = new Uint8Array(8);
  new DataView(pollfd.buffer).setInt32(0, fd, true);
  new DataView(pollfd.buffer).setInt16(4, POLLIN, true);
  table.doUnchecked(`wait for datagrams of ${what}`, SYS.poll, { bytes: pollfd }, 1, WAIT_MS);
  for (const socket of raw.values()) table.close(socket);
  const nobody = new Uint8Array(16); // AF_UNSPEC
  if (isShared) table.doUnchecked(`disconnect ${what}`, SYS.connect, fd, { bytes: nobody }, nobody.length);
}

/** One whose packets pass the network lock. */
function planRawSocket(table: FdTablePlan, family: number, because: string): number {
  const fd = table.open(because, SYS.socket, family, SOCKET.SOCK_RAW | SOCKET.SOCK_CLOEXEC, INET.IPPROTO_RAW);
  planIntOption(table, fd, SOCKET.SOL_SOCKET, SOCKET.SO_MARK, UNLOCKED_MARK, because);
  return fd;
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
