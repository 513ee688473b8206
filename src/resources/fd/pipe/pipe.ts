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
import { PAIR_ROOM } from '../step-args.ts';
import { dumpPipeData, isAnonymousPipe, type PipeContent, pipeContent, pipeId, planPipeContent } from './pipe-data.ts';
import { plainPipes } from './plain-pipes.ts';

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

  pairs: plainPipes,
  groupKey: (entry) => entry.pipe?.pipe_id ?? -1,

  create(entries, home) {
    const ends: PipeEntry[] = [];
    for (const { pipe: entry } of entries) if (entry !== undefined) ends.push(entry);
    createPipe(ends, home);
  },

  fown: (entry) => entry.pipe?.fown,
};

/** pipe2 makes the ends that it can; all others are opened through /proc, as they were (they have O_LARGEFILE). */
function createPipe(entries: readonly PipeEntry[], home: RestoreHome): void {
  const [first] = entries;
  if (first === undefined) return;
  const { table, context } = home;
  const name = `pipe:[${first.pipe_id}]`;
  const inherited = context.options.inheritFds.length === 0 ? undefined : context.inherited(name);
  if (inherited !== undefined) {
    const fd = home.pull(inherited);
    for (const entry of entries) reopen(entry, fd, name, home);
    table.close(fd);
    return;
  }
  const ends = [nativeEnd(entries, O_RDONLY), nativeEnd(entries, O_WRONLY)] as const;
  const content = pipeContent('pipes-data', first.pipe_id, context);
  const cloexec = bothCloexec(ends, home);
  const flags = pipeFlags(ends, content) | cloexec;
  const [readEnd, writeEnd] = table.openPair(['make', name], SYS.pipe2, PAIR_ROOM, flags);
  planPipeContent(table, writeEnd, name, content);
  for (const entry of entries) {
    if (ends[0] === entry || ends[1] === entry) continue;
    reopen(entry, (entry.flags & O_ACCMODE) === O_RDONLY ? readEnd : writeEnd, name, home);
  }
  // The reading end does not get O_DIRECT (fs/pipe.c create_pipe_files()).
  finishEnd(ends[0], readEnd, flags & ~O_DIRECT, name, home);
  finishEnd(ends[1], writeEnd, flags, name, home);
}

/** An end that pipe2 makes. */
function nativeEnd(entries: readonly PipeEntry[], mode: number): PipeEntry | undefined {
  for (const entry of entries) {
    if ((entry.flags & O_ACCMODE) === mode && (entry.flags & O_LARGEFILE) === 0) return entry;
  }
  return undefined;
}

/** O_CLOEXEC unless neither end is to have it. */
function bothCloexec([readEnd, writeEnd]: Ends, home: RestoreHome): number {
  if (readEnd === undefined || writeEnd === undefined) return O_CLOEXEC;
  return home.cloexec(readEnd.id) | home.cloexec(writeEnd.id);
}

type Ends = readonly [PipeEntry | undefined, PipeEntry | undefined];

/** Flags for pipe2, mostly right for both ends. Packets can be written in packet mode only. */
function pipeFlags([readEnd, writeEnd]: Ends, content: PipeContent | undefined): number {
  const status = writeEnd?.flags ?? readEnd?.flags ?? 0;
  const hasPackets = content !== undefined && content.packets.length > 1;
  return (status & (O_NONBLOCK | O_DIRECT)) | (hasPackets ? O_DIRECT : 0);
}

function finishEnd(entry: PipeEntry | undefined, fd: number, flags: number, name: string, home: RestoreHome): void {
  if (entry === undefined) {
    home.table.close(fd);
    return;
  }
  if (((entry.flags ^ flags) & SETFL_MASK) !== 0) {
    home.table.do(`set the flags of ${name}`, SYS.fcntl, fd, F_SETFL, entry.flags & SETFL_MASK);
  }
  home.made(entry.id, fd, (flags & O_CLOEXEC) !== 0);
}

/** Another open file description of the same pipe. */
function reopen(entry: PipeEntry, from: number, name: string, home: RestoreHome): void {
  const path = { text: `/proc/self/fd/${from}` };
  const mode = entry.flags & (O_RDWR | O_WRONLY);
  const fd = home.table.open(`open another end of ${name}`, SYS.openat, AT_FDCWD, path, mode | O_CLOEXEC | O_NONBLOCK);
  home.table.do(`set the flags of ${name}`, SYS.fcntl, fd, F_SETFL, entry.flags & SETFL_MASK);
  home.made(entry.id, fd, true);
}
