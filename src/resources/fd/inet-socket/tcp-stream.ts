/**
 * What the kernel tells of a TCP connection in repair mode (TCP_REPAIR, since 3.5): its numbers, windows and queues.
 *
 * Packets may arrive while it is read, for repair mode does not stop the receiving side. So it is read until the numbers
 * are the same before and after.
 */
import { SyscallError } from '../../../base/errors.ts';
import type { TcpStreamEntry } from '../../../image/gen/tcp-stream.ts';
import { ERRNO } from '../../../linux/abi/errno.ts';
import * as INET from '../../../linux/abi/inet.ts';
import { MSG_DONTWAIT, MSG_PEEK } from '../../../linux/abi/socket.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { check, syscall } from '../../../linux/kernel.ts';
import { ioctl } from '../../../linux/syscalls/fs.ts';
import { getsockoptInt, tryGetsockopt } from '../../../linux/syscalls/socket.ts';
import { finsSent } from './tcp-state.ts';

/** A queue, and numbers of tcp_stream_entry about it. */
export interface Queue<T> {
  readonly numbers: T;
  readonly bytes: Uint8Array;
}

export type Sending = Queue<Pick<TcpStreamEntry, 'outq_len' | 'outq_seq' | 'unsq_len'> & { readonly state: number }>;
export type Receiving = Queue<Omit<TcpStreamEntry, 'outq_len' | 'outq_seq' | 'unsq_len'>>;

/** What the other side has not acknowledged yet, sent or not, and the state. Throws SyscallError. */
export function readSending(fd: number): Sending {
  const numbers = () => {
    const { state } = readParameters(fd);
    // The end of the stream is counted, but it is no byte. What a closed connection had to send is lost.
    const fin = finsSent(state);
    const count = (request: number) => (state === INET.TCP_CLOSE ? 0 : Math.max(readCount(fd, request) - fin, 0));
    const outq_seq = readSequence(fd, INET.TCP_SEND_QUEUE);
    return { state, outq_len: count(INET.SIOCOUTQ), outq_seq, unsq_len: count(INET.SIOCOUTQNSD) };
  };
  return readWhole(fd, numbers, INET.TCP_SEND_QUEUE, ({ outq_len }) => outq_len);
}

/** What the program has not read yet, and all else that the image has. Throws SyscallError. */
export function readReceiving(fd: number): Receiving {
  const numbers = () => ({
    inq_len: readCount(fd, INET.SIOCINQ),
    inq_seq: readSequence(fd, INET.TCP_RECV_QUEUE),
    ...readWindow(fd),
  });
  const queue = readWhole(fd, numbers, INET.TCP_RECV_QUEUE, ({ inq_len }) => inq_len);
  const { state, ...parameters } = readParameters(fd);
  return { ...queue, numbers: { ...queue.numbers, ...parameters } };
}

const TRIES = 50;

function readWhole<T extends object>(fd: number, read: () => T, which: number, lengthOf: (numbers: T) => number) {
  for (let tries = 0; tries < TRIES; tries++) {
    const numbers = read();
    const bytes = readQueue(fd, which, lengthOf(numbers));
    if (bytes.length === lengthOf(numbers) && Bun.deepEquals(numbers, read())) return { numbers, bytes };
  }
  throw new SyscallError('recvfrom', ERRNO.EAGAIN, 'EAGAIN', `${fd}, its queue changes all the time`);
}

function readCount(fd: number, request: number): number {
  const count = new Int32Array(1);
  check('ioctl', ioctl(fd, request, count), `${fd}, ${request}`);
  return count[0] ?? 0;
}

export function setTcpOption(fd: number, option: number, value: number): void {
  const bytes = Int32Array.of(value);
  check('setsockopt', syscall(SYS.setsockopt, fd, INET.SOL_TCP, option, bytes, 4), `SOL_TCP, ${option}, ${value}`);
}

/** The number after the last byte of a queue. */
function readSequence(fd: number, queue: number): number {
  setTcpOption(fd, INET.TCP_REPAIR_QUEUE, queue);
  return getsockoptInt(fd, INET.SOL_TCP, INET.TCP_QUEUE_SEQ) >>> 0;
}

function readQueue(fd: number, which: number, bytes: number): Uint8Array {
  if (bytes === 0) return new Uint8Array(0);
  setTcpOption(fd, INET.TCP_REPAIR_QUEUE, which);
  const queue = new Uint8Array(bytes);
  const got = syscall(SYS.recvfrom, fd, queue, bytes, MSG_PEEK | MSG_DONTWAIT, 0, 0);
  check('recvfrom', got, `${fd}, ${bytes} bytes of queue ${which}`);
  return queue.subarray(0, got);
}

/** struct tcp_info: the state, and what both sides agreed on. */
function readParameters(fd: number) {
  const info = new Uint8Array(8);
  check('getsockopt', tryGetsockopt(fd, INET.SOL_TCP, INET.TCP_INFO, info), 'TCP_INFO');
  const [state = 0, , , , , opt_mask = 0, scales = 0] = info;
  const hasScales = (opt_mask & INET.TCPI_OPT_WSCALE) !== 0;
  const hasTimestamps = (opt_mask & INET.TCPI_OPT_TIMESTAMPS) !== 0;
  return {
    state,
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
