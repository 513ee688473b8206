/** TCP connections: the steps that make a socket connected without a word to the other side. Pure. */
import { bytesOfWords } from '../../../base/bytes.ts';
import type { CriuErrorFields } from '../../../base/errors.ts';
import type { AlikeImages } from '../../../image/alike-images.ts';
import { FdTypes } from '../../../image/gen/fdinfo.ts';
import type { InetSkEntry } from '../../../image/gen/sk-inet.ts';
import type { TcpStreamEntry } from '../../../image/gen/tcp-stream.ts';
import { imageFileName } from '../../../image/image-kinds.ts';
import { F_SETFL, O_NONBLOCK } from '../../../linux/abi/fcntl.ts';
import * as INET from '../../../linux/abi/inet.ts';
import * as SOCKET from '../../../linux/abi/socket.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { UNLOCKED_MARK } from '../../network-lock/network-lock.ts';
import { readAhead } from '../../read-ahead.ts';
import { contextState } from '../context-state.ts';
import type { FdTablePlan } from '../fd-table/fd-table-plan.ts';
import { SETFL_MASK } from '../fd-table/owner.ts';
import type { RestoreContext } from '../file-kind.ts';
import { filesOfType } from '../files-of-type.ts';
import { planIntOption, planOption } from '../socket-options/plan-option.ts';
import { planBufferLock } from '../socket-options/socket-options.ts';
import { formatAddress, isMapped, packSockaddr } from './address.ts';
import { planTcpOptions } from './inet-options.ts';
import { ACK, FIN, packSegment, RST, type Segment } from './ip-packet.ts';
import { finsReceived, finsSent, isFinAcknowledged, isKept, notKept } from './tcp-state.ts';

/** "socket:[123] (127.0.0.1:80)", for messages. */
export function nameOf(entry: InetSkEntry): string {
  return `socket:[${entry.ino}] (${formatAddress(entry.family, { port: entry.src_port, words: entry.src_addr })})`;
}

/** A TCP connection, or what is left of one. */
export const isConnection = ({ type, proto, dst_port }: InetSkEntry) =>
  type === SOCKET.SOCK_STREAM && proto === INET.IPPROTO_TCP && dst_port !== 0;

/** A connection as its image has it. */
export interface Stream {
  readonly message: TcpStreamEntry;
  readonly received: Uint8Array;
  /** On its way, and not acknowledged. */
  readonly sent: Uint8Array;
  readonly unsent: Uint8Array;
}

/** Longer images are read one by one. */
const SMALL_BYTES = 1024;

/** Reads the images of all connections. */
const readStreams = contextState('TCP streams', ({ tree, images }): ReadStreams => {
  const names: string[] = [];
  for (const { isk } of filesOfType(tree.files, FdTypes.INETSK)) {
    if (isk !== undefined && isConnection(isk)) names.push(imageFileName('tcp-stream', isk.ino));
  }
  return { alike: names.length > 1 ? readAhead(images, names, SMALL_BYTES) : undefined, byInode: new Map() };
});

interface ReadStreams {
  readonly alike: AlikeImages | undefined;
  readonly byInode: Map<number, Stream | undefined>;
}

export function streamOf(entry: InetSkEntry, context: RestoreContext): Stream | undefined {
  const { alike, byInode } = readStreams(context);
  if (!byInode.has(entry.ino)) byInode.set(entry.ino, readStream(entry, context, alike));
  return byInode.get(entry.ino);
}

function readStream({ ino }: InetSkEntry, { images }: RestoreContext, alike?: AlikeImages): Stream | undefined {
  const [element] = images.tryRead('tcp-stream', ino, alike) ?? [];
  if (element === undefined) return undefined;
  const { message, payload } = element;
  const { inq_len, outq_len, unsq_len = 0 } = message;
  const sentEnd = inq_len + Math.max(outq_len - unsq_len, 0);
  // Most queues are empty, and a view for each would cost more than all the rest.
  const part = (start: number, end: number) => (start === end ? NOTHING : payload.subarray(start, end));
  return {
    message,
    received: part(0, inq_len),
    sent: part(inq_len, sentEnd),
    unsent: part(sentEnd, inq_len + outq_len),
  };
}

