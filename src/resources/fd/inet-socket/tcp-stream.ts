/**
 * What the kernel tells of TCP connections in repair mode (TCP_REPAIR, since 3.5): their numbers, windows and queues.
 *
 * A connection that stays in repair mode is lost to the program. So each is in it only while it is read, by a program that
 * is done to its end even if we are killed. Packets may arrive meanwhile when the network is not locked, for repair mode
 * does not stop the receiving side: then the numbers before and after differ, and it is read again.
 */
import { type Place, Program, type Result } from '../../../agent/program.ts';
import { SyscallError } from '../../../base/errors.ts';
import type { TcpStreamEntry } from '../../../image/gen/tcp-stream.ts';
import { ERRNO, errnoName } from '../../../linux/abi/errno.ts';
import * as INET from '../../../linux/abi/inet.ts';
import { MSG_DONTWAIT, MSG_PEEK, SO_REUSEADDR, SOL_SOCKET } from '../../../linux/abi/socket.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { check } from '../../../linux/kernel.ts';
import { ioctl } from '../../../linux/syscalls/fs.ts';
import { type Outcome, runOutliving } from '../../../tracee/outliving.ts';
import { finsSent } from './tcp-state.ts';

/** A connection to be read, by a descriptor of ours. */
export interface Readable {
  readonly fd: number;
  /** Leaving repair mode clears it. */
  readonly reuseAddress: boolean;
}

/** A queue, and numbers of tcp_stream_entry about it. */
interface Queue<T> {
  readonly numbers: T;
  readonly bytes: Uint8Array;
}

export type Sending = Queue<Pick<TcpStreamEntry, 'outq_len' | 'outq_seq' | 'unsq_len'> & { readonly state: number }>;
export type Receiving = Queue<Omit<TcpStreamEntry, 'outq_len' | 'outq_seq' | 'unsq_len'>>;

/** Adds the questions about a connection; the answer is undefined when it has changed meanwhile. */
type Ask<T> = (program: Program, readable: Readable) => (outcome: Outcome) => T | undefined;

/** What other sides have not acknowledged yet, sent or not, and the states. Throws SyscallError. */
export const readSending = (connections: readonly Readable[]): Sending[] =>
  readAll(connections, INET.SIOCOUTQ, askSending);

/** What the program has not read yet, and all else that images have. Throws SyscallError. */
export const readReceiving = (connections: readonly Readable[]): Receiving[] =>
  readAll(connections, INET.SIOCINQ, askReceiving);

/** So much of queues is read at once. */
const ROOM_BYTES = 32 << 20;
const TRIES = 50;

function readAll<T>(connections: readonly Readable[], sizeOf: number, ask: Ask<T>): T[] {
  const answers: T[] = [];
  for (let tries = 0, at = 0; at < connections.length; tries++) {
    const program = new Program();
    const asked: ReturnType<Ask<T>>[] = [];
    for (let room = 0; at + asked.length < connections.length && room < ROOM_BYTES; ) {
      const readable = connections[at + asked.length];
      if (readable === undefined) break;
      room += readCount(readable.fd, sizeOf);
      asked.push(ask(program, readable));
    }
    const outcome = runOutliving(program);
    for (const answer of asked) {
      const value = answer(outcome);
      if (value === undefined) break;
      answers.push(value);
    }
    if (answers.length > at) tries = 0;
    at = answers.length;
    if (tries === TRIES) throw new SyscallError('recvfrom', ERRNO.EAGAIN, 'EAGAIN', 'a queue changes all the time');
  }
  return answers;
}

function readCount(fd: number, request: number): number {
  const count = new Int32Array(1);
  check('ioctl', ioctl(fd, request, count), `${fd}, ${request}`);
  return count[0] ?? 0;
}

const askSending: Ask<Sending> = (program, readable) => {
  const visit = new Visit(program, readable);
  const length = readCount(readable.fd, INET.SIOCOUTQ);
  const info = visit.get(INET.TCP_INFO, INFO_BYTES);
  const counts = [INET.SIOCOUTQ, INET.SIOCOUTQNSD].map((request) => visit.count(request));
  const queue = visit.queue(INET.TCP_SEND_QUEUE, length);
  const end = visit.end();
  return (outcome) => {
    end(outcome);
    const [state = 0] = outcome.bytes(info);
    // The end of the stream is counted, but it is no byte. What a closed connection had to send is lost.
    const [outq_len = 0, unsq_len = 0] = counts.map((place) =>
      state === INET.TCP_CLOSE ? 0 : Math.max(word(outcome, place) - finsSent(state), 0),
    );
    const bytes = queue.bytes(outcome, outq_len);
    const outq_seq = word(outcome, queue.sequence) >>> 0;
    return bytes && { numbers: { state, outq_len, outq_seq, unsq_len }, bytes };
  };
};

