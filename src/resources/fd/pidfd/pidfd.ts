/**
 * pidfds (man 2 pidfd_open): references to tasks of the tree, living, zombies, or dead and forgotten.
 *
 * Those of dead tasks are opened by the controller, of a process that has ended and is reaped at once; descriptors that
 * meant the same process mean the same one again (their inode in pidfs is the same since Linux 6.9). A pidfd of a task
 * outside the tree is refused: the process may be another one when the tree is restored.
 *
 * Lost: the number of the inode, and what PIDFD_GET_INFO tells about the end of a process that was reaped.
 */
import { Program } from '../../../agent/program.ts';
import type { CriuErrorFields } from '../../../base/errors.ts';
import { FdTypes } from '../../../image/gen/fdinfo.ts';
import type { PidfdEntry } from '../../../image/gen/pidfd.ts';
import { O_RDWR } from '../../../linux/abi/fcntl.ts';
import { PIDFD_NONBLOCK, PIDFD_THREAD } from '../../../linux/abi/pidfd.ts';
import { CLONE_VFORK, CLONE_VM } from '../../../linux/abi/sched.ts';
import { SIGCHLD } from '../../../linux/abi/signal.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { check } from '../../../linux/kernel.ts';
import { close } from '../../../linux/syscalls/fs.ts';
import { pidfd_open, tryWait } from '../../../linux/syscalls/process.ts';
import { OwnProgram } from '../../../tracee/clone-agent.ts';
import type { DumpResult, FileKind, KindDump, OpenFile, RestoreContext, RestoreHome } from '../file-kind.ts';
import { filesOfType } from '../files-of-type.ts';

/** What the kernel and the image have in place of the pid of a task that was reaped. */
const DEAD = -1;

export const pidfd: FileKind = {
  type: FdTypes.PIDFD,

  recognise: (file) => file.link === 'anon_inode:[pidfd]',

  dump: (file, id, dump) => dumpPidfd(file, id, dump),

  check: (entry, context) => (entry.pidfd === undefined ? [] : checkTask(entry.pidfd, context)),

  prepare: (context) => openDead(context),

  release: (context) => closeDead(context),

  create([entry], home) {
    if (entry?.pidfd !== undefined) createPidfd(entry.pidfd, home);
  },

  fown: (entry) => entry.pidfd?.fown,
};

function dumpPidfd(file: OpenFile, id: number, dump: KindDump): DumpResult {
  const { pidfd: info, ino } = file.fdinfo;
  if (info === undefined) return { unsupported: 'the kernel does not show its process' };
  const { pid, nsPid } = info;
  if (pid !== DEAD && !dump.hasTask(pid)) return outsider(pid, file, dump);
  const flags = file.flags & ~O_RDWR;
  const inode = Number(BigInt.asUintN(32, ino ?? BigInt(file.stat.st_ino)));
  const entry = { id, ino: inode, flags, nspid: nsPid.at(-1) ?? pid, fown: file.fown };
  return { type: FdTypes.PIDFD, id, pidfd: entry };
}

function outsider(pid: number, file: OpenFile, dump: KindDump): DumpResult {
  if (pid <= 0) return { unsupported: 'it refers to a process of another pid namespace' };
  const owner = dump.tasks.find(({ threads }) => threads.some(({ tid }) => tid === pid));
  if (owner !== undefined && (file.flags & PIDFD_THREAD) !== 0) {
    return { unsupported: `it refers to thread ${pid} of ${owner.label}, which is not the leader` };
  }
  return {
    unsupported: `it refers to process ${pid}, which is not part of the tree`,
    remedy: 'dump a tree that has that process too, or let the program close the pidfd',
  };
}

function checkTask({ id, nspid }: PidfdEntry, { tree }: RestoreContext): CriuErrorFields[] {
  if (nspid === DEAD || tree.members.some(({ pid }) => pid === nspid)) return [];
  const why = `it refers to process ${nspid}, which is not part of the images`;
  return [{ object: `pidfd (file ${id})`, action: 'cannot be restored', why }];
}

function createPidfd({ id, flags, nspid }: PidfdEntry, home: RestoreHome): void {
  const { table, context } = home;
  if (nspid === DEAD) {
    home.made(id, home.pull({ later: () => deadPidfds(context).get(id) ?? -1 }), true);
    return;
  }
  home.made(id, table.open(`refer to process ${nspid}`, SYS.pidfd_open, nspid, openFlags(flags)), true);
}

const openFlags = (flags: number) => flags & (PIDFD_NONBLOCK | PIDFD_THREAD);

/** The controller's pidfds of dead processes, by file id. */
const deadPidfds = ({ state }: RestoreContext): Map<number, number> => state('dead pidfds', () => new Map());

function openDead(context: RestoreContext): void {
  const byInode = new Map<number, PidfdEntry[]>();
  for (const { pidfd: entry } of filesOfType(context.tree.files, FdTypes.PIDFD)) {
    if (entry?.nspid !== DEAD) continue;
    byInode.set(entry.ino, [...(byInode.get(entry.ino) ?? []), entry]);
  }
  for (const entries of byInode.values()) {
    const pid = startDeadProcess();
    try {
      for (const { id, flags } of entries) deadPidfds(context).set(id, pidfd_open(pid, openFlags(flags)));
    } finally {
      tryWait(pid);
    }
  }
}

/** A process that has ended when this returns, and is not reaped yet. */
function startDeadProcess(): number {
  const program = new Program();
  program.call(SYS.exit, 0);
  return check('clone3', new OwnProgram(program).clone({ flags: CLONE_VM | CLONE_VFORK, exitSignal: SIGCHLD }));
}

function closeDead(context: RestoreContext): void {
  const fds = deadPidfds(context);
  for (const fd of fds.values()) close(fd);
  fds.clear();
}
