/**
 * What the kernel tells of TCP connections in repair mode (TCP_REPAIR, since 3.5): their numbers, windows and queues.
 *
 * A connection that stays in repair mode is lost to the program. So each is in it only while it is read, by a program that
 * is done to its end even if we are killed. Packets may arrive meanwhile when the network is not locked, for repair mode
 * does not stop the receiving side: then the numbers before and after differ, and it is read again.
 */
import { Program } from '../../../agent/program.ts';
import { setWord } from '../../../base/bytes.ts';
import { SyscallError } from '../../../base/errors.ts';
import type { TcpStreamEntry } from '../../../image/gen/tcp-stream.ts';
import { ERRNO, errnoName } from '../../../linux/abi/errno.ts';
import * as INET from '../../../linux/abi/inet.ts';
import { MSG_DONTWAIT, MSG_PEEK, SO_REUSEADDR, SOL_SOCKET } from '../../../linux/abi/socket.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { addressOf, check } from '../../../linux/kernel.ts';
import { ioctl } from '../../../linux/syscalls/fs.ts';
import { Columns } from '../../../tracee/columns.ts';
import { runTableOutliving } from '../../../tracee/outliving.ts';
import { finsSent } from './tcp-state.ts';

/** A connection to be read, by a descriptor of ours. */
export interface Readable {
  readonly fd: number;
  /** Leaving repair mode clears it. */
  readonly reuseAddress: boolean;
  /** How long its queues probably are; they are asked for that where nobody knows. */
  readonly sendBytes: number | undefined;
  readonly receiveBytes: number | undefined;
}

/** A queue, and numbers of tcp_stream_entry about it. */
interface Queue<T> {
  readonly numbers: T;
  readonly bytes: Uint8Array;
}

export type Sending = Queue<Pick<TcpStreamEntry, 'outq_len' | 'outq_seq' | 'unsq_len'> & { readonly state: number }>;
export type Receiving = Queue<Omit<TcpStreamEntry, 'outq_len' | 'outq_seq' | 'unsq_len'>>;

/** What other sides have not acknowledged yet, sent or not, and the states. Throws SyscallError. */
export const readSending = (connections: readonly Readable[]): Sending[] =>
  readAll(connections, INET.SIOCOUTQ, ({ sendBytes }) => sendBytes, sendingTable(connections.length));

/** What the program has not read yet, and all else that images have. Throws SyscallError. */
export const readReceiving = (connections: readonly Readable[]): Receiving[] =>
  readAll(connections, INET.SIOCINQ, ({ receiveBytes }) => receiveBytes, receivingTable(connections.length));

/** So many connections, and so much of their queues, are read at once. */
const ROWS_MAX = 256;
const ROOM_BYTES = 32 << 20;
const TRIES = 50;

function readAll<T>(
  connections: readonly Readable[],
  sizeOf: number,
  likelySize: (readable: Readable) => number | undefined,
  table: RepairTable<T>,
): T[] {
  const answers: T[] = [];
  let askedOnce = 0;
  for (let tries = 0, at = 0; at < connections.length; tries++) {
    const asked: Readable[] = [];
    const lengths: number[] = [];
    for (let bytes = 0; at + asked.length < connections.length && asked.length < table.rows && bytes < ROOM_BYTES; ) {
      const readable = connections[at + asked.length];
      if (readable === undefined) break;
      const likely = at + asked.length < askedOnce ? undefined : likelySize(readable);
      const length = likely ?? readCount(readable.fd, sizeOf);
      bytes += length;
      asked.push(readable);
      lengths.push(length);
    }
    askedOnce = Math.max(askedOnce, at + asked.length);
    table.run(asked, lengths);
    for (let row = 0; row < asked.length; row++) {
      const value = table.answer(row);
      if (value === undefined) break;
      answers.push(value);
    }
    if (answers.length > at) tries = 0;
    at = answers.length;
    if (tries === TRIES) throw new SyscallError('recvfrom', ERRNO.EAGAIN, 'EAGAIN', 'a queue changes all the time');
  }
  return answers;
}

const count = new Int32Array(1);

function readCount(fd: number, request: number): number {
  check('ioctl', ioctl(fd, request, count), `${fd}, ${request}`);
  return count[0] ?? 0;
}

/** The first 8 bytes of struct tcp_info. */
const INFO_BYTES = 8;
/** struct tcp_repair_window (4.8). */
const WINDOW_BYTES = 20;
const NO_FD = -1;

/** Calls that have to succeed. */
type Must = 'begin' | 'counted' | 'counted2' | 'selected' | 'end' | 'reuse';
type Column =
  | Must
  | 'fd'
  | 'peekFd'
  | 'reuseFd'
  | 'room'
  | 'length'
  | 'count'
  | 'count2'
  | 'sequence'
  | 'got'
  | 'again'
  | 'info'
  | 'timestamp'
  | 'mss'
  | 'window';

