/** Established TCP connections: the steps that make a socket connected without a word to the other side. Pure. */
import type { CriuErrorFields } from '../../../base/errors.ts';
import type { InetSkEntry } from '../../../image/gen/sk-inet.ts';
import type { TcpStreamEntry } from '../../../image/gen/tcp-stream.ts';
import * as INET from '../../../linux/abi/inet.ts';
import * as SOCKET from '../../../linux/abi/socket.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import type { FdTablePlan } from '../fd-table/fd-table-plan.ts';
import type { RestoreContext } from '../file-kind.ts';
import { planIntOption, planOption } from '../socket-options/plan-option.ts';
import { planBuffers } from '../socket-options/socket-options.ts';
import { packSockaddr } from './address.ts';
import { planTcpOptions } from './inet-options.ts';
import { stateNotYet } from './tcp-state.ts';

/** A connection as its image has it. */
interface Stream {
  readonly message: TcpStreamEntry;
  readonly received: Uint8Array;
  /** On its way, and not acknowledged. */
  readonly sent: Uint8Array;
  readonly unsent: Uint8Array;
}

function streamOf(entry: InetSkEntry, context: RestoreContext): Stream | undefined {
  return context.state(`TCP stream ${entry.ino}`, () => {
    const [element] = context.images.tryRead('tcp-stream', entry.ino) ?? [];
    if (element === undefined) return undefined;
    const { message, payload } = element;
    const { inq_len, outq_len, unsq_len = 0 } = message;
    const sentEnd = inq_len + Math.max(outq_len - unsq_len, 0);
    return {
      message,
      received: payload.subarray(0, inq_len),
      sent: payload.subarray(inq_len, sentEnd),
      unsent: payload.subarray(sentEnd, inq_len + outq_len),
    };
  });
}

/** What speaks against restoring a connection. */
export function checkConnection(entry: InetSkEntry, object: string, context: RestoreContext): CriuErrorFields[] {
  const action = 'cannot be restored';
  const { tcpEstablished, tcpClose } = context.options;
  if (tcpClose === true) return [];
  if (tcpEstablished !== true) {
    const why = 'it is a TCP connection';
    return [
      { object, action, why, remedy: 'keep it with --tcp-established, or let it come back closed with --tcp-close' },
    ];
  }
  if (entry.state !== INET.TCP_ESTABLISHED) {
    return [{ object, action, why: stateNotYet(entry.state), remedy: 'let it come back closed with --tcp-close' }];
  }
  if (streamOf(entry, context) !== undefined) return [];
  const why = `tcp-stream-${entry.ino.toString(16)}.img is missing: the image is incomplete, or from a dump with --tcp-close`;
  return [{ object, action, why }];
}

/** The kernel doubles it. */
const LARGEST_BUFFER = 0x3fff_ffff;
const CHUNK_BYTES = 32 * 1024;

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
    table.doUnchecked(`shut down ${what}`, SYS.shutdown, fd, SOCKET.SHUT_RDWR);
    return;
  }
  const { message, received, sent } = stream;
  const tcp = (option: number, value: number, name: string) =>
    planIntOption(table, fd, INET.SOL_TCP, option, value, `set ${name} of ${what}`);
  for (const option of [SOCKET.SO_SNDBUFFORCE, SOCKET.SO_RCVBUFFORCE]) {
    planIntOption(table, fd, SOCKET.SOL_SOCKET, option, LARGEST_BUFFER, `make room in ${what}`);
  }
  tcp(INET.TCP_REPAIR, 1, 'repair mode');
  const source = packSockaddr(entry.family, { port: entry.src_port, words: entry.src_addr });
  table.doExpecting(`bind ${what}`, 0, SYS.bind, fd, { bytes: source }, source.length);
  tcp(INET.TCP_REPAIR_QUEUE, INET.TCP_RECV_QUEUE, 'queue');
  tcp(INET.TCP_QUEUE_SEQ, (message.inq_seq - message.inq_len) | 0, 'received number');
  tcp(INET.TCP_REPAIR_QUEUE, INET.TCP_SEND_QUEUE, 'queue');
  tcp(INET.TCP_QUEUE_SEQ, (message.outq_seq - message.outq_len) | 0, 'sent number');
  // Segments are cut by the size that holds when it connects; TCP_REPAIR_OPTIONS comes too late for that.
  tcp(INET.TCP_MAXSEG, Math.min(Math.max(message.mss_clamp, MSS_MIN), MSS_MAX), 'segment size');
  const destination = packSockaddr(entry.family, { port: entry.dst_port, words: entry.dst_addr });
  table.doExpecting(`connect ${what}`, 0, SYS.connect, fd, { bytes: destination }, destination.length);
  tcp(INET.TCP_MAXSEG, 0, 'segment size');
  planOption(table, fd, INET.SOL_TCP, INET.TCP_REPAIR_OPTIONS, packOptions(message), `set TCP parameters of ${what}`);
  if (message.timestamp !== undefined) tcp(INET.TCP_TIMESTAMP, message.timestamp | 0, 'timestamp');
  planQueue(table, fd, INET.TCP_RECV_QUEUE, received, what);
  planQueue(table, fd, INET.TCP_SEND_QUEUE, sent, what);
  if (message.snd_wnd !== undefined) {
    const { snd_wl1 = 0, snd_wnd, max_window = 0, rcv_wnd = 0, rcv_wup = 0 } = message;
    const window = new Uint8Array(Uint32Array.of(snd_wl1, snd_wnd, max_window, rcv_wnd, rcv_wup).buffer);
    planOption(table, fd, INET.SOL_TCP, INET.TCP_REPAIR_WINDOW, window, `set the window of ${what}`);
  }
}

