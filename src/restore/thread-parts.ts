/**
 * What the last program of a task has for its threads but the leader: the leader makes them, and each runs a part of its
 * own and waits. Of a thousand threads nearly all are alike: what they have in common is planned once and copied.
 */
import type { Label, Program } from '../agent/program.ts';
import { CriuError } from '../base/errors.ts';
import type { TaskCoreEntry, ThreadCoreEntry } from '../image/gen/core.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { hasSeccomp } from '../resources/seccomp/restore-seccomp.ts';
import {
  haveMuchInCommon,
  isInherited,
  planCommonState,
  planConfinement,
  planOwnState,
} from '../resources/task/restore-thread.ts';
import { CLONE_ARGS_BYTES, cloneArgs, THREAD_FLAGS } from '../tracee/clone-agent.ts';
import type { RestoreContext } from './context.ts';
import type { RestoreTask, RestoreThread } from './restore-tree.ts';

export interface FinalThread {
  readonly tid: number;
  /** First op, and the op it ends in (pause). */
  readonly start: number;
  readonly end: number;
}

interface ThreadStart {
  readonly thread: RestoreThread;
  readonly label: Label;
}

/** A clone op for each thread: it begins at its label, with everything shared. */
export function planThreadStarts(program: Program, threads: readonly RestoreThread[]): ThreadStart[] {
  if (threads.length === 0) return [];
  // The kernel has read all of it when the call returns, so the next one may use it again.
  const tidWord = program.words(0);
  const args = program.words(...cloneArgs({ flags: THREAD_FLAGS, exitSignal: 0, setTidCount: 1 }));
  program.store64(program.at(args, 64), tidWord);
  return threads.map((thread) => {
    const label = program.label();
    program.store32(tidWord, thread.tid);
    program.clone(['create thread', thread.tid], SYS.clone3, args, CLONE_ARGS_BYTES, label);
    return { thread, label };
  });
}

/** The parts of the threads: steps 6 and, for most, 7 of final-program.ts. */
export function planThreadParts(
  program: Program,
  task: RestoreTask,
  starts: readonly ThreadStart[],
  context: RestoreContext,
): FinalThread[] {
  const { pid, abi } = task;
  const tc = tcOf(task);
  const leader = coreOf({ tid: pid, core: task.core }).threadCore;
  let last: { threadCore: ThreadCoreEntry; from: number; to: number; isConfined: boolean } | undefined;
  return starts.map(({ thread, label }) => {
    const { tid } = thread;
    const { threadCore, clearTidAddr } = coreOf(thread);
    const start = program.length;
    program.place(label);
    program.unchecked(() => planOwnState(program, { pid, tid, abi, threadCore, clearTidAddr, tc }));
    const from = program.length;
    const isAlike = last !== undefined && haveMuchInCommon(threadCore, last.threadCore);
    if (last !== undefined && isAlike) program.repeat(last.from, last.to);
    else if (!isInherited(leader, threadCore, tc))
      program.unchecked(() => planCommonState(program, { threadCore, tc }));
    const to = program.length;
    // Not copied, for its data is written to; but there may be nothing to do.
    const isConfined = !isAlike || last?.isConfined === true;
    if (isConfined && !hasSeccomp(threadCore)) program.unchecked(() => planThreadConfinement(program, thread, context));
    last = { threadCore, from, to, isConfined: isConfined && (hasSeccomp(threadCore) || program.length > to) };
    return { tid, start, end: program.call(SYS.pause).op };
  });
}

/** Credentials and filters of a thread that is not the leader. */
export function planThreadConfinement(program: Program, thread: RestoreThread, context: RestoreContext): void {
  planConfinement(program, coreOf(thread).threadCore, context.taskNow.creds, context.filters);
}

export function coreOf({ tid, core }: RestoreThread): { threadCore: ThreadCoreEntry; clearTidAddr: bigint } {
  const { thread_core, thread_info } = core;
  if (thread_core === undefined || thread_info === undefined) throw incomplete(tid, 'thread_core or thread_info');
  return { threadCore: thread_core, clearTidAddr: thread_info.clear_tid_addr };
}

export function tcOf({ pid, core }: RestoreTask): TaskCoreEntry {
  if (core.tc === undefined) throw incomplete(pid, 'tc');
  return core.tc;
}

function incomplete(tid: number, field: string): CriuError {
  return new CriuError({ object: `core-${tid}.img`, action: `has no ${field}`, why: 'the image is damaged' });
}
