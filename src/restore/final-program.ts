/**
 * The last programs of a task: what is left to do once memory and files are there.
 *
 * Order, and why:
 * 1. files are finished        they need capabilities and criu's names; then what waits for them can wait again
 * 2. exe link and mm fields    the file is opened by path, so before chroot; nothing of the stub is mapped any more
 * 3. cwd, root, umask          after everything that opens files by path
 * 4. protections, madvise, locks, the vdso's place
 * 5. early state of the task   see resources/task/restore-thread.ts
 * 6. threads                   clone3 with set_tid needs capabilities; each runs its own part of the program
 * 7. threads with seccomp      are confined when they are traced, since a filter may forbid the rest
 * 8. late state of the task    when the threads are done
 */
import type { Label, Program } from '../agent/program.ts';
import { assert, CriuError } from '../base/errors.ts';
import type { TaskCoreEntry, ThreadCoreEntry } from '../image/gen/core.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { planFilesystem } from '../resources/fd/filesystem.ts';
import { planRings } from '../resources/fd/packet-socket/ring-mappings.ts';
import { planPolls } from '../resources/mm/aio-polls.ts';
import { planMmMap } from '../resources/mm/restore-mm.ts';
import { planPlaceVdso, type VdsoPiece } from '../resources/mm/restore-vdso.ts';
import { planFinishMappings, planLockFuture } from '../resources/mm/restore-vmas.ts';
import { hasSeccomp } from '../resources/seccomp/restore-seccomp.ts';
import { planConfinement, planTaskEarly, planTaskLate, planThread } from '../resources/task/restore-thread.ts';
import { CLONE_ARGS_BYTES, cloneArgs, THREAD_FLAGS } from '../tracee/clone-agent.ts';
import type { BuiltTask } from './builder.ts';
import type { RestoreContext } from './context.ts';
import type { RestoreTask, RestoreThread } from './restore-tree.ts';

export interface FinalThread {
  readonly tid: number;
  /** First op, and the op it ends in (pause). */
  readonly start: number;
  readonly end: number;
}

export interface FinalProgram {
  readonly program: Program;
  readonly threads: readonly FinalThread[];
  /** Where the task's [vdso] is at last. */
  readonly vdso: VdsoPiece | undefined;
}

/** Steps 1 to 6, and 8 too when there is one thread only; ends in a stop. */
export function planFinal(
  program: Program,
  { task, writable, parkedVdso }: BuiltTask,
  context: RestoreContext,
): FinalProgram {
  const { files, taskNow, tree } = context;
  files.addOps('finish', task.pid, program);
  planRings(program, task);
  planPolls(program, task.mm.aios);
  const exe = files.openForMapping(program, task.pid, task.mm.exe_file_id, 0);
  planMmMap(program, task.mm, exe);
  program.must('close the executable', SYS.close, exe);
  planFilesystem(program, task, files, tree);
  planFinishMappings(program, task.mm.vmas, writable);
  const pieces = planPlaceVdso(program, parkedVdso, task.mm.vmas);
  planLockFuture(program, task.mm.lock_future_ext);
  planTaskEarly(program, tcOf(task), taskNow, coreOf(leaderOf(task)).threadCore);
  const others = task.threads.slice(1);
  const starts = others.map((thread) => ({ thread, label: planThreadStart(program, thread.tid) }));
  planOwnThread(program, task, leaderOf(task));
  if (others.length === 0) planLate(program, task, context);
  else program.stop();
  const threads = starts.map(({ thread, label }) => {
    const start = program.length;
    program.place(label);
    program.unchecked(() => {
      planOwnThread(program, task, thread);
      if (!hasSeccomp(coreOf(thread).threadCore)) planThreadConfinement(program, thread, context);
    });
    const end = program.call(SYS.pause).op;
    return { tid: thread.tid, start, end };
  });
  return { program, threads, vdso: pieces.find(({ name }) => name === '[vdso]') };
}

/** Step 7: credentials and filters of a thread that is not the leader. */
export function planThreadConfinement(program: Program, thread: RestoreThread, context: RestoreContext): void {
  planConfinement(program, coreOf(thread).threadCore, context.taskNow.creds, context.filters);
}

/** Step 8; ends in a stop. */
export function planLate(program: Program, task: RestoreTask, context: RestoreContext): void {
  const warnings = planTaskLate(program, {
    pid: task.pid,
    tc: tcOf(task),
    threadCore: coreOf(leaderOf(task)).threadCore,
    dumpable: task.mm.dumpable,
    isThpDisabled: task.mm.thp_disabled ?? false,
    filters: context.filters,
    now: context.taskNow,
  });
  for (const warning of warnings) context.log.warn(`${task.label}: ${warning}`);
  program.stopBySignal(task.pid);
}

function planOwnThread(program: Program, task: RestoreTask, thread: RestoreThread): void {
  planThread(program, { pid: task.pid, tid: thread.tid, abi: task.abi, ...coreOf(thread), tc: tcOf(task) });
}

function leaderOf({ threads: [leader] }: RestoreTask): RestoreThread {
  assert(leader !== undefined, 'a task has a thread');
  return leader;
}

function coreOf({ tid, core }: RestoreThread): { threadCore: ThreadCoreEntry; clearTidAddr: bigint } {
  const { thread_core, thread_info } = core;
  if (thread_core === undefined || thread_info === undefined) throw incomplete(tid, 'thread_core or thread_info');
  return { threadCore: thread_core, clearTidAddr: thread_info.clear_tid_addr };
}

function tcOf({ pid, core }: RestoreTask): TaskCoreEntry {
  if (core.tc === undefined) throw incomplete(pid, 'tc');
  return core.tc;
}

function incomplete(tid: number, field: string): CriuError {
  return new CriuError({ object: `core-${tid}.img`, action: `has no ${field}`, why: 'the image is damaged' });
}

/** A clone op for a thread: it begins at the label, with everything shared. */
function planThreadStart(program: Program, tid: number): Label {
  const setTid = program.data(new Uint8Array(Int32Array.of(tid).buffer));
  const args = program.words(...cloneArgs({ flags: THREAD_FLAGS, exitSignal: 0, setTidCount: 1 }));
  program.store64(program.at(args, 64), setTid);
  const start = program.label();
  program.clone(`create thread ${tid}`, SYS.clone3, args, CLONE_ARGS_BYTES, start);
  return start;
}
