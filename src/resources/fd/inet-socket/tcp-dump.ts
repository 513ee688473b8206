/**
 * Established TCP connections of a tree: tcp-stream images.
 *
 * All of them are put into repair mode first: then closing one sends nothing, and the kernel gives out its numbers.
 * What waits to be sent is read before what has been received: bytes that arrive in between are on both sides, and TCP
 * drops what comes twice. Only connections between sockets of the tree are safe without holding back packets from
 * others, who would be told that nobody is there.
 */
import { type CriuErrorFields, SyscallError } from '../../../base/errors.ts';
import type { InetSkEntry } from '../../../image/gen/sk-inet.ts';
import type { TcpStreamEntry } from '../../../image/gen/tcp-stream.ts';
import { F_DUPFD_CLOEXEC } from '../../../linux/abi/fcntl.ts';
import * as INET from '../../../linux/abi/inet.ts';
import { MSG_DONTWAIT, MSG_PEEK, SO_REUSEADDR, SOL_SOCKET } from '../../../linux/abi/socket.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { check, syscall } from '../../../linux/kernel.ts';
import { close, fcntl, ioctl } from '../../../linux/syscalls/fs.ts';
import { getsockoptInt, tryGetsockopt } from '../../../linux/syscalls/socket.ts';
import type { KindDump, OpenFile } from '../file-kind.ts';
import { endsOf } from './address.ts';

interface Connection {
  readonly entry: InetSkEntry;
  /** A duplicate of ours. */
  readonly fd: number;
  readonly object: string;
}

const connectionsOf = (dump: KindDump): Connection[] => dump.state('TCP connections', () => []);

/** Ports of the tree where connections wait that --skip-in-flight lets go: their other ends have nobody to wait for. */
export const forgottenPorts = (dump: KindDump): Set<number> => dump.state('forgotten ports', () => new Set());

function setInt(fd: number, level: number, option: number, value: number): void {
  const bytes = Int32Array.of(value);
  check('setsockopt', syscall(SYS.setsockopt, fd, level, option, bytes, 4), `${level}, ${option}, ${value}`);
}