/** Questions to connections, each of which is in repair mode from the first call of its row to the last. */
abstract class RepairTable<T> {
  readonly #columns: Columns<Column>;
  /** All queues that were read in the last run, and where in it each begins. */
  #room = new Uint8Array(0);
  readonly #starts: number[] = [];
  readonly rows: number;

  /** `queue` and `counts`: which queue is read, and the numbers that ioctl(2) tells about it. */
  constructor(rows: number, queue: number, counts: readonly [number, number]) {
    const program = new Program();
    const [fd, peekFd, reuseFd] = [program.words(0), program.words(0), program.words(0)];
    const [room, length] = [program.words(0), program.words(0)];
    const at = program.wordAt(fd);
    const set = (option: number, value: number) =>
      program.call(SYS.setsockopt, at, INET.SOL_TCP, option, program.int(value), 4);
    const get = (option: number, bytes: number) => {
      const place = program.reserve(bytes);
      program.call(SYS.getsockopt, at, INET.SOL_TCP, option, place, program.words(bytes));
      return place;
    };
    const [count, count2] = [program.reserve(4), program.reserve(4)];
    const begin = set(INET.TCP_REPAIR, 1);
    const window = get(INET.TCP_REPAIR_WINDOW, WINDOW_BYTES);
    const info = get(INET.TCP_INFO, INFO_BYTES);
    const counted = program.call(SYS.ioctl, at, counts[0], count);
    const counted2 = program.call(SYS.ioctl, at, counts[1], count2);
    const selected = set(INET.TCP_REPAIR_QUEUE, queue);
    const sequence = get(INET.TCP_QUEUE_SEQ, 4);
    const flags = MSG_PEEK | MSG_DONTWAIT;
    const [target, bytes] = [program.wordAt(room), program.wordAt(length)];
    const got = program.call(SYS.recvfrom, program.wordAt(peekFd), target, bytes, flags, 0, 0);
    const again = get(INET.TCP_QUEUE_SEQ, 4);
    const timestamp = get(INET.TCP_TIMESTAMP, 4);
    const mss = get(INET.TCP_MAXSEG, 4);
    // Without a word to the other side.
    const end = set(INET.TCP_REPAIR, INET.TCP_REPAIR_OFF_NO_WP);
    const one = program.int(1);
    const reuse = program.call(SYS.setsockopt, program.wordAt(reuseFd), SOL_SOCKET, SO_REUSEADDR, one, 4);
    const asked = { fd, peekFd, reuseFd, room, length };
    const told = { count, count2, sequence, got, again, info, timestamp, mss, window };
    const columns = { ...asked, ...told, begin, counted, counted2, selected, end, reuse };
    this.#columns = new Columns(program, rows, columns, 'exit');
    this.rows = rows;
  }

  /** Reads connections whose queues have these lengths. Throws SyscallError. */
  run(connections: readonly Readable[], lengths: readonly number[]): void {
    const { words, rowWords, at, table } = this.#columns;
    this.#room = new Uint8Array(new ArrayBuffer(lengths.reduce((sum, length) => sum + length, 0)));
    let used = 0;
    for (let row = 0; row < connections.length; row++) {
      const start = row * rowWords;
      const [length = 0, readable] = [lengths[row], connections[row]];
      const fd = readable?.fd ?? NO_FD;
      words[start + at.fd] = fd;
      // An empty queue is not looked at: that would take away the error of a connection that was reset.
      words[start + at.peekFd] = length === 0 ? NO_FD : fd;
      words[start + at.reuseFd] = readable?.reuseAddress === true ? fd : NO_FD;
      words[start + at.length] = length;
      if (length > 0) setWord(table.view, 4 * (start + at.room), addressOf(this.#room) + used);
      this.#starts[row] = used;
      used += length;
    }
    runTableOutliving(table, connections.length);
    this.#check(connections);
  }

  #check(connections: readonly Readable[]): void {
    const { words, rowWords, at } = this.#columns;
    for (let row = 0; row < connections.length; row++) {
      const start = row * rowWords;
      for (let i = 0; i < MUST.length; i++) {
        const name = MUST[i] ?? 'begin';
        const result = words[start + at[name]] ?? 0;
        if (result >= 0 || (name === 'reuse' && connections[row]?.reuseAddress !== true)) continue;
        throw new SyscallError(`${MUST_CALLS[name]} of a connection in repair mode`, -result, errnoName(-result));
      }
    }
  }

  /** What was asked about a connection; undefined when it has changed meanwhile. */
  abstract answer(row: number): T | undefined;

  protected number(row: number, column: Column): number {
    const { words, rowWords, at } = this.#columns;
    return words[row * rowWords + at[column]] ?? 0;
  }

  protected bytes(row: number, column: Column, count: number): Uint8Array {
    const { rowWords, at, table } = this.#columns;
    const start = 4 * (row * rowWords + at[column]);
    return table.block.subarray(start, start + count);
  }

  /** The content of the queue when it has `wanted` bytes; undefined when it has changed meanwhile. */
  protected queue(row: number, wanted: number): Uint8Array | undefined {
    const { words, rowWords, at } = this.#columns;
    const start = row * rowWords;
    if (words[start + at.sequence] !== words[start + at.again]) return undefined;
    if (wanted === 0) return new Uint8Array(0);
    if (words[start + at.peekFd] === NO_FD || words[start + at.got] !== wanted) return undefined;
    const from = this.#starts[row] ?? 0;
    return this.#room.subarray(from, from + wanted);
  }
}

const MUST_CALLS: Readonly<Record<Must, string>> = {
  begin: 'setsockopt(TCP_REPAIR)',
  counted: 'ioctl',
  counted2: 'ioctl',
  selected: 'setsockopt(TCP_REPAIR_QUEUE)',
  end: 'setsockopt(TCP_REPAIR)',
  reuse: 'setsockopt(SO_REUSEADDR)',
};
const MUST: readonly Must[] = ['begin', 'counted', 'counted2', 'selected', 'end', 'reuse'];

class SendingTable extends RepairTable<Sending> {
  constructor(rows: number) {
    super(rows, INET.TCP_SEND_QUEUE, [INET.SIOCOUTQ, INET.SIOCOUTQNSD]);
  }

