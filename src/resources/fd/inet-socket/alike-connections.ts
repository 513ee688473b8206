/**
 * Connections that are made alike: thousands have the same options, of one or two sorts, and differ only in addresses,
 * numbers and queues. The steps of the first are copied for the next ones, with what is theirs put in. Pure.
 */
import type { InetSkEntry } from '../../../image/gen/sk-inet.ts';
import * as INET from '../../../linux/abi/inet.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import type { FdTablePlan } from '../fd-table/fd-table-plan.ts';
import { EXPECTED_ARGUMENT, IntArg, type StepList } from '../step.ts';
import { packSockaddr } from './address.ts';
import { firstNumbers, isShort, packWindow, type Stream } from './tcp-restore.ts';
import { finsReceived } from './tcp-state.ts';

/** What is planned. */
export interface PlannedConnection {
  readonly entry: InetSkEntry;
  readonly stream: Stream;
  readonly isCloexec: boolean;
  /** Its name, for errors. */
  readonly what: string;
}

/** Both ends of a connection are often of different sorts, and take turns. */
const SORTS_MAX = 4;

/** What belongs to each connection, in the steps of its sort. */
type Own = 'source' | 'destination' | 'sent number' | 'received number' | 'timestamp' | 'received' | 'sent' | 'window';

interface OwnObject {
  readonly what: Own;
  readonly step: number;
  /** Its index among the objects of the steps. */
  readonly index: number;
}

interface Sort {
  readonly example: PlannedConnection;
  readonly steps: StepList;
  readonly own: readonly OwnObject[];
}

export class AlikeConnections {
  readonly #sorts: Sort[] = [];

  /** Plans a connection as one before: its descriptor, or undefined when there was none like it. */
  tryPlan(table: FdTablePlan, connection: PlannedConnection): number | undefined {
    for (const sort of this.#sorts) {
      if (!areAlike(sort.example, connection)) continue;
      const fd = table.takeNumber();
      fill(sort, fd, connection);
      table.append(sort.steps);
      return fd;
    }
    return undefined;
  }

  /** The connection has been planned by the steps since there were `start`. */
  remember(table: FdTablePlan, start: number, connection: PlannedConnection): void {
    if (!canBeCopied(connection)) return;
    const steps = table.tryCopyFrom(start);
    if (steps === undefined || !namesAll(steps, connection.what)) return;
    const own = findOwn(steps, connection);
    if (this.#sorts.unshift({ example: connection, steps, own }) > SORTS_MAX) this.#sorts.pop();
  }
}

/** Others are rare: they have packets of their own, or queues in several parts. */
const canBeCopied = ({ entry, stream }: PlannedConnection) =>
  entry.state === INET.TCP_ESTABLISHED &&
  stream.message.reset_ext !== true &&
  isShort(stream.received) &&
  isShort(stream.sent);

/** Each reason ends with the name. */
function namesAll(steps: StepList, what: string): boolean {
  for (let step = 0; step < steps.length; step++) {
    const reason = steps.reason(step);
    if (!Array.isArray(reason) || reason.at(-1) !== what) return false;
  }
  return true;
}

function areAlike(a: PlannedConnection, b: PlannedConnection): boolean {
  const [one, other] = [a.entry, b.entry];
  return (
    one.opts === other.opts &&
    one.family === other.family &&
    one.flags === other.flags &&
    one.v6only === other.v6only &&
    one.ifname === other.ifname &&
    a.isCloexec === b.isCloexec &&
    canBeCopied(b) &&
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

/** Of messages that have only numbers and flags; others are never the same. */
function haveSameFields(a: object | undefined, b: object | undefined): boolean {
  if (a === b) return true;
  if (a === undefined || b === undefined) return false;
  const [fields, others] = [Object.entries(a), b as Readonly<Record<string, unknown>>];
  if (fields.length !== Object.keys(others).length) return false;
  for (const [name, value] of fields) if (typeof value === 'object' || others[name] !== value) return false;
  return true;
}

/** In the order of the steps (tcp-restore.ts). */
function findOwn(steps: StepList, { stream }: PlannedConnection): OwnObject[] {
  const own: OwnObject[] = [];
  const numbers: Own[] = ['sent number', 'received number'];
  const queues: Own[] = stream.received.length > 0 ? ['received', 'sent'] : ['sent'];
  for (let step = 0; step < steps.length; step++) {
    const what = ownOf(steps, step, numbers, queues);
    if (what !== undefined) own.push({ what, step, index: steps.firstObject(step) });
  }
  return own;
}

function ownOf(steps: StepList, step: number, numbers: Own[], queues: Own[]): Own | undefined {
  switch (steps.nr(step)) {
    case SYS.bind:
      return 'source';
    case SYS.connect:
      return 'destination';
    case SYS.sendto:
      return queues.shift();
    case SYS.setsockopt:
      if (steps.argument(step, 1) !== INET.SOL_TCP) return undefined;
      switch (steps.argument(step, 2)) {
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

/** Puts what belongs to a connection into the steps of its sort. */
function fill({ steps, own }: Sort, fd: number, connection: PlannedConnection): void {
  const { what } = connection;
  for (let step = 0; step < steps.length; step++) {
    // The first step makes the socket, all others have it for their first argument.
    if (step === 0) steps.setArgument(step, EXPECTED_ARGUMENT, fd);
    else steps.setArgument(step, 0, fd);
    const reason = steps.reason(step);
    if (typeof reason !== 'object') continue;
    const copy = reason.slice();
    copy[copy.length - 1] = what;
    steps.setReason(step, copy);
  }
  for (let i = 0; i < own.length; i++) put(steps, own[i] as OwnObject, connection);
}

function put(steps: StepList, { what, step, index }: OwnObject, { entry, stream }: PlannedConnection): void {
  const { message } = stream;
  switch (what) {
    case 'source':
      steps.setObject(index, { bytes: packSockaddr(entry.family, { port: entry.src_port, words: entry.src_addr }) });
      break;
    case 'destination':
      steps.setObject(index, { bytes: packSockaddr(entry.family, { port: entry.dst_port, words: entry.dst_addr }) });
      break;
    case 'sent number':
      steps.setObject(index, new IntArg(firstNumbers(entry.state, message).sent | 0));
      break;
    case 'received number':
      steps.setObject(index, new IntArg(firstNumbers(entry.state, message).received | 0));
      break;
    case 'timestamp':
      steps.setObject(index, new IntArg((message.timestamp ?? 0) | 0));
      break;
    case 'window':
      steps.setObject(index, { bytes: packWindow(message, finsReceived(entry.state)) });
      break;
    default: {
      const bytes = stream[what];
      steps.setObject(index, { bytes });
      steps.setArgument(step, 2, bytes.length);
      steps.setArgument(step, EXPECTED_ARGUMENT, bytes.length);
    }
  }
}
