/** Files with a path on the way back: the steps that open them and set their position. Pure. */
import { argumentAt, OP_WORDS, type Reason } from '../../../agent/ops.ts';
import type { RegFileEntry } from '../../../image/gen/regfile.ts';
import type { PlainFiles } from '../../../image/plain-files.ts';
import {
  __O_TMPFILE,
  AT_FDCWD,
  FASYNC,
  O_CLOEXEC,
  O_PATH,
  O_TMPFILE,
  S_IFLNK,
  S_IFMT,
  SEEK_SET,
} from '../../../linux/abi/fcntl.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import type { FdTablePlan } from '../fd-table/fd-table-plan.ts';
import type { RestoreHome } from '../file-kind.ts';
import type { ManySteps } from '../step.ts';
import type { StepObject } from '../step-args.ts';
import { inheritedFd } from './check.ts';
import { isHeld } from './remap-restore.ts';

/** Position of a file that is not to be set (CRIU writes it for /dev/kmsg). */
export const NO_POSITION = 0xffff_ffff_ffff_ffffn;
/** Numbers are exact up to here, and faster. */
const EXACT_MAX = BigInt(Number.MAX_SAFE_INTEGER);

/** The flags for opening a file again. What can't be given to open(2) is set later. */
export function openFlags(flags: number): number {
  // An unnamed temporary file exists again when it is opened.
  const named = (flags & __O_TMPFILE) !== 0 ? flags & ~O_TMPFILE : flags;
  return named & ~FASYNC;
}

const hasPosition = ({ flags, pos }: RegFileEntry) => (flags & O_PATH) === 0 && pos !== 0n && pos !== NO_POSITION;

/** Plans a file, whatever is special about it. */
export function createRegularFile(reg: RegFileEntry, home: RestoreHome): void {
  const { table, context } = home;
  const inherited = inheritedFd(reg, context);
  if (inherited !== undefined && reg.ext !== true) {
    home.made(reg.id, home.pull(inherited), true);
    return;
  }
  if (reg.mode !== undefined && (reg.mode & S_IFMT) === S_IFLNK && isHeld(reg.id, context)) {
    // Opened through /proc a symbolic link would be followed, so the controller's own description is taken.
    home.made(reg.id, home.pull(context.holderOf(reg.id)), true);
    return;
  }
  const cloexec = home.cloexec(reg.id);
  const path = context.pathOf(reg.id);
  const fd = table.open(['open', reg.name], SYS.openat, AT_FDCWD, path, openFlags(reg.flags) | cloexec);
  if (hasPosition(reg)) {
    const position = reg.pos <= EXACT_MAX ? Number(reg.pos) : reg.pos;
    table.do(['set the position in', reg.name], SYS.lseek, fd, position, SEEK_SET);
  }
  home.made(reg.id, fd, cloexec !== 0);
}

/** Where things are in an op, in words. */
const PATH = argumentAt(1);
const FLAGS = argumentAt(2);
const NUMBER = argumentAt(5);
const SEEK_NUMBER = argumentAt(0);
const SEEK_POSITION = argumentAt(1);
const WORD = 2 ** 32;

/** What is needed of plain files to open them. */
export interface PlainSource {
  readonly files: PlainFiles;
  /** By row. */
  readonly isCloexec: Uint8Array;
  /** By index of the path. */
  readonly texts: readonly StepObject[];
  readonly reasons: readonly Reason[];
}

export function plainSource(files: PlainFiles): PlainSource {
  const texts: StepObject[] = [];
  const reasons: Reason[] = [];
  for (const text of files.names) {
    texts.push({ text });
    reasons.push(['open', text]);
  }
  return { files, isCloexec: new Uint8Array(files.count), texts, reasons };
}

/** Plans plain files, which are often thousands: by row, each gets the next number, and the first one the lowest free. */
export function createPlainFiles(source: PlainSource, rows: readonly number[], table: FdTablePlan): void {
  const { files, isCloexec, texts, reasons } = source;
  const { flags, paths } = files;
  const first = table.lowestFree;
  const moved = countMoved(files, rows);
  table.reserve(rows.length + moved);
  const opens = table.openMany(rows.length, SYS.openat, AT_FDCWD, 0, 0);
  const { words } = opens;
  const pathArguments: StepObject[] = [];
  const because: Reason[] = [];
  for (let i = 0, at = opens.start; i < rows.length; i++, at += OP_WORDS) {
    const row = rows[i] as number;
    const path = paths[row] as number;
    pathArguments.push(texts[path] as StepObject);
    because.push(reasons[path] as Reason);
    words[at + FLAGS] = openFlags(flags[row] as number) | (isCloexec[row] === 1 ? O_CLOEXEC : 0);
    words[at + NUMBER] = first + i;
  }
  opens.refer(PATH, pathArguments);
  opens.because(because);
  if (moved > 0) seekPlainFiles(files, rows, first, table.doMany(moved, SYS.lseek, 0, 0, SEEK_SET));
}

/** How many of them have a position that is to be set. */
function countMoved({ flags, positions }: PlainFiles, rows: readonly number[]): number {
  let moved = 0;
  for (let i = 0; i < rows.length; i++) {
    const row = rows[i] as number;
    if (positions[row] !== 0 && ((flags[row] as number) & O_PATH) === 0) moved++;
  }
  return moved;
}

function seekPlainFiles(
  { flags, positions, names, paths }: PlainFiles,
  rows: readonly number[],
  first: number,
  seeks: ManySteps,
) {
  const { words } = seeks;
  const reasons: Reason[] = [];
  for (let i = 0, at = seeks.start; i < rows.length; i++) {
    const row = rows[i] as number;
    const position = positions[row] as number;
    if (position === 0 || ((flags[row] as number) & O_PATH) !== 0) continue;
    words[at + SEEK_NUMBER] = first + i;
    words[at + SEEK_POSITION] = position;
    words[at + SEEK_POSITION + 1] = position / WORD;
    reasons.push(['set the position in', names[paths[row] as number] as string]);
    at += OP_WORDS;
  }
  seeks.because(reasons);
}