const NOTHING = new Uint8Array(0);

/** What speaks against restoring a connection. */
export function checkConnection(entry: InetSkEntry, context: RestoreContext): CriuErrorFields[] {
  const { tcpEstablished, tcpClose } = context.options;
  if (tcpClose === true) return [];
  if (tcpEstablished === true && isKept(entry.state) && streamOf(entry, context) !== undefined) return [];
  const [object, action] = [nameOf(entry), 'cannot be restored'];
  if (tcpEstablished !== true) {
    const why = 'it is a TCP connection';
    return [
      { object, action, why, remedy: 'keep it with --tcp-established, or let it come back closed with --tcp-close' },
    ];
  }
  if (!isKept(entry.state)) {
    return [{ object, action, why: notKept(entry.state), remedy: 'let it come back closed with --tcp-close' }];
  }
  const why = `tcp-stream-${entry.ino.toString(16)}.img is missing: the image is incomplete, or from a dump with --tcp-close`;
  return [{ object, action, why }];
}

/** The kernel doubles it. */
const LARGEST_BUFFER = 0x3fff_ffff;
const CHUNK_BYTES = 32 * 1024;
/** A queue that one call fills. */
export const isShort = (queue: Uint8Array) => queue.length <= CHUNK_BYTES;

/** What TCP_MAXSEG takes (include/net/tcp.h TCP_MIN_MSS, MAX_TCP_WINDOW). */
const MSS_MIN = 88;
const MSS_MAX = 32767;

const TCPOPT_MSS = 2;
const TCPOPT_WINDOW = 3;
const TCPOPT_SACK_PERM = 4;
const TCPOPT_TIMESTAMP = 8;

/** Plans connecting a new socket, which stays in repair mode. With --tcp-close it is closed instead. */
export function planConnection(
  table: FdTablePlan,
  fd: number,
  entry: InetSkEntry,
  what: string,
  context: RestoreContext,
): void {
  const stream = context.options.tcpClose === true ? undefined : streamOf(entry, context);
  if (stream === undefined) {
    if (entry.tcp_opts !== undefined) planTcpOptions(table, fd, entry.tcp_opts, what);
    table.doUnchecked(['shut down', what], SYS.shutdown, fd, SOCKET.SHUT_RDWR);
    return;
  }
  const { message, received, sent } = stream;
  const tcp = (option: number, value: number, name: string) =>
    planIntOption(table, fd, INET.SOL_TCP, option, value, ['set', name, 'of', what]);
  const room = (option: number, bytes: number) =>
    planIntOption(table, fd, SOCKET.SOL_SOCKET, option, bytes, ['make room in', what]);
  const rcvbuf = entry.opts.so_rcvbuf >>> 1;
  room(SOCKET.SO_SNDBUFFORCE, LARGEST_BUFFER);
  room(SOCKET.SO_RCVBUFFORCE, rcvbuf);
  tcp(INET.TCP_REPAIR, 1, 'repair mode');
  const source = packSockaddr(entry.family, { port: entry.src_port, words: entry.src_addr });
  table.doExpecting(['bind', what], 0, SYS.bind, fd, { bytes: source }, source.length);
  const first = firstNumbers(entry.state, message);
  tcp(INET.TCP_REPAIR_QUEUE, INET.TCP_SEND_QUEUE, 'queue');
  tcp(INET.TCP_QUEUE_SEQ, first.sent | 0, 'sent number');
  tcp(INET.TCP_REPAIR_QUEUE, INET.TCP_RECV_QUEUE, 'queue');
  tcp(INET.TCP_QUEUE_SEQ, first.received | 0, 'received number');
  if (entry.tcp_opts !== undefined) planTcpOptions(table, fd, entry.tcp_opts, what);
  if (entry.state === INET.TCP_SYN_SENT) return;
  // Segments are cut by the size that holds when it connects; TCP_REPAIR_OPTIONS comes too late for that.
  tcp(INET.TCP_MAXSEG, Math.min(Math.max(message.mss_clamp, MSS_MIN), MSS_MAX), 'segment size');
  planConnect(table, fd, entry, what);
  tcp(INET.TCP_MAXSEG, 0, 'segment size');
  planOption(table, fd, INET.SOL_TCP, INET.TCP_REPAIR_OPTIONS, packOptions(message), ['set TCP parameters of', what]);
  if (message.timestamp !== undefined) tcp(INET.TCP_TIMESTAMP, message.timestamp | 0, 'timestamp');
  if (received.length > 0) room(SOCKET.SO_RCVBUFFORCE, LARGEST_BUFFER);
  planSend(table, fd, received, what);
  if (sent.length > 0) {
    tcp(INET.TCP_REPAIR_QUEUE, INET.TCP_SEND_QUEUE, 'queue');
    planSend(table, fd, sent, what);
  }
  planWindow(table, fd, isHeldBack(entry) ? { ...message, snd_wnd: 0 } : message, finsReceived(entry.state), what);
  planEnds(table, fd, entry, stream, what);
  // Before anybody can send to it: an answer says how much may come, which cannot be taken back.
  if (received.length > 0) room(SOCKET.SO_RCVBUFFORCE, rcvbuf);
}

