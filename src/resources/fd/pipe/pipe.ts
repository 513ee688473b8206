/**
 * Pipes (man 7 pipe): both ends, further ends opened through /proc/PID/fd, size, content, packet mode.
 *
 * All ends are made together, by the first task that has one. Lost: whether content was written in small pieces, which
 * nobody can see unless in packet mode.
 */

import { FdTypes } from '../../../image/gen/fdinfo.ts';
import type { PipeEntry } from '../../../image/gen/pipe.ts';
import {
  AT_FDCWD,
  F_SETFL,
  O_ACCMODE,
  O_CLOEXEC,
  O_DIRECT,
  O_LARGEFILE,
  O_NONBLOCK,
  O_PATH,
  O_RDONLY,
  O_RDWR,
  O_WRONLY,
  S_IFIFO,
  S_IFMT,
} from '../../../linux/abi/fcntl.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { SETFL_MASK } from '../fd-table/owner.ts';
import type { FileKind, RestoreHome } from '../file-kind.ts';
import { dumpPipeData, isAnonymousPipe, type PipeContent, pipeContent, pipeId, planPipeContent } from './pipe-data.ts';

export const pipe: FileKind = {
  type: FdTypes.PIPE,

  recognise: (file) => (file.stat.st_mode & S_IFMT) === S_IFIFO && (file.flags & O_PATH) === 0 && isAnonymousPipe(file),

  dump(file, id, dump) {
    const { flags, fown } = file;
    if ((flags & O_ACCMODE) !== O_WRONLY) {
      const problem = dumpPipeData('pipes-data', file, dump);
      if (problem !== undefined) return problem;
    }
    return { type: FdTypes.PIPE, id, pipe: { id, pipe_id: pipeId(file), flags, fown } };
  },

  groupKey: (entry) => `${entry.pipe?.pipe_id}`,

  create(entries, home) {
    createPipe(
      entries.flatMap(({ pipe: entry }) => entry ?? []),
      home,
    );
  },

  fown: (entry) => entry.pipe?.fown,
};

/** pipe2 makes the ends that it can; all others are opened through /proc, as they were (they have O_LARGEFILE). */
function createPipe(entries: readonly PipeEntry[], home: RestoreHome): void {
  const [first] = entries;
  if (first === undefined) return;
  const { table, context } = home;
  const name = `pipe:[${first.pipe_id}]`;
  const inherited = context.inherited(name);
  if (inherited !== undefined) {
    const fd = home.pull(inherited);
    for (const entry of entries) reopen(entry, fd, name, home);
    table.close(fd);
    return;
  }
  const native = (mode: number) =>
    entries.find(({ flags }) => (flags & O_ACCMODE) === mode && (flags & O_LARGEFILE) === 0);
  const ends = [native(O_RDONLY), native(O_WRONLY)] as const;
  const content = pipeContent('pipes-data', first.pipe_id, context);
  const flags = pipeFlags(ends, content);
  const [readEnd, writeEnd] = table.openPair(`make ${name}`, SYS.pipe2, { bytes: new Uint8Array(8) }, flags);
  planPipeContent(table, writeEnd, name, content);
  for (const entry of entries) {
    if (!ends.includes(entry)) reopen(entry, (entry.flags & O_ACCMODE) === O_RDONLY ? readEnd : writeEnd, name, home);
  }
  // The reading end does not get O_DIRECT (fs/pipe.c create_pipe_files()).
  finishEnd(ends[0], readEnd, flags & ~O_DIRECT, name, home);
  finishEnd(ends[1], writeEnd, flags, name, home);
}

/** Flags for pipe2, mostly right for both ends. Packets can be written in packet mode only. */
function pipeFlags(
  [readEnd, writeEnd]: readonly [PipeEntry | undefined, PipeEntry | undefined],
  content: PipeContent | undefined,
): number {
  const status = writeEnd?.flags ?? readEnd?.flags ?? 0;
  const hasPackets = content !== undefined && content.packets.length > 1;
  return O_CLOEXEC | (status & (O_NONBLOCK | O_DIRECT)) | (hasPackets ? O_DIRECT : 0);
}

function finishEnd(entry: PipeEntry | undefined, fd: number, flags: number, name: string, home: RestoreHome): void {
  if (entry === undefined) {
    home.table.close(fd);
    return;
  }
  if (((entry.flags ^ flags) & SETFL_MASK) !== 0) {
    home.table.do(`set the flags of ${name}`, SYS.fcntl, fd, F_SETFL, entry.flags & SETFL_MASK);
  }
  home.made(entry.id, fd, true);
}

/** Another open file description of the same pipe. */
function reopen(entry: PipeEntry, from: number, name: string, home: RestoreHome): void {
  const path = { text: `/proc/self/fd/${from}` };
  const mode = entry.flags & (O_RDWR | O_WRONLY);
  const fd = home.table.open(`open another end of ${name}`, SYS.openat, AT_FDCWD, path, mode | O_CLOEXEC | O_NONBLOCK);
  home.table.do(`set the flags of ${name}`, SYS.fcntl, fd, F_SETFL, entry.flags & SETFL_MASK);
  home.made(entry.id, fd, true);
}
