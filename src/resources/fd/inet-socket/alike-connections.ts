/**
 * Connections that are made alike: thousands have the same options, of one or two sorts, and differ only in addresses,
 * numbers and queues. The steps of the first are copied for the next ones, with what is theirs put in. Pure.
 */
import { type SharedReasons, textOf } from '../../../agent/ops.ts';
import { assert } from '../../../base/errors.ts';
import type { InetSkEntry } from '../../../image/gen/sk-inet.ts';
import * as INET from '../../../linux/abi/inet.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import type { FdTablePlan } from '../fd-table/fd-table-plan.ts';
import type { StepFrame } from '../step-frame.ts';
import { packSockaddr } from './address.ts';
import { firstNumbers, isShort, nameOf, packWindow, type Stream } from './tcp-restore.ts';
import { finsReceived } from './tcp-state.ts';

/** What is planned. */
export interface PlannedConnection {
  readonly entry: InetSkEntry;
  readonly stream: Stream;
  readonly isCloexec: boolean;
}

/** Both ends of a connection are often of different sorts, and take turns. */
const SORTS_MAX = 4;

/** What belongs to each connection, in the data of its sort. */
type Own = 'source' | 'destination' | 'sent number' | 'received number' | 'timestamp' | 'window';
/** What is given with each. */
type Queue = 'received' | 'sent';

interface OwnData {
  readonly what: Own;
  /** Where it is in the data. */
  readonly at: number;
}

interface Sort {
  readonly example: PlannedConnection;
  readonly frame: StepFrame;
  readonly own: readonly OwnData[];
  readonly queues: readonly Queue[];
}

export class AlikeConnections {
  readonly #sorts: Sort[] = [];

  /** Plans a connection as one before: its descriptor, or undefined when there was none like it. */
  tryPlan(table: FdTablePlan, connection: PlannedConnection): number | undefined {
    for (const sort of this.#sorts) {
      if (!areAlike(sort.example, connection)) continue;
      const { frame, own, queues } = sort;
      const data = frame.data.slice();
      const view = new DataView(data.buffer);
      for (let i = 0; i < own.length; i++) put(own[i] as OwnData, data, view, connection);
      const given: Uint8Array[] = [];
      for (const queue of queues) given.push(connection.stream[queue]);
      return table.openFrame(frame, data, given, new ConnectionReasons(frame, connection.entry));
    }
    return undefined;
  }

  /** The connection has been planned by the steps since there were `start`, each of which is for `what`. */
  remember(table: FdTablePlan, start: number, connection: PlannedConnection, what: string): void {
    if (!canBeCopied(connection)) return;
    const frame = table.tryFrameFrom(start, SYS.sendto);
    if (frame === undefined || !namesAll(frame, what)) return;
    const { received, sent } = connection.stream;
    const queues: Queue[] = [];
    if (received.length > 0) queues.push('received');
    if (sent.length > 0) queues.push('sent');
    const sort = { example: connection, frame, own: findOwn(frame), queues };
    if (this.#sorts.unshift(sort) > SORTS_MAX) this.#sorts.pop();
  }
}

/** What the steps of a connection are for: the same as in its sort, but for the name, which comes last. */
class ConnectionReasons implements SharedReasons {
  readonly #frame: StepFrame;
  readonly #entry: InetSkEntry;

  constructor(frame: StepFrame, entry: InetSkEntry) {
    this.#frame = frame;
    this.#entry = entry;
  }

