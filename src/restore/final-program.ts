/**
 * The last programs of a task: what is left to do once memory and files are there.
 *
 * Order, and why:
 * 1. files are finished        they need capabilities and criu's names; then what waits for them can wait again
 * 2. exe link and mm fields    the file is opened by path, so before chroot; nothing of the stub is mapped any more
 * 3. cwd, root, umask          after everything that opens files by path
 * 4. protections, madvise, locks, the vdso's place
 * 5. early state of the task   see resources/task/restore-thread.ts
 * 6. threads                   clone3 with set_tid needs capabilities; they inherit what the leader has in common with
 *                              them, and each runs its own part of the program
 * 7. threads with seccomp      are confined when they are traced, since a filter may forbid the rest
 * 8. late state of the task    when the threads are done
 */
import type { Program } from '../agent/program.ts';
import { assert } from '../base/errors.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { planFilesystem } from '../resources/fd/filesystem.ts';
import { planRingContents } from '../resources/fd/io-uring/restore-ring.ts';
import { planRings } from '../resources/fd/ring-mappings.ts';
import { planPolls } from '../resources/mm/aio-polls.ts';
import { planMmMap } from '../resources/mm/restore-mm.ts';
import { planPlaceVdso, type VdsoPiece } from '../resources/mm/restore-vdso.ts';
import { planFinishMappings, planLockFuture } from '../resources/mm/restore-vmas.ts';
import { planCommonState, planOwnState, planTaskEarly, planTaskLate } from '../resources/task/restore-thread.ts';
import type { BuiltTask } from './builder.ts';
import type { RestoreContext } from './context.ts';
import type { RestoreTask, RestoreThread } from './restore-tree.ts';
import { coreOf, type FinalThread, planThreadParts, planThreadStarts, tcOf } from './thread-parts.ts';

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
  const { files, taskNow, tree, home } = context;
  planRingContents(program, task, tree);
  files.addOps('finish', task.pid, program);
  planRings(program, task, tree, [...parkedVdso, { start: home.address, end: home.address + home.bytes }]);
  planPolls(program, task.mm.aios);
  const exe = files.openForMapping(program, task.pid, task.mm.exe_file_id, 0);
  planMmMap(program, task.mm, exe);
  program.must('close the executable', SYS.close, exe);
  planFilesystem(program, task, files, tree);
  planFinishMappings(program, task.special, writable);
  const pieces = planPlaceVdso(program, parkedVdso, task.special);
  planLockFuture(program, task.mm.lock_future_ext);
  planTaskEarly(program, tcOf(task), taskNow, coreOf(leaderOf(task)).threadCore);
  const others = task.threads.slice(1);
  const leader = { pid: task.pid, tid: task.pid, abi: task.abi, ...coreOf(leaderOf(task)), tc: tcOf(task) };
  planCommonState(program, leader);
  const starts = planThreadStarts(program, others);
  planOwnState(program, leader);
  if (others.length === 0) planLate(program, task, context);
  else program.stop();
  const threads = planThreadParts(program, task, starts, context);
  return { program, threads, vdso: pieces.find(({ name }) => name === '[vdso]') };
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

function leaderOf({ threads: [leader] }: RestoreTask): RestoreThread {
  assert(leader !== undefined, 'a task has a thread');
  return leader;
}
