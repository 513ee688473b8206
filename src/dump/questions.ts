/**
 * The agent programs with which tasks and threads are asked for their state. Nearly all are asked the same, so programs
 * are made once and shared: a program costs as much as all else that is done for a small task.
 */
import { Program, type Result } from '../agent/program.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { inspectLockFuture, type LockFutureToken } from '../resources/mm/lock-future.ts';
import {
  inspectTask,
  inspectThread,
  type TaskFacts,
  type TaskToken,
  type ThreadFacts,
  type ThreadToken,
} from '../resources/task/dump-thread.ts';
import { abiOf } from '../tracee/registers.ts';
import type { FrozenTask, FrozenThread } from './frozen-tree.ts';

export interface ThreadQuestions {
  readonly program: Program;
  readonly token: ThreadToken;
}

/** To the leader of a task, for itself and for the process. */
export interface TaskQuestions extends ThreadQuestions {
  readonly taskToken: TaskToken;
  readonly brk: Result;
  readonly lockFuture: LockFutureToken;
}

export class Questions {
  readonly #threads = new Map<string, ThreadQuestions>();
  readonly #leaders = new Map<string, TaskQuestions>();

  /** `addMore` adds what only this thread is asked. */
  forThread(
    thread: FrozenThread,
    outside: ThreadFacts,
    addMore: ((program: Program) => void) | undefined,
  ): ThreadQuestions {
    const kind = kindOf(thread);
    const isUsual = outside.pending.signals.length === 0 && addMore === undefined;
    const known = isUsual ? this.#threads.get(kind) : undefined;
    if (known !== undefined) return known;
    const program = new Program();
    const questions = { program, token: inspectThread(program, thread, outside) };
    addMore?.(program);
    if (isUsual) this.#threads.set(kind, questions);
    return questions;
  }

  /** `addMore` adds what only this task is asked. */
  forLeader(
    task: FrozenTask,
    outside: ThreadFacts,
    facts: TaskFacts,
    addMore: (program: Program) => void,
  ): TaskQuestions {
    const kind = kindOf(task.leader);
    const isUsual =
      outside.pending.signals.length + facts.pending.signals.length === 0 && facts.posixTimers.length === 0;
    const common = (isUsual ? this.#leaders.get(kind) : undefined) ?? askLeader(task, outside, facts);
    if (isUsual) this.#leaders.set(kind, common);
    const program = common.program.copy();
    addMore(program);
    return program.byteLength === common.program.byteLength ? common : { ...common, program };
  }
}

/** Threads of one kind are asked the same: for their groups the program has room. */
const kindOf = ({ registers, status }: FrozenThread) => `${abiOf(registers).bits} ${status.groups.length}`;

/** Whether two threads are asked by calls of the same kind. */
export const isOfKind = (a: FrozenThread, b: FrozenThread): boolean => abiOf(a.registers) === abiOf(b.registers);

function askLeader(task: FrozenTask, outside: ThreadFacts, facts: TaskFacts): TaskQuestions {
  const program = new Program();
  return {
    program,
    token: inspectThread(program, task.leader, outside),
    taskToken: inspectTask(program, task, facts),
    brk: program.call(SYS.brk, 0),
    lockFuture: inspectLockFuture(program, abiOf(task.leader.registers)),
  };
}
