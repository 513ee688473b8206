/**
 * Terminals (man 4 pts, tty, console; man 2 TIOCSCTTY): pseudo terminals, /dev/tty, consoles, virtual terminals, serial lines.
 *
 * An entry of files.img is one open file; the terminal behind it is in tty-info.img, its path in a regular file entry of
 * its own. At restore the controller opens terminals and sets them up (holder.ts); tasks fetch them from it. Session
 * leaders get their controlling terminals when they become leaders (session.ts).
 */
import { CriuError, type CriuErrorFields } from '../../../base/errors.ts';
import { FdTypes, type FileEntry } from '../../../image/gen/fdinfo.ts';
import { type TtyFileEntry, TtyType } from '../../../image/gen/tty.ts';
import { AT_FDCWD, F_GETFL, FASYNC, O_CLOEXEC, O_NOCTTY, O_PATH, S_IFCHR, S_IFMT } from '../../../linux/abi/fcntl.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { fcntl } from '../../../linux/syscalls/fs.ts';
import type { FileKind, KindDump, OpenFile, RestoreHome } from '../file-kind.ts';
import { checkTerminal, terminalFile } from './check.ts';
import { DumpedTerminals } from './dump-terminals.ts';
import { terminalHolder } from './holder.ts';
import { terminalKey, terminalOf } from './terminal.ts';

export const tty: FileKind = {
  type: FdTypes.TTY,

  recognise: (file) =>
    (file.stat.st_mode & S_IFMT) === S_IFCHR &&
    (file.flags & O_PATH) === 0 &&
    terminalOf(file.stat.st_rdev) !== undefined,

  dump(file, id, dump) {
    const terminals = dumpedTerminals(dump);
    const key = terminalKey(file.stat.st_rdev, file.stat.st_dev);
    const isExternal = dump.options.externalTerminals.has(key);
    const number = terminals.register(file, isExternal);
    if (typeof number !== 'number') return number;
    // Only a slave that was opened by its master keeps it (drivers/tty/pty.c ptm_open_peer()).
    const ownCloexec = Math.max(fcntl(file.localFd, F_GETFL), 0) & O_CLOEXEC;
    const entry: TtyFileEntry = { id, tty_info_id: number, flags: file.flags | ownCloexec, fown: file.fown };
    if (!isExternal) entry.regf_id = addPath(file, dump);
    return { type: FdTypes.TTY, id, tty: entry };
  },

  afterAll(dump) {
    for (const problem of dumpedTerminals(dump).problems()) dump.addProblem(problem);
  },

  pathEntry: (entry) => entry.tty?.regf_id,

  check: (entry, context) => (entry.tty === undefined ? [] : checkTerminal(entry.tty, context)),

  prepare: (context) => terminalHolder(context).prepare(),

  settle: (context) => terminalHolder(context).letGo(),

  release: (context) => terminalHolder(context).release(),

  create([entry], home) {
    if (entry?.tty !== undefined) createTerminal(entry, home);
  },

  fown: (entry) => entry.tty?.fown,

  statusFlags: (entry) => entry.tty?.flags,
};

const dumpedTerminals = (dump: KindDump) => dump.state('terminals', () => new DumpedTerminals(dump));

const DELETED = ' (deleted)';

/** The entry for the path. The name of a pseudo terminal is gone once it is hung up. */
function addPath(file: OpenFile, dump: KindDump): number {
  const id = dump.nextFileId();
  const { link, flags, fown, stat } = file;
  const name = link.endsWith(DELETED) ? link.slice(0, -DELETED.length) : link;
  const reg = { id, flags, pos: BigInt.asUintN(64, file.pos), fown, name, mode: stat.st_mode, build_id: [] };
  const mount = dump.options.hasOwnMounts && file.mntId >= 0 ? { mnt_id: file.mntId } : {};
  dump.addEntry({ type: FdTypes.REG, id, reg: { ...reg, ...mount } });
  return id;
}

/** /dev/tty is another terminal in every session, so a task of the session opens it; all others come from the controller. */
function createTerminal(entry: FileEntry, home: RestoreHome): void {
  const { context, table, task } = home;
  const file = terminalFile(entry.id, context);
  if (file.info.type === TtyType.CTTY && file.inherited === undefined) {
    const { sid } = file.info;
    const isOurs = sid === 0 || sid === task.sid || !context.tree.members.some(({ pid }) => pid === sid);
    if (!isOurs) throw wrongSession(file.object, task.label, sid);
    const cloexec = home.cloexec(entry.id);
    const flags = (file.entry.flags & ~(FASYNC | O_CLOEXEC)) | O_NOCTTY | cloexec;
    const fd = table.open(`open ${file.path}`, SYS.openat, AT_FDCWD, { text: file.path }, flags);
    home.made(entry.id, fd, cloexec !== 0);
    return;
  }
  const later = () => terminalHolder(context).fdOf(entry.id);
  home.made(entry.id, home.pull(file.inherited ?? { later }), true);
}

function wrongSession(object: string, label: string, sid: number): CriuError {
  const fields: CriuErrorFields = {
    object,
    action: 'cannot be restored',
    why: `it is the terminal of session ${sid}, but ${label}, the first that uses it, is in another session`,
  };
  return new CriuError(fields);
}
