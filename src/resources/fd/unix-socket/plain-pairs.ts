/**
 * Pairs of connected sockets about which there is nothing special, as socketpair(2) makes them: there may be thousands. What can be
 * special about a socket is in socket-group.ts.
 */
import { argumentAt, OP_WORDS, type Reason } from '../../../agent/ops.ts';
import type { DataRows, RowsKind } from '../../../image/data-rows.ts';
import type { FileEntry } from '../../../image/gen/fdinfo.ts';
import { O_CLOEXEC, O_NONBLOCK } from '../../../linux/abi/fcntl.ts';
import { AF_UNIX, SOCK_SEQPACKET, SOCK_STREAM } from '../../../linux/abi/socket.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { FdTablePlan } from '../fd-table/fd-table-plan.ts';
import { SETFL_MASK } from '../fd-table/owner.ts';
import type { PairColumns, PairKind } from '../fd-table/pair-columns.ts';
import type { RestoreContext } from '../file-kind.ts';
import { checkSocketOptions, planSocketOptions } from '../socket-options/socket-options.ts';
import { ImagePart, PAIR_ROOM, type StepObject } from '../step-args.ts';
import { bytesInQueue, hasRoomFor, SEND_FLAGS } from './fill-queues.ts';
import { queuedMessages, queueRows } from './queue.ts';
import { TCP_ESTABLISHED } from './states.ts';

export const plainPairs: PairKind = {
  isPlain({ usk }, context) {
    if (usk === undefined) return false;
    const { type, state, uflags, name, shutdown = 0, flags, fown, opts, pending_ext } = usk;
    if ((type !== SOCK_STREAM && type !== SOCK_SEQPACKET) || state !== TCP_ESTABLISHED) return false;
    if (uflags !== 0 || name.length > 0 || shutdown !== 0) return false;
    if ((flags & SETFL_MASK & ~O_NONBLOCK) !== 0 || fown.signum !== 0 || fown.pid !== 0) return false;
    const { peer_cred_ext: creds, peer_groups_ext: groups } = usk;
    if (creds !== undefined && (creds.uid !== 0 || creds.gid !== 0)) return false;
    if (pending_ext.length > 0 || !isSame(groups, context.system.groups())) return false;
    if (opts.reuseaddr === true || opts.so_reuseport === true || opts.options_ext.length > 0) return false;
    return checkSocketOptions(opts, () => '', context.system).length === 0 && needsNoSteps(usk, context);
  },

  fits({ usk: first }, { usk: second }) {
    if (first === undefined || second === undefined) return false;
    return first.type === second.type && ((first.flags ^ second.flags) & O_NONBLOCK) === 0;
  },

  data: queueRows,
  dataOwner: 'id',

  canFill(data: DataRows<RowsKind>, first: number, count: number, context: RestoreContext) {
    let bytes = 0;
    for (let i = first; i < first + count; i++) bytes += bytesInQueue(data.lengths[i] as number);
    return hasRoomFor(bytes, context);
  },

  readOthers: (context) => void queuedMessages(0, context),

  create(pairs, firsts, table, context) {
    const { ends, isCloexec } = pairs;
    const numbers: number[] = [];
    const made = table.openPairs(firsts.length, numbers, SYS.socketpair, AF_UNIX, 0, 0, 0);
    const { words } = made;
    const reasons: Reason[] = [];
    for (let i = 0, at = made.start; i < firsts.length; i++, at += OP_WORDS) {
      const row = firsts[i] as number;
      const { type = 0, flags = 0 } = ends.template(ends.kinds[row] as number).usk ?? {};
      words[at + TYPE] = type | (flags & O_NONBLOCK) | (isCloexec[row] === 1 ? O_CLOEXEC : 0);
      reasons.push(['make', `socket:[${ends.numbers[row]}]`]);
    }
    made.referAll(PAIR, PAIR_ROOM, firsts.length);
    made.because(reasons);
    fill(pairs, firsts, numbers, table, queueRows(context));
    return numbers;
  },
};

/** Whether a new socket has such options anyway. */
function needsNoSteps({ opts }: NonNullable<FileEntry['usk']>, { system }: RestoreContext): boolean {
  const table = new FdTablePlan(0);
  planSocketOptions(table, 0, opts, '', system.socketBuffers());
  return table.stepCount === 0;
}

function isSame(groups: readonly number[], others: readonly number[]): boolean {
  if (groups.length !== others.length) return false;
  for (let i = 0; i < groups.length; i++) if (groups[i] !== others[i]) return false;
  return true;
}

/** Where the arguments of socketpair(2) and sendto(2) are in an op. */
const TYPE = argumentAt(1);
const PAIR = argumentAt(3);
const FROM = argumentAt(0);
const BYTES = argumentAt(1);
const LENGTH = argumentAt(2);
const EXPECTED = argumentAt(5);

/** Sends what waits in each end from the other one. */
function fill(
  pairs: PairColumns,
  firsts: readonly number[],
  numbers: readonly number[],
  table: FdTablePlan,
  data: DataRows<RowsKind>,
): void {
  const { ends, dataAt, dataCount } = pairs;
  let count = 0;
  for (const row of firsts) count += (dataCount[row] as number) + (dataCount[pairs.partnerOf(row)] as number);
  if (count === 0) return;
  const sent = table.doManyExpecting(count, SYS.sendto, 0, 0, 0, SEND_FLAGS, 0);
  const { words } = sent;
  const parts: StepObject[] = [];
  const reasons: Reason[] = [];
  let at = sent.start;
  for (let i = 0; i < 2 * firsts.length; i++) {
    const first = firsts[i >> 1] as number;
    const row = (i & 1) === 0 ? first : pairs.partnerOf(first);
    const begin = dataAt[row] as number;
    for (let j = begin; j < begin + (dataCount[row] as number); j++, at += OP_WORDS) {
      const length = data.lengths[j] as number;
      words[at + FROM] = numbers[i ^ 1] as number;
      words[at + LENGTH] = length;
      words[at + EXPECTED] = length;
      parts.push(new ImagePart(data.bytes, data.starts[j] as number, length));
      reasons.push(['fill the queue of', `socket:[${ends.numbers[row]}]`]);
    }
  }
  sent.refer(BYTES, parts);
  sent.because(reasons);
}
