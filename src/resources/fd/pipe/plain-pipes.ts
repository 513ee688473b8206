/** Pipes with one descriptor for each end and nothing special about them: there may be thousands. All others are in pipe.ts. */
import { argumentAt, OP_WORDS, type Reason } from '../../../agent/ops.ts';
import type { FileEntry } from '../../../image/gen/fdinfo.ts';
import { F_SETPIPE_SZ, O_CLOEXEC, O_NONBLOCK, O_RDONLY, O_WRONLY } from '../../../linux/abi/fcntl.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import type { FdTablePlan } from '../fd-table/fd-table-plan.ts';
import type { PairColumns, PairKind } from '../fd-table/pair-columns.ts';
import type { RestoreContext } from '../file-kind.ts';
import { ImagePart, PAIR_ROOM, type StepObject } from '../step-args.ts';
import { pipeContent, pipeRows } from './pipe-data.ts';

/** The mode of an end that has no other flag than O_NONBLOCK; −1 for any other. */
function modeOf({ pipe }: FileEntry): number {
  const mode = (pipe?.flags ?? -1) & ~O_NONBLOCK;
  return mode === O_RDONLY || mode === O_WRONLY ? mode : -1;
}

export const plainPipes: PairKind = {
  isPlain: (end) => modeOf(end) >= 0 && end.pipe?.fown.signum === 0 && end.pipe.fown.pid === 0,

  fits: (first, second) =>
    modeOf(first) === O_RDONLY &&
    modeOf(second) === O_WRONLY &&
    (((first.pipe?.flags ?? 0) ^ (second.pipe?.flags ?? 0)) & O_NONBLOCK) === 0,

  data: pipeRows,
  dataOwner: 'number',
  // Several are packets, which are only written in packet mode.
  canFill: (data, first, count) => count === 1 && (data.sizes[first] as number) >= 0,

  readOthers: (context) => void pipeContent('pipes-data', 0, context),

  create(pairs, firsts, table, context) {
    const { ends, isCloexec } = pairs;
    const numbers: number[] = [];
    const made = table.openPairs(firsts.length, numbers, SYS.pipe2, 0, 0);
    const { words } = made;
    const reasons: Reason[] = [];
    for (let i = 0, at = made.start; i < firsts.length; i++, at += OP_WORDS) {
      const row = firsts[i] as number;
      const flags = ends.template(ends.kinds[row] as number).pipe?.flags ?? 0;
      words[at + FLAGS] = (flags & O_NONBLOCK) | (isCloexec[row] === 1 ? O_CLOEXEC : 0);
      reasons.push(['make', nameOf(pairs, row)]);
    }
    made.referAll(PAIR, PAIR_ROOM, firsts.length);
    made.because(reasons);
    fill(pairs, firsts, numbers, table, context);
    return numbers;
  },
};

const nameOf = ({ ends }: PairColumns, row: number) => `pipe:[${ends.numbers[row]}]`;

/** Where arguments are in the ops of pipe2(2), fcntl(2) and write(2). */
const PAIR = argumentAt(0);
const FLAGS = argumentAt(1);
const FD = argumentAt(0);
const SIZE = argumentAt(2);
const BYTES = argumentAt(1);
const LENGTH = argumentAt(2);
const EXPECTED = argumentAt(5);

/** Sets the size of each that has one in the image, and writes what was in it. */
function fill(
  pairs: PairColumns,
  firsts: readonly number[],
  numbers: readonly number[],
  table: FdTablePlan,
  context: RestoreContext,
): void {
  const data = pipeRows(context);
  const rows: number[] = [];
  const filled: number[] = [];
  firsts.forEach((first, i) => {
    const row = dataRow(pairs, first);
    if (row < 0) return;
    rows.push(i);
    if (data.lengths[row] !== 0) filled.push(i);
  });
  if (rows.length === 0) return;
  const sized = table.doMany(rows.length, SYS.fcntl, 0, F_SETPIPE_SZ, 0);
  const reasons: Reason[] = [];
  for (let j = 0, at = sized.start; j < rows.length; j++, at += OP_WORDS) {
    const i = rows[j] as number;
    const first = firsts[i] as number;
    sized.words[at + FD] = numbers[2 * i + 1] as number;
    sized.words[at + SIZE] = data.sizes[dataRow(pairs, first)] as number;
    reasons.push(['set the size of', nameOf(pairs, first)]);
  }
  sized.because(reasons);
  if (filled.length === 0) return;
  const written = table.doManyExpecting(filled.length, SYS.write, 0, 0, 0);
  const parts: StepObject[] = [];
  const whys: Reason[] = [];
  for (let j = 0, at = written.start; j < filled.length; j++, at += OP_WORDS) {
    const i = filled[j] as number;
    const first = firsts[i] as number;
    const row = dataRow(pairs, first);
    const length = data.lengths[row] as number;
    written.words[at + FD] = numbers[2 * i + 1] as number;
    written.words[at + LENGTH] = length;
    written.words[at + EXPECTED] = length;
    parts.push(new ImagePart(data.bytes, data.starts[row] as number, length));
    whys.push(['fill', nameOf(pairs, first)]);
  }
  written.refer(BYTES, parts);
  written.because(whys);
}

/** Where the data of a pipe is, whichever end it was found for; −1 when there is none. */
function dataRow({ dataAt, dataCount, partners }: PairColumns, first: number): number {
  if (dataCount[first] === 1) return dataAt[first] as number;
  const second = partners[first] as number;
  return dataCount[second] === 1 ? (dataAt[second] as number) : -1;
}
