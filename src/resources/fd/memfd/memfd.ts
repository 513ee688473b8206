/**
 * memfds, and descriptors of shared anonymous memory (opened through /proc/PID/map_files): flags, position, owner,
 * seals, mode, content.
 */
import type { Program, ProgramArg } from '../../../agent/program.ts';
import { FdTypes } from '../../../image/gen/fdinfo.ts';
import type { MemfdFileEntry } from '../../../image/gen/memfd.ts';
import { AT_FDCWD, F_SETFL, O_ACCMODE, O_CLOEXEC, O_PATH, O_RDWR, SEEK_SET } from '../../../linux/abi/fcntl.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { SETFL_MASK } from '../fd-table/owner.ts';
import type { DumpResult, FileKind, KindDump, OpenFile, RestoreContext, RestoreHome } from '../file-kind.ts';
import { openFlags } from '../regular-file/create-files.ts';
import { memfdInodes } from './memfd-inodes.ts';
import { memfdObjects } from './memfd-objects.ts';

export const memfd: FileKind = {
  type: FdTypes.MEMFD,

  recognise: (file) => file.isKernelShmem,

  dump: (file, id, dump) => dumpMemfd(file, id, dump),

  check({ memfd: entry }, context) {
    if (entry === undefined || memfdObjects(context).find(entry.inode_id) !== undefined) return [];
    const why = `memfd.img has no memory object ${entry.inode_id}`;
    return [{ object: `file ${entry.id} of files.img`, action: 'cannot be restored', why }];
  },

  prepare: (context) => memfdObjects(context).create(),

  release: (context) => memfdObjects(context).release(),

  create([entry], home) {
    if (entry?.memfd !== undefined) createDescription(entry.memfd, home);
  },

  fown: (entry) => entry.memfd?.fown,

  statusFlags: (entry) => entry.memfd?.flags,
};

/** The entry of a descriptor or of a mapping. */
export function dumpMemfd(file: OpenFile, id: number, dump: KindDump): DumpResult {
  if (file.link.startsWith('/SYSV')) return { unsupported: 'System V shared memory cannot be opened again as a file' };
  const { flags, fown } = file;
  const pos = Number(file.pos);
  return { type: FdTypes.MEMFD, id, memfd: { id, flags, pos, fown, inode_id: memfdInodes(dump).identify(file) } };
}

const pathOf = (entry: MemfdFileEntry, context: RestoreContext) =>
  `/proc/${context.controllerPid}/fd/${memfdObjects(context).descriptor(entry.inode_id)}`;

const nameOf = (entry: MemfdFileEntry, context: RestoreContext) =>
  `/memfd:${memfdObjects(context).find(entry.inode_id)?.name ?? ''}`;

function createDescription(entry: MemfdFileEntry, home: RestoreHome): void {
  const { table, context } = home;
  const { id, inode_id, flags, pos } = entry;
  const objects = memfdObjects(context);
  const name = nameOf(entry, context);
  const inherited = context.inherited(name);
  const isReadWrite = (flags & (O_ACCMODE | O_PATH)) === O_RDWR;
  let fd: number;
  if (inherited !== undefined) {
    home.made(id, home.pull(inherited), true);
    return;
  }
  if (isReadWrite && objects.takeOriginal(inode_id)) {
    fd = home.pull({ later: () => objects.descriptor(inode_id) });
    if ((flags & SETFL_MASK) !== 0) table.do(`set the flags of ${name}`, SYS.fcntl, fd, F_SETFL, flags & SETFL_MASK);
  } else {
    const path = { path: () => pathOf(entry, context) };
    fd = table.open(`open ${name}`, SYS.openat, AT_FDCWD, path, openFlags(flags) | O_CLOEXEC);
  }
  if ((flags & O_PATH) === 0 && pos !== 0) table.do(`set the position in ${name}`, SYS.lseek, fd, pos, SEEK_SET);
  home.made(id, fd, true);
}

/** Adds the open of a memory object for a mapping; returns the descriptor, which the caller closes. */
export function openMemfdForMapping(
  program: Program,
  entry: MemfdFileEntry,
  fdflags: number,
  context: RestoreContext,
): ProgramArg {
  const because = `open ${nameOf(entry, context)} for a mapping`;
  if ((fdflags & O_ACCMODE) !== O_RDWR) {
    const path = program.string(pathOf(entry, context));
    return program.must(because, SYS.openat, AT_FDCWD, path, openFlags(fdflags) | O_CLOEXEC);
  }
  const pidfd = program.must('refer to criu itself', SYS.pidfd_open, context.controllerPid, 0);
  const fd = program.must(because, SYS.pidfd_getfd, pidfd, memfdObjects(context).descriptor(entry.inode_id), 0);
  program.must('close the pidfd', SYS.close, pidfd);
  return fd;
}
