/** What the images say of a terminal, put together, and what speaks against restoring it. Pure. */

import { assert, type CriuErrorFields } from '../../../base/errors.ts';
import { FdTypes } from '../../../image/gen/fdinfo.ts';
import { type TtyFileEntry, type TtyInfoEntry, TtyType } from '../../../image/gen/tty.ts';
import type { RestoreContext } from '../file-kind.ts';
import { filesOfType } from '../files-of-type.ts';
import { terminalKey, terminalOf } from './terminal.ts';

/** An open file of a terminal. */
export interface TerminalFile {
  readonly entry: TtyFileEntry;
  readonly info: TtyInfoEntry;
  /** Its name at the dump. */
  readonly path: string;
  /** Permissions that the name had at the dump. */
  readonly mode: number | undefined;
  readonly isMaster: boolean;
  /** The controller's descriptor that is given for it by `--inherit-fd`. */
  readonly inherited: number | undefined;
  /** "terminal 5 (/dev/pts/3)", for messages. */
  readonly object: string;
}

/** A slave whose master had been closed at the dump. */
export const isHung = ({ info }: TerminalFile) => info.type === TtyType.PTY && info.termios === undefined;

/** Terminals of the images by file id. */
function terminalFiles(context: RestoreContext): ReadonlyMap<number, TerminalFile> {
  return context.state('terminal files', () => {
    const infos = new Map((context.images.tryRead('tty-info') ?? []).map((info) => [info.id, info]));
    const files = new Map<number, TerminalFile>();
    for (const { tty: entry } of filesOfType(context.tree.files, FdTypes.TTY)) {
      const info = entry === undefined ? undefined : infos.get(entry.tty_info_id);
      if (entry === undefined || info === undefined) continue;
      files.set(entry.id, describe(entry, info, context));
    }
    return files;
  });
}

function describe(entry: TtyFileEntry, info: TtyInfoEntry, context: RestoreContext): TerminalFile {
  const reg = context.tree.files.get(entry.regf_id ?? entry.id)?.reg;
  const isMaster = terminalOf(info.rdev)?.isMaster ?? false;
  const key = terminalKey(info.rdev, info.dev ?? 0);
  const path = reg?.name ?? defaultPath(info, isMaster);
  const inherited = context.inherited(key);
  return { entry, info, path, mode: reg?.mode, isMaster, inherited, object: `terminal ${info.id} (${path || key})` };
}

/** Very old images have no entry for the path of a pseudo terminal. */
function defaultPath({ pty }: TtyInfoEntry, isMaster: boolean): string {
  if (pty === undefined) return '';
  return isMaster ? '/dev/ptmx' : `/dev/pts/${pty.index}`;
}

/** All terminals, in the order of files.img. */
export const allTerminals = (context: RestoreContext) => [...terminalFiles(context).values()];

/** The terminal of file `id`, which has passed the check. */
export function terminalFile(id: number, context: RestoreContext): TerminalFile {
  const file = terminalFiles(context).get(id);
  assert(file !== undefined, `file ${id} is a terminal`);
  return file;
}

/** A slave without its master side is replaced by the terminal that criu is started from, unless a client takes the master. */
export function isTakenOver(file: TerminalFile, context: RestoreContext): boolean {
  return context.options.offerMaster === undefined && isOrphan(file, context);
}

/** A slave whose master side is in none of the tasks. */
function isOrphan(file: TerminalFile, context: RestoreContext): boolean {
  const { info, isMaster, inherited } = file;
  if (info.type !== TtyType.PTY || isMaster || isHung(file) || inherited !== undefined) return false;
  const indexes = context.state(
    'master sides',
    () => new Set(allTerminals(context).flatMap((other) => (other.isMaster ? (other.info.pty?.index ?? -1) : []))),
  );
  return !indexes.has(info.pty?.index ?? -1);
}

/** The fewest control characters that a termios must have. */
const NCCS = 19;

/** What speaks against restoring the terminal of an entry. */
export function checkTerminal(entry: TtyFileEntry, context: RestoreContext): CriuErrorFields[] {
  const file = terminalFiles(context).get(entry.id);
  const action = 'cannot be restored';
  if (file === undefined) {
    const why = `terminal ${entry.tty_info_id} is not in tty-info.img: the image is damaged`;
    return [{ object: `files.img: file ${entry.id}`, action, why }];
  }
  const { info, object } = file;
  const damage = findDamage(info) ?? (needsPath(info) && file.path === '' ? 'it has no path' : undefined);
  if (damage !== undefined) return [{ object, action, why: `${damage}: the image is damaged` }];
  if (file.inherited !== undefined) return [];
  if (info.type === TtyType.EXT_TTY) {
    const key = terminalKey(info.rdev, info.dev ?? 0);
    const why = 'this terminal was declared external at the dump, and no descriptor was given for it';
    return [{ object, action, why, remedy: `add --inherit-fd fd[N]:${key}` }];
  }
  if (context.options.shellJob) return [];
  const isAlone = isTakenOver(file, context);
  if (!isAlone && !isOfOutside(file, context)) return [];
  const why = 'it is the terminal of the shell that the program was started from';
  const remedy = 'take over the terminal of criu with --shell-job';
  // The other side of a pair would not be that of another terminal.
  if (!isAlone) return [{ object, action, why, remedy }];
  const key = terminalKey(info.rdev, info.dev ?? 0);
  return [{ object, action, why, remedy: `${remedy}, or give another one with --inherit-fd fd[N]:${key}` }];
}

const needsPath = ({ type }: TtyInfoEntry) => type !== TtyType.PTY && type !== TtyType.EXT_TTY;

function isOfOutside({ info: { sid } }: TerminalFile, { tree }: RestoreContext): boolean {
  return sid !== 0 && !tree.members.some(({ pid }) => pid === sid);
}

function findDamage({ type, pty, termios, termios_locked, winsize, rdev }: TtyInfoEntry): string | undefined {
  const isPty = type === TtyType.PTY;
  if (type === TtyType.UNKNOWN) return 'it has no type';
  if (isPty !== (pty !== undefined))
    return isPty ? 'it has no number' : 'it has a number without being a pseudo terminal';
  const settings = [termios, termios_locked, winsize].filter((value) => value !== undefined).length;
  if (settings !== 0 && settings !== 3) return 'it has only a part of its settings';
  const isMaster = terminalOf(rdev)?.isMaster ?? false;
  if (settings === 0 && (!isPty || isMaster)) return 'it has no settings';
  if ([termios, termios_locked].some((entry) => entry !== undefined && entry.c_cc.length < NCCS)) {
    return 'it has too few control characters';
  }
  return undefined;
}