/** Puts the connection into repair mode until the tree is gone or goes on. Throws SyscallError. */
export function holdConnection(file: OpenFile, entry: InetSkEntry, dump: KindDump): void {
  const fd = check('fcntl', fcntl(file.localFd, F_DUPFD_CLOEXEC, 0), 'F_DUPFD_CLOEXEC');
  dump.onRollback(() => close(fd));
  setInt(fd, INET.SOL_TCP, INET.TCP_REPAIR, 1);
  dump.onRollback(() => {
    setInt(fd, INET.SOL_TCP, INET.TCP_REPAIR, 0);
    // Leaving repair mode clears it.
    if (entry.opts.reuseaddr === true) setInt(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  });
  connectionsOf(dump).push({ entry, fd, object: file.object });
}

/** When all are held: reads them, and adds their images. */
export function saveConnections(dump: KindDump): void {
  const connections = connectionsOf(dump);
  if (dump.options.networkLock !== 'skip') {
    const keys = new Set(connections.map(({ entry }) => endsOf(entry).join(' ')));
    for (const connection of connections) {
      const isInside = keys.has(endsOf(connection.entry).reverse().join(' '));
      const isForgotten = forgottenPorts(dump).has(connection.entry.dst_port);
      if (!isInside && !isForgotten) dump.addProblem(outside(connection));
    }
  }
  const sending = connections.map((connection) => attempt(connection, dump, readSendQueue));
  connections.forEach((connection, i) => {
    const sent = sending[i];
    const stream = sent && attempt(connection, dump, (fd) => readStream(fd, sent));
    if (stream === undefined) return;
    dump.addImage((images) => images.write('tcp-stream', connection.entry.ino, [stream]));
  });
}

function attempt<T>({ fd, object }: Connection, dump: KindDump, action: (fd: number) => T): T | undefined {
  try {
    return action(fd);
  } catch (error) {
    if (!(error instanceof SyscallError)) throw error;
    dump.addProblem({ object, action: 'cannot be dumped: this TCP connection cannot be read', cause: error });
    return undefined;
  }
}

function readStream(fd: number, sent: SendQueue): { message: TcpStreamEntry; payload: Uint8Array } {
  const { queue: inq, sequence: inq_seq } = readQueue(fd, INET.TCP_RECV_QUEUE, readCount(fd, INET.SIOCINQ));
  const message: TcpStreamEntry = {
    inq_len: inq.length,
    inq_seq,
    outq_len: sent.queue.length,
    outq_seq: sent.sequence,
    unsq_len: sent.unsent,
    ...readParameters(fd),
    ...readWindow(fd),
  };
  return { message, payload: Buffer.concat([inq, sent.queue]) };
}

function outside({ object, entry }: Connection): CriuErrorFields {
  const [from, to] = endsOf(entry);
  return {
    object,
    action: 'cannot be dumped',
    why: `the other end of this TCP connection (${from} to ${to}) is not in the tree, and its packets cannot be held back yet`,
    remedy: 'close the connection, or let its other end find nobody until the restore: --network-lock skip',
  };
}

function readCount(fd: number, request: number): number {
  const count = new Int32Array(1);
  check('ioctl', ioctl(fd, request, count), `${fd}, ${request}`);
  return count[0] ?? 0;
}

function readSendQueue(fd: number): SendQueue {
  const unsent = readCount(fd, INET.SIOCOUTQNSD);
  return { ...readQueue(fd, INET.TCP_SEND_QUEUE, readCount(fd, INET.SIOCOUTQ)), unsent };
}

interface Queue {
  readonly queue: Uint8Array;
  readonly sequence: number;
}

interface SendQueue extends Queue {
  readonly unsent: number;
}

/** Content and final sequence number of a queue. */
function readQueue(fd: number, which: number, bytes: number): Queue {
  setInt(fd, INET.SOL_TCP, INET.TCP_REPAIR_QUEUE, which);
  const sequence = getsockoptInt(fd, INET.SOL_TCP, INET.TCP_QUEUE_SEQ) >>> 0;
  const queue = new Uint8Array(bytes);
  if (bytes > 0) {
    const got = syscall(SYS.recvfrom, fd, queue, bytes, MSG_PEEK | MSG_DONTWAIT, 0, 0);
    check('recvfrom', got, `${fd}, ${bytes} bytes of queue ${which}`);
    return { queue: queue.subarray(0, got), sequence };
  }
  return { queue, sequence };
}

/** struct tcp_info: what both sides agreed on. */
function readParameters(fd: number) {
  const info = new Uint8Array(8);
  check('getsockopt', tryGetsockopt(fd, INET.SOL_TCP, INET.TCP_INFO, info), 'TCP_INFO');
  const [, , , , , opt_mask = 0, scales = 0] = info;
  const hasScales = (opt_mask & INET.TCPI_OPT_WSCALE) !== 0;
  const hasTimestamps = (opt_mask & INET.TCPI_OPT_TIMESTAMPS) !== 0;
  return {
    opt_mask,
    snd_wscale: hasScales ? scales & 0xf : 0,
    ...(hasScales ? { rcv_wscale: scales >>> 4 } : {}),
    ...(hasTimestamps ? { timestamp: getsockoptInt(fd, INET.SOL_TCP, INET.TCP_TIMESTAMP) >>> 0 } : {}),
    mss_clamp: getsockoptInt(fd, INET.SOL_TCP, INET.TCP_MAXSEG),
  };
}

/** struct tcp_repair_window (4.8). */
function readWindow(fd: number): Partial<TcpStreamEntry> {
  const words = new Uint32Array(5);
  if (tryGetsockopt(fd, INET.SOL_TCP, INET.TCP_REPAIR_WINDOW, new Uint8Array(words.buffer)) < 0) return {};
  const [snd_wl1 = 0, snd_wnd = 0, max_window = 0, rcv_wnd = 0, rcv_wup = 0] = words;
  return { snd_wl1, snd_wnd, max_window, rcv_wnd, rcv_wup };
}
