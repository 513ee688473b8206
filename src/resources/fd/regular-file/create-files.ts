/** Files with a path on the way back: the steps that open them and set their position. Pure. */
import { argumentAt, OP_WORDS } from '../../../agent/ops.ts';
import type { FileEntry } from '../../../image/gen/fdinfo.ts';
import type { RegFileEntry } from '../../../image/gen/regfile.ts';
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
import type { NumberedFile, RestoreContext, RestoreHome } from '../file-kind.ts';
import { inheritedFd } from './check.ts';
import { allRemaps, isHeld } from './remap-restore.ts';

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

/** Says whether a file is opened by its own path, and that is all. */
export function plainFiles(context: RestoreContext): (entry: FileEntry) => boolean {
  const remaps = allRemaps(context);
  const hasInherited = context.options.inheritFds.length > 0;
  return ({ id, reg }) => {
    if (reg === undefined || reg.ext === true || reg.pos > EXACT_MAX) return false;
    if (hasInherited && inheritedFd(reg, context) !== undefined) return false;
    return remaps.size === 0 || !remaps.has(id);
  };
}

/** Where things are in an op, in words. */
const PATH = argumentAt(1);
const FLAGS = argumentAt(2);
const NUMBER = argumentAt(5);
const SEEK_NUMBER = argumentAt(0);
const SEEK_POSITION = argumentAt(1);

/** Plans plain files, which are often thousands; each gets the next number. */
export function createPlainFiles(files: readonly NumberedFile[], table: FdTablePlan): void {
  const moved: NumberedFile[] = [];
  const opens = table.openMany(files.length, SYS.openat, AT_FDCWD, 0, 0);
  let at = opens.start;
  for (const file of files) {
    const slot = file.slots[0];
    const { reg } = file.entry;
    if (reg === undefined || slot === undefined) continue;
    opens.words[at + FLAGS] = openFlags(reg.flags) | (slot.isCloexec ? O_CLOEXEC : 0);
    opens.words[at + NUMBER] = slot.fd;
    opens.refer(at + PATH, { text: reg.name });
    opens.because(['open', reg.name]);
    if (hasPosition(reg)) moved.push(file);
    at += OP_WORDS;
  }
  if (moved.length === 0) return;
  const seeks = table.doMany(moved.length, SYS.lseek, 0, 0, SEEK_SET);
  at = seeks.start;
  for (const { slots, entry } of moved) {
    const { reg } = entry;
    if (reg === undefined) continue;
    const position = Number(reg.pos);
    seeks.words[at + SEEK_NUMBER] = slots[0]?.fd ?? -1;
    seeks.words[at + SEEK_POSITION] = position;
    seeks.words[at + SEEK_POSITION + 1] = position / 2 ** 32;
    seeks.because(['set the position in', reg.name]);
    at += OP_WORDS;
  }
}