function planConnect(table: FdTablePlan, fd: number, entry: InetSkEntry, what: string): void {
  const { family, dst_port, dst_addr } = entry;
  const bytes = packSockaddr(family, { port: dst_port, words: dst_addr });
  table.doExpecting(['connect', what], 0, SYS.connect, fd, { bytes }, bytes.length);
}

/** The numbers before the first byte of each queue: the ends of the streams come after the last. */
export function firstNumbers(state: number, { inq_seq, inq_len, outq_seq, outq_len }: TcpStreamEntry) {
  const syn = state === INET.TCP_SYN_SENT ? 1 : 0;
  return {
    received: inq_seq - finsReceived(state) - inq_len,
    sent: outq_seq - finsSent(state) - outq_len - syn,
  };
}

/** See packWindow. */
function planWindow(table: FdTablePlan, fd: number, message: TcpStreamEntry, fin: number, what: string): void {
  if (message.snd_wnd === undefined) return;
  const bytes = packWindow(message, fin);
  planOption(table, fd, INET.SOL_TCP, INET.TCP_REPAIR_WINDOW, bytes, ['set the window of', what]);
}

/** struct tcp_repair_window. A FIN that was received takes a place in the window, and may come after it is set (`fin`). */
export function packWindow(message: TcpStreamEntry, fin: number): Uint8Array {
  const { snd_wl1 = 0, snd_wnd = 0, max_window = 0, rcv_wnd = 0, rcv_wup = 0 } = message;
  return bytesOfWords(snd_wl1, snd_wnd, max_window, rcv_wnd + fin, rcv_wup - fin);
}

/**
 * CLOSING is reached only when our own end of the stream came first, after all data. It may not have been sent yet, and the
 * kernel takes unsent data only outside of repair mode: so there is no room for it until the network is unlocked.
 */
const isHeldBack = ({ state }: InetSkEntry) => state === INET.TCP_CLOSING;

/**
 * Plans the ends of the streams, in the order in which they came. What was received is a packet made by hand. Our own, if
 * the other side may not know it yet, is sent when the network is unlocked.
 */