/** struct tcp_repair_opt: pairs of code and value. */
function packOptions({ opt_mask, snd_wscale, rcv_wscale = 0, mss_clamp }: TcpStreamEntry): Uint8Array {
  const pairs: number[] = [];
  if ((opt_mask & INET.TCPI_OPT_SACK) !== 0) pairs.push(TCPOPT_SACK_PERM, 0);
  if ((opt_mask & INET.TCPI_OPT_WSCALE) !== 0) pairs.push(TCPOPT_WINDOW, snd_wscale | (rcv_wscale << 16));
  if ((opt_mask & INET.TCPI_OPT_TIMESTAMPS) !== 0) pairs.push(TCPOPT_TIMESTAMP, 0);
  pairs.push(TCPOPT_MSS, mss_clamp);
  return new Uint8Array(Uint32Array.from(pairs).buffer);
}

function planQueue(table: FdTablePlan, fd: number, which: number, queue: Uint8Array, what: string): void {
  if (queue.length === 0) return;
  planIntOption(table, fd, INET.SOL_TCP, INET.TCP_REPAIR_QUEUE, which, `set queue of ${what}`);
  planSend(table, fd, queue, what);
}

function planSend(table: FdTablePlan, fd: number, queue: Uint8Array, what: string): void {
  for (let at = 0; at < queue.length; at += CHUNK_BYTES) {
    const bytes = queue.subarray(at, at + CHUNK_BYTES);
    // Without an address: sendto(2) has six arguments, and an expected result takes the place of the last.
    table.doExpecting(`fill ${what}`, bytes.length, SYS.write, fd, { bytes }, bytes.length);
  }
}

/** When all sockets of the tree are there: lets the connection speak again. */
export function finishConnection(
  table: FdTablePlan,
  fd: number,
  entry: InetSkEntry,
  what: string,
  context: RestoreContext,
) {
  const stream = context.options.tcpClose === true ? undefined : streamOf(entry, context);
  const reuse = (option: number) => planIntOption(table, fd, SOCKET.SOL_SOCKET, option, 1, `set options of ${what}`);
  if (stream !== undefined) {
    // The first word to the other side says how much it may send: no more than there will be room for.
    const half = entry.opts.so_rcvbuf >>> 1;
    planIntOption(table, fd, SOCKET.SOL_SOCKET, SOCKET.SO_RCVBUFFORCE, half, `set so_rcvbuf of ${what}`);
    planIntOption(table, fd, INET.SOL_TCP, INET.TCP_REPAIR, 0, `end repair mode of ${what}`);
    planSend(table, fd, stream.unsent, what);
    planBuffers(table, fd, entry.opts, what);
  }
  // Leaving repair mode clears it.
  if (entry.opts.reuseaddr === true) reuse(SOCKET.SO_REUSEADDR);
  if (entry.opts.so_reuseport === true) reuse(SOCKET.SO_REUSEPORT);
  if (entry.tcp_opts !== undefined) planTcpOptions(table, fd, entry.tcp_opts, what);
}