const askReceiving: Ask<Receiving> = (program, readable) => {
  const visit = new Visit(program, readable);
  const length = readCount(readable.fd, INET.SIOCINQ);
  const window = visit.get(INET.TCP_REPAIR_WINDOW, WINDOW_BYTES);
  const count = visit.count(INET.SIOCINQ);
  const queue = visit.queue(INET.TCP_RECV_QUEUE, length);
  const info = visit.get(INET.TCP_INFO, INFO_BYTES);
  const timestamp = visit.get(INET.TCP_TIMESTAMP, 4);
  const mss = visit.get(INET.TCP_MAXSEG, 4);
  const end = visit.end();
  return (outcome) => {
    end(outcome);
    const inq_len = word(outcome, count);
    const bytes = queue.bytes(outcome, inq_len);
    if (bytes === undefined) return undefined;
    const numbers = {
      inq_len,
      inq_seq: word(outcome, queue.sequence) >>> 0,
      mss_clamp: word(outcome, mss),
      ...parseParameters(outcome.bytes(info), word(outcome, timestamp) >>> 0),
      ...parseWindow(outcome.bytes(window)),
    };
    return { numbers, bytes };
  };
};

/** The first 8 bytes of struct tcp_info. */
const INFO_BYTES = 8;
/** struct tcp_repair_window (4.8). */
const WINDOW_BYTES = 20;

function word(outcome: Outcome, place: Place): number {
  const at = outcome.bytes(place);
  return new DataView(at.buffer, at.byteOffset).getInt32(0, true);
}

/** Questions about one connection, which is in repair mode from the first to the last. */
class Visit {
  readonly #program: Program;
  readonly #readable: Readable;
  /** What has to succeed; `numbers` say what it was about. */
  readonly #calls: { readonly name: string; readonly numbers: readonly number[]; readonly result: Result }[] = [];

  constructor(program: Program, readable: Readable) {
    this.#program = program;
    this.#readable = readable;
    this.#set(INET.SOL_TCP, INET.TCP_REPAIR, 1);
  }

  get(option: number, bytes: number): Place {
    const place = this.#program.reserve(bytes);
    const length = this.#program.words(bytes);
    this.#program.call(SYS.getsockopt, this.#readable.fd, INET.SOL_TCP, option, place, length);
    return place;
  }

  count(request: number): Place {
    const place = this.#program.reserve(4);
    const result = this.#program.call(SYS.ioctl, this.#readable.fd, request, place);
    this.#calls.push({ name: 'ioctl', numbers: [request], result });
    return place;
  }

  /** The content of a queue, and the number after its last byte: undefined when it is not of that length any more. */
  queue(which: number, length: number) {
    this.#set(INET.SOL_TCP, INET.TCP_REPAIR_QUEUE, which);
    const sequence = this.get(INET.TCP_QUEUE_SEQ, 4);
    const place = this.#program.reserve(Math.max(length, 8));
    const flags = MSG_PEEK | MSG_DONTWAIT;
    // An empty queue is not looked at: that would take away the error of a connection that was reset.
    const got =
      length === 0 ? undefined : this.#program.call(SYS.recvfrom, this.#readable.fd, place, length, flags, 0, 0);
    const again = this.get(INET.TCP_QUEUE_SEQ, 4);
    return {
      sequence,
      bytes: (outcome: Outcome, wanted: number): Uint8Array | undefined => {
        const isSame = word(outcome, sequence) === word(outcome, again);
        if (wanted === 0 && isSame) return new Uint8Array(0);
        return isSame && got !== undefined && outcome.result(got) === wanted
          ? outcome.bytes(place).slice(0, wanted)
          : undefined;
      },
    };
  }

  /** Leaves repair mode without a word to the other side. What is returned throws when something has failed. */
  end(): (outcome: Outcome) => void {
    this.#set(INET.SOL_TCP, INET.TCP_REPAIR, INET.TCP_REPAIR_OFF_NO_WP);
    if (this.#readable.reuseAddress) this.#set(SOL_SOCKET, SO_REUSEADDR, 1);
    return (outcome) => {
      for (const { name, numbers, result: of } of this.#calls) {
        const error = -outcome.result(of);
        if (error > 0) throw new SyscallError(`${name} ${numbers.join(', ')}`, error, errnoName(error));
      }
    };
  }

  #set(level: number, option: number, value: number): void {
    const result = this.#program.call(SYS.setsockopt, this.#readable.fd, level, option, this.#program.int(value), 4);
    this.#calls.push({ name: 'setsockopt', numbers: [level, option], result });
  }
}

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