function planEnds(table: FdTablePlan, fd: number, entry: InetSkEntry, { message, unsent }: Stream, what: string): void {
  const { state } = entry;
  const sequence = message.inq_seq - finsReceived(state);
  const sent = message.outq_seq - finsSent(state);
  const window = isHeldBack(entry) ? 0 : (message.rcv_wnd ?? 0);
  const shutDown = () => {
    planIntOption(table, fd, INET.SOL_TCP, INET.TCP_REPAIR_QUEUE, INET.TCP_SEND_QUEUE, ['set queue of', what]);
    table.doExpecting(['shut down', what], 0, SYS.shutdown, fd, SOCKET.SHUT_WR);
    planIntOption(table, fd, INET.SOL_TCP, INET.TCP_REPAIR_QUEUE, INET.TCP_NO_QUEUE, ['set queue of', what]);
  };
  if (message.reset_ext === true) {
    planPacket(table, entry, { sequence, acknowledged: sent - message.outq_len, flags: RST | ACK, window }, what);
    return;
  }
  if (state === INET.TCP_FIN_WAIT2) shutDown();
  if (isHeldBack(entry)) {
    const repair = (value: number) => planIntOption(table, fd, INET.SOL_TCP, INET.TCP_REPAIR, value, ['close', what]);
    repair(INET.TCP_REPAIR_OFF_NO_WP);
    planSend(table, fd, unsent, what);
    table.doExpecting(['shut down', what], 0, SYS.shutdown, fd, SOCKET.SHUT_WR);
    repair(1);
  }
  if (finsReceived(state) > 0) {
    const acknowledged = sent - message.outq_len;
    planPacket(table, entry, { sequence, acknowledged, flags: FIN | ACK, window }, what);
  }
  if (state === INET.TCP_CLOSE) shutDown();
  if (isFinAcknowledged(state)) {
    const after = sequence + finsReceived(state);
    planPacket(table, entry, { sequence: after, acknowledged: sent + 1, flags: ACK, window }, what);
  }
}

type Numbers = Pick<Segment, 'sequence' | 'acknowledged' | 'flags' | 'window'>;

/** Plans sending a packet to our socket as if it came from the other side, past the network lock. */
function planPacket(table: FdTablePlan, entry: InetSkEntry, numbers: Numbers, what: string): void {
  const isV4 = entry.family === SOCKET.AF_INET || isMapped(entry.dst_addr);
  const words = (address: readonly number[]) => (isV4 ? address.slice(-1) : address);
  const to = { words: words(entry.src_addr), port: entry.src_port };
  const bytes = packSegment({ ...numbers, from: { words: words(entry.dst_addr), port: entry.dst_port }, to });
  const family = isV4 ? SOCKET.AF_INET : SOCKET.AF_INET6;
  const because = ['send a packet to', what] as const;
  const fd = table.open(because, SYS.socket, family, SOCKET.SOCK_RAW | SOCKET.SOCK_CLOEXEC, INET.IPPROTO_RAW);
  planIntOption(table, fd, SOCKET.SOL_SOCKET, SOCKET.SO_MARK, UNLOCKED_MARK, because);
  if (entry.ifname !== undefined) {
    const name = Buffer.from(`${entry.ifname}\0`, 'latin1');
    planOption(table, fd, SOCKET.SOL_SOCKET, SOCKET.SO_BINDTODEVICE, name, because);
  }
  const address = packSockaddr(family, { port: 0, words: to.words });
  table.doExpecting(because, 0, SYS.connect, fd, { bytes: address }, address.length);
  table.doExpecting(because, bytes.length, SYS.write, fd, { bytes }, bytes.length);
  table.close(fd);
}

/** struct tcp_repair_opt: pairs of code and value. */
function packOptions({ opt_mask, snd_wscale, rcv_wscale = 0, mss_clamp }: TcpStreamEntry): Uint8Array {
  const pairs: number[] = [];
  if ((opt_mask & INET.TCPI_OPT_SACK) !== 0) pairs.push(TCPOPT_SACK_PERM, 0);
  if ((opt_mask & INET.TCPI_OPT_WSCALE) !== 0) pairs.push(TCPOPT_WINDOW, snd_wscale | (rcv_wscale << 16));
  if ((opt_mask & INET.TCPI_OPT_TIMESTAMPS) !== 0) pairs.push(TCPOPT_TIMESTAMP, 0);
  pairs.push(TCPOPT_MSS, mss_clamp);
  return bytesOfWords(...pairs);
}