  answer(row: number): Sending | undefined {
    const state = this.number(row, 'info') & 0xff;
    // The end of the stream is counted, but it is no byte. What a closed connection had to send is lost.
    const fins = finsSent(state);
    const lengthOf = (column: Column) => (state === INET.TCP_CLOSE ? 0 : Math.max(this.number(row, column) - fins, 0));
    const outq_len = lengthOf('count');
    const bytes = this.queue(row, outq_len);
    const outq_seq = this.number(row, 'sequence') >>> 0;
    return bytes && { numbers: { state, outq_len, outq_seq, unsq_len: lengthOf('count2') }, bytes };
  }
}

class ReceivingTable extends RepairTable<Receiving> {
  constructor(rows: number) {
    super(rows, INET.TCP_RECV_QUEUE, [INET.SIOCINQ, INET.SIOCINQ]);
  }

  answer(row: number): Receiving | undefined {
    const inq_len = this.number(row, 'count');
    const bytes = this.queue(row, inq_len);
    if (bytes === undefined) return undefined;
    const numbers = {
      inq_len,
      inq_seq: this.number(row, 'sequence') >>> 0,
      mss_clamp: this.number(row, 'mss'),
      ...parseParameters(this.bytes(row, 'info', INFO_BYTES), this.number(row, 'timestamp') >>> 0),
      ...parseWindow(this.bytes(row, 'window', WINDOW_BYTES)),
    };
    return { numbers, bytes };
  }
}

/** Tables are kept, the same in each run: to lay one out takes longer than to run it. For a few connections a short one will do. */
function keptTable<T extends { readonly rows: number }>(make: (rows: number) => T): (count: number) => T {
  let kept: T | undefined;
  return (count) => {
    if (kept === undefined || kept.rows < Math.min(count, ROWS_MAX))
      kept = make(count > ROWS_FEW ? ROWS_MAX : ROWS_FEW);
    return kept;
  };
}

const ROWS_FEW = 8;
const sendingTable = keptTable((rows) => new SendingTable(rows));
const receivingTable = keptTable((rows) => new ReceivingTable(rows));

/** struct tcp_info: what both sides agreed on. */
function parseParameters([, , , , , opt_mask = 0, scales = 0]: Uint8Array, timestamp: number) {
  const hasScales = (opt_mask & INET.TCPI_OPT_WSCALE) !== 0;
  const hasTimestamps = (opt_mask & INET.TCPI_OPT_TIMESTAMPS) !== 0;
  return {
    opt_mask,
    snd_wscale: hasScales ? scales & 0xf : 0,
    ...(hasScales ? { rcv_wscale: scales >>> 4 } : {}),
    ...(hasTimestamps ? { timestamp } : {}),
  };
}

function parseWindow(bytes: Uint8Array): Partial<TcpStreamEntry> {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const [snd_wl1 = 0, snd_wnd = 0, max_window = 0, rcv_wnd = 0, rcv_wup = 0] = [0, 4, 8, 12, 16].map((at) =>
    view.getUint32(at, true),
  );
  return { snd_wl1, snd_wnd, max_window, rcv_wnd, rcv_wup };
}