  textOf(step: number): string {
    const reason = this.#frame.reasons[step];
    assert(Array.isArray(reason), 'the reasons of a sort have parts');
    return textOf([...reason.slice(0, -1), nameOf(this.#entry)]);
  }
}

/** Others are rare: they have packets of their own, or queues in several parts. */
const canBeCopied = ({ entry, stream }: PlannedConnection) =>
  entry.state === INET.TCP_ESTABLISHED &&
  stream.message.reset_ext !== true &&
  isShort(stream.received) &&
  isShort(stream.sent);

/** Each reason ends with the name. */
const namesAll = ({ reasons }: StepFrame, what: string) =>
  reasons.every((reason) => Array.isArray(reason) && reason.at(-1) === what);

function areAlike(a: PlannedConnection, b: PlannedConnection): boolean {
  const [one, other] = [a.entry, b.entry];
  return (
    one.family === other.family &&
    one.flags === other.flags &&
    one.v6only === other.v6only &&
    one.ifname === other.ifname &&
    a.isCloexec === b.isCloexec &&
    canBeCopied(b) &&
    haveSameFields(one.opts, other.opts) &&
    haveSameFields(one.ip_opts, other.ip_opts) &&
    haveSameFields(one.tcp_opts, other.tcp_opts) &&
    areMadeAlike(a.stream, b.stream)
  );
}

function areMadeAlike({ message: a, received, sent }: Stream, { message: b, ...queues }: Stream): boolean {
  return (
    a.opt_mask === b.opt_mask &&
    a.snd_wscale === b.snd_wscale &&
    a.rcv_wscale === b.rcv_wscale &&
    a.mss_clamp === b.mss_clamp &&
    (a.timestamp === undefined) === (b.timestamp === undefined) &&
    (a.snd_wnd === undefined) === (b.snd_wnd === undefined) &&
    (received.length === 0) === (queues.received.length === 0) &&
    (sent.length === 0) === (queues.sent.length === 0)
  );
}

/** Of messages of one type, which have numbers and flags, and empty lists; others are the same only if they are one object. */
function haveSameFields<T extends object>(a: T | undefined, b: T | undefined): boolean {
  if (a === b) return true;
  if (a === undefined || b === undefined) return false;
  const names = Object.keys(a) as (keyof T)[];
  if (names.length !== Object.keys(b).length) return false;
  for (const name of names) {
    if (a[name] !== b[name] && !(isEmpty(a[name]) && isEmpty(b[name]))) return false;
  }
  return true;
}

const isEmpty = (value: unknown) => Array.isArray(value) && value.length === 0;

/** In the order of the steps (tcp-restore.ts). */
function findOwn(frame: StepFrame): OwnData[] {
  const own: OwnData[] = [];
  const numbers: Own[] = ['sent number', 'received number'];
  for (let step = 0; step < frame.length; step++) {
    const what = ownOf(frame, step, numbers);
    if (what !== undefined) own.push({ what, at: frame.dataOf(step) });
  }
  return own;
}

function ownOf(frame: StepFrame, step: number, numbers: Own[]): Own | undefined {
  switch (frame.nr(step)) {
    case SYS.bind:
      return 'source';
    case SYS.connect:
      return 'destination';
    case SYS.setsockopt:
      if (frame.argument(step, 1) !== INET.SOL_TCP) return undefined;
      switch (frame.argument(step, 2)) {
        case INET.TCP_QUEUE_SEQ:
          return numbers.shift();
        case INET.TCP_TIMESTAMP:
          return 'timestamp';
        case INET.TCP_REPAIR_WINDOW:
          return 'window';
      }
  }
  return undefined;
}

/** Puts what belongs to a connection into its data. */
function put({ what, at }: OwnData, data: Uint8Array, view: DataView, { entry, stream }: PlannedConnection): void {
  const { message } = stream;
  switch (what) {
    case 'source':
      data.set(packSockaddr(entry.family, { port: entry.src_port, words: entry.src_addr }), at);
      break;
    case 'destination':
      data.set(packSockaddr(entry.family, { port: entry.dst_port, words: entry.dst_addr }), at);
      break;
    case 'sent number':
      view.setUint32(at, firstNumbers(entry.state, message).sent, true);
      break;
    case 'received number':
      view.setUint32(at, firstNumbers(entry.state, message).received, true);
      break;
    case 'timestamp':
      view.setUint32(at, message.timestamp ?? 0, true);
      break;
    case 'window':
      data.set(packWindow(message, finsReceived(entry.state)), at);
      break;
  }
}