function planSend(table: FdTablePlan, fd: number, queue: Uint8Array, what: string): void {
  for (let at = 0; at < queue.length; at += CHUNK_BYTES) {
    const bytes = queue.subarray(at, at + CHUNK_BYTES);
    // Without an address: sendto(2) has six arguments, and an expected result takes the place of the last.
    const flags = SOCKET.MSG_DONTWAIT | SOCKET.MSG_NOSIGNAL;
    table.doExpecting(['fill', what], bytes.length, SYS.sendto, fd, { bytes }, bytes.length, flags);
  }
}

/** Neither data nor the end of the stream, so that nothing is left to be done but to end repair mode. */
export const hasNothingToSend = (entry: InetSkEntry, context: RestoreContext) =>
  entry.state === INET.TCP_ESTABLISHED && streamOf(entry, context)?.unsent.length === 0;

/** When all sockets of the tree are there, and the network is unlocked: lets the connection speak again. */
export function finishConnection(
  table: FdTablePlan,
  fd: number,
  entry: InetSkEntry,
  what: string,
  context: RestoreContext,
) {
  const { opts, tcp_opts, state, flags } = entry;
  const stream = context.options.tcpClose === true ? undefined : streamOf(entry, context);
  const set = (option: number, value: number) =>
    planIntOption(table, fd, SOCKET.SOL_SOCKET, option, value, ['set options of', what]);
  const isHeld = stream !== undefined && isHeldBack(entry);
  if (isHeld) planWindow(table, fd, stream.message, 0, what);
  if (stream !== undefined) {
    planIntOption(table, fd, INET.SOL_TCP, INET.TCP_REPAIR, 0, ['end repair mode of', what]);
  }
  // Leaving repair mode clears it.
  if (opts.reuseaddr === true) set(SOCKET.SO_REUSEADDR, 1);
  if (opts.so_reuseport === true) set(SOCKET.SO_REUSEPORT, 1);
  if (stream === undefined) return;
  if (state === INET.TCP_SYN_SENT) planSyn(table, fd, entry, what);
  if (isHeld) {
    // Pulling the cork sends all that there is room for; when it was in, it has nothing to hold back any more.
    for (const cork of tcp_opts?.cork === true ? [0, 1] : [0]) {
      planIntOption(table, fd, INET.SOL_TCP, INET.TCP_CORK, cork, ['send the end of', what]);
    }
  } else planSend(table, fd, stream.unsent, what);
  set(SOCKET.SO_SNDBUFFORCE, opts.so_sndbuf >>> 1);
  planBufferLock(table, fd, opts, what);
  if (state === INET.TCP_FIN_WAIT1 || state === INET.TCP_LAST_ACK) {
    table.doExpecting(['shut down', what], 0, SYS.shutdown, fd, SOCKET.SHUT_WR);
  }
  if (state === INET.TCP_SYN_SENT && (flags & O_NONBLOCK) === 0) {
    table.do(['set the flags of', what], SYS.fcntl, fd, F_SETFL, flags & SETFL_MASK);
  }
}

/** Asks for the connection once more, with the same number, and does not wait for it: EINPROGRESS. */
function planSyn(table: FdTablePlan, fd: number, entry: InetSkEntry, what: string): void {
  const flags = (entry.flags & SETFL_MASK) | O_NONBLOCK;
  table.do(['set the flags of', what], SYS.fcntl, fd, F_SETFL, flags);
  const bytes = packSockaddr(entry.family, { port: entry.dst_port, words: entry.dst_addr });
  table.doUnchecked(['connect', what], SYS.connect, fd, { bytes }, bytes.length);
}
