/** The state of tasks that is neither memory nor files: what is read from outside and what each thread is asked. */
import type { Program } from '../agent/program.ts';
import { keepEncoded } from '../image/codec.ts';
import type { CoreEntry, TaskCoreEntry, ThreadCoreEntry } from '../image/gen/core.ts';
import type { ThreadInfoX86, UserX86FpregsEntry } from '../image/gen/core-x86.ts';
import type { AioRingEntry, MmEntry } from '../image/gen/mm.ts';
import { TASK_DEAD } from '../image/task-state.ts';
import { MAP_SHARED } from '../linux/abi/mman.ts';
import { tryReadFileBytes } from '../linux/syscalls/fs.ts';
import { parseAuxv } from '../proc/auxv.ts';
import type { FilesDump } from '../resources/fd/fd-table/collect-files.ts';
import {
  type DescribedCall,
  type InterruptedCalls,
  MADE_AGAIN,
} from '../resources/interrupted-call/interrupted-calls.ts';
import type { DescribedVma } from '../resources/mm/dump-vmas.ts';
import { describeLockFuture } from '../resources/mm/lock-future.ts';
import { describeRegisters } from '../resources/registers/registers.ts';
import { readTls } from '../resources/registers/tls.ts';
import { describeXstate } from '../resources/registers/xstate.ts';
import type { SeccompFilters } from '../resources/seccomp/seccomp.ts';
import {
  type AnsweredThread,
  addPersonality,
  checkTask,
  type DescribedTask,
  type DescribedThread,
  describeTask,
  describeThread,
  isAlike,
  OWN_NUMBERS,
  putOwnNumbers,
  readTask,
  readThread,
  type ThreadFacts,
  withoutStop,
} from '../resources/task/dump-thread.ts';
import { writeSyscallDispatch } from '../resources/task/syscall-dispatch.ts';
import { Guest, runGuests, type VisitResult } from '../tracee/guest.ts';
import { agentPlaces } from './agent-places.ts';
import { type DescribedCore, EXAMPLES_MAX } from './core-images.ts';
import type { FrozenTask, FrozenThread, FrozenZombie } from './frozen-tree.ts';
import { isOfKind, Questions, type ThreadQuestions } from './questions.ts';
import { addReap, type Twins } from './twins.ts';

/** The state out of the answers; the tree may run on before. */
export type DescribeState = () => TaskState;

/** What comes out for one task. */
export interface TaskState {
  readonly mm: DescribedTask['mm'];
  readonly brk: number;
  /** MCL_FUTURE and MCL_ONFAULT. */
  readonly lockFuture: number;
  readonly tc: TaskCoreEntry;
  /** Describes the cores, the leader's first. The tree may run on before. */
  readonly describeCores: (take: (core: DescribedCore) => void) => void;
}

const MARCH_X86_64 = 1;

/** What is asked of one task, before the answers are there. */
interface Inspection {
  readonly task: FrozenTask;
  readonly asked: readonly AskedThread[];
  /** Those that answer themselves. */
  readonly visited: readonly AskedThread[];
  readonly guest: Guest;
  /** Takes the answers of those, the leader's first. Throws CriuError when they speak against a dump. */
  take(results: readonly VisitResult[]): DescribeState;
}

interface AskedThread extends Omit<AnsweredThread, 'result'>, ThreadQuestions {
  readonly tls: ReturnType<typeof readTls>;
  /** The index of its answers, or of those of its example. */
  readonly answers: number;
}

/** What is asked is the same in every dump of this process, its rehearsal included. */
const questions = new Questions();

/** Asks all tasks and their threads at once, by one agent program in each thread. With twins a task forks one as well. */
export function inspectTaskStates(
  tasks: readonly { task: FrozenTask; special: readonly DescribedVma[] }[],
  filters: SeccompFilters,
  files: FilesDump,
  calls: InterruptedCalls,
  twinsOf: (task: FrozenTask) => Twins | undefined,
): DescribeState[] {
  const inspections: Inspection[] = [];
  let visited: ReturnType<typeof visit>;
  try {
    for (const { task, special } of tasks) {
      inspections.push(askTask(task, special, filters, files, calls, twinsOf(task)));
    }
    visited = visit(inspections);
  } finally {
    for (const { guest } of inspections) guest[Symbol.dispose]();
  }
  const { results, failure } = visited;
  const states: DescribeState[] = [];
  // Whoever has answered is listened to even when others have failed: there may be a twin to be ended.
  inspections.forEach((inspection, i) => {
    const answers = at(results, i);
    if (answers.length > 0) states.push(inspection.take(answers));
  });
  if (failure !== undefined) throw failure;
  return states;
}

function askTask(
  task: FrozenTask,
  special: readonly DescribedVma[],
  filters: SeccompFilters,
  files: FilesDump,
  calls: InterruptedCalls,
  twins: Twins | undefined,
): Inspection {
  const facts = readTask(task);
  const outside = readThread(task.leader);
  let tellFiles: ReturnType<FilesDump['ask']> | undefined;
  let tellTwins: ReturnType<Twins['ask']> | undefined;
  const describeCalls = new Map<FrozenThread, () => DescribedCall>();
  const { taskToken, brk, lockFuture, ...leader } = questions.forLeader(task, outside, facts, (program) => {
    tellFiles = files.ask(program, task.pid);
    for (const pid of task.deadTwins) addReap(program, pid);
    const shared = special.filter(({ entry }) => (entry.flags & MAP_SHARED) !== 0).map(({ entry }) => entry);
    tellTwins = twins?.ask(program, task, shared);
    describeCalls.set(task.leader, calls.ask(program, task.leader));
  });
  const asked = askThreads(task, { ...leader, outside }, (thread) =>
    calls.isAsked(thread) ? (program) => describeCalls.set(thread, calls.ask(program, thread)) : undefined,
  );
  const places = agentPlaces(special.map(({ seen }) => seen));
  const guest = new Guest(task.leader, places, task.leader.status.sigCgt);
  return {
    task,
    asked,
    visited: asked.filter(({ own }) => own === undefined),
    guest,
    take(results) {
      const result = at(results, 0);
      tellFiles?.(result);
      tellTwins?.(result, guest);
      checkTask(taskToken, result, task);
      const interrupted = new Map<FrozenThread, DescribedCall>();
      for (const [thread, describeCall] of describeCalls) interrupted.set(thread, describeCall());
      return () => {
        const first = describeThread({ ...at(asked, 0), result });
        const { tc, mm } = describeTask(taskToken, result, task, facts, first);
        const describeCores = (takeCore: (core: DescribedCore) => void) => {
          const answered = asked.map((one) => ({ ...one, result: at(results, one.answers) }));
          describeAll(task, answered, first, filters, interrupted, tc, takeCore);
        };
        return { mm, brk: result.result(brk), lockFuture: describeLockFuture(lockFuture, result), tc, describeCores };
      };
    },
  };
}

/** `addMore`: what else a thread is asked. */
function askThreads(
  { threads }: FrozenTask,
  leader: ThreadQuestions & { readonly outside: ThreadFacts },
  addMore: (thread: FrozenThread) => ((program: Program) => void) | undefined,
): AskedThread[] {
  const asked: AskedThread[] = [];
  /** Those that are asked, of which others may be examples. */
  const examples = new Map<FrozenThread, AskedThread>();
  for (const thread of threads) {
    const more = addMore(thread);
    const tls = readTls(thread.tid, thread.registers);
    const example = thread.alike && examples.get(thread.alike.example);
    if (example !== undefined && more === undefined && isOfKind(thread, example.thread)) {
      asked.push({ ...example, thread, tls, own: thread.alike });
      continue;
    }
    const outside = asked.length === 0 ? leader.outside : readThread(thread);
    const asking = asked.length === 0 ? leader : questions.forThread(thread, outside, more);
    const one = { ...asking, thread, outside, tls, own: undefined, answers: examples.size };
    examples.set(thread, one);
    asked.push(one);
  }
  return asked;
}

function describeAll(
  task: FrozenTask,
  answered: readonly (AskedThread & AnsweredThread)[],
  leader: DescribedThread,
  filters: SeccompFilters,
  interrupted: ReadonlyMap<FrozenThread, DescribedCall>,
  tc: TaskCoreEntry,
  take: (core: DescribedCore) => void,
): void {
  const seccomp = filters.add(answered.map(({ outside }) => outside.seccomp));
  const xstates = new XstateDescriber();
  const numbers = new Uint32Array(2 * OWN_NUMBERS.length);
  /** Threads that were described as a whole; the latest first. */
  const examples: number[] = [];
  for (let i = 0; i < answered.length; i++) {
    const one = at(answered, i);
    const { tid, xstate } = one.thread;
    const call = interrupted.get(one.thread) ?? MADE_AGAIN;
    const describe = () => {
      const described = i === 0 ? leader : describeThread(one);
      if (i > 0) addPersonality(described, leader);
      return describeCore(task, one, described, at(seccomp, i), call, xstates, tc);
    };
    const like = examples.find((example) => {
      const other = at(answered, example);
      return (
        xstate === other.thread.xstate &&
        call === (interrupted.get(other.thread) ?? MADE_AGAIN) &&
        one.tls === other.tls &&
        at(seccomp, i).seccomp_filter === at(seccomp, example).seccomp_filter &&
        at(seccomp, i).seccomp_mode === at(seccomp, example).seccomp_mode &&
        isAlike(one, other)
      );
    });
    if (like !== undefined) putOwnNumbers(numbers, one, call.isMadeAgain);
    // The leader has more than the others.
    else if (i > 0 && examples.unshift(i) > EXAMPLES_MAX) examples.pop();
    take({ tid, describe, like: like === undefined ? undefined : { tid: at(answered, like).thread.tid, numbers } });
  }
}

function describeCore(
  task: FrozenTask,
  { thread, outside, tls }: AskedThread,
  { threadCore, clearTidAddr }: DescribedThread,
  seccomp: Partial<ThreadCoreEntry>,
  { isMadeAgain, rest }: DescribedCall,
  xstates: XstateDescriber,
  tc: TaskCoreEntry,
): CoreEntry {
  const xstate = xstates.describe(thread.xstate);
  return {
    mtype: MARCH_X86_64,
    thread_info: {
      clear_tid_addr: clearTidAddr,
      gpregs: describeRegisters(thread.registers, isMadeAgain),
      fpregs: xstate.entry,
      tls,
      xstate_ext: xstate.extended,
    },
    ...(thread.tid === task.pid ? { tc } : {}),
    thread_core: {
      ...threadCore,
      ...seccomp,
      signals_p: withoutStop(task, threadCore.signals_p ?? outside.pending),
      ...(rest === undefined ? {} : { interrupted_call_ext: rest }),
    },
  };
}

function visit(inspections: readonly Inspection[]): ReturnType<typeof runGuests> {
  // Dispatched system calls would raise SIGSYS instead of answering the agent.
  const dispatched: AskedThread[] = [];
  for (const { visited } of inspections) {
    for (const one of visited) if (one.thread.dispatch !== undefined) dispatched.push(one);
  }
  for (const { thread } of dispatched) writeSyscallDispatch(thread.tid, undefined);
  try {
    return runGuests(inspections.map(({ guest, visited }) => ({ guest, visits: visited })));
  } finally {
    for (const { thread } of dispatched) writeSyscallDispatch(thread.tid, thread.dispatch);
  }
}

function at<T>(list: readonly T[], index: number): T {
  const value = list[index];
  if (value === undefined) throw new RangeError(`element ${index} is there`);
  return value;
}

/** FPU states, of which many are the same: see `FrozenThread`. */
class XstateDescriber {
  #area: Uint8Array | undefined = undefined;
  #last: { entry: UserX86FpregsEntry; extended: ThreadInfoX86['xstate_ext'] } | undefined = undefined;

  describe(area: Uint8Array) {
    if (this.#last !== undefined && area === this.#area) return this.#last;
    const { entry, extended } = describeXstate(area);
    this.#area = area;
    this.#last = {
      entry: keepEncoded(entry),
      extended: [...extended].map(([bit, content]) => ({ bit, content })),
    };
    return this.#last;
  }
}

/** The core image of a task that is dead. */
export function describeZombieCore(zombie: FrozenZombie): CoreEntry {
  return {
    mtype: MARCH_X86_64,
    tc: {
      task_state: TASK_DEAD,
      exit_code: zombie.exitCode,
      personality: 0,
      flags: 0,
      blk_sigset: 0n,
      comm: zombie.comm,
      sigactions: [],
      sem_undo_ext: [],
    },
  };
}

const AT_NULL = 0n;

/** The auxiliary vector of a task, without what is not there. */
export function readAuxv(pid: number): ReturnType<typeof parseAuxv> {
  const auxv = tryReadFileBytes(`/proc/${pid}/auxv`);
  return typeof auxv === 'number' ? [] : parseAuxv(auxv);
}

/** The mm image of a task. */
export function describeMm(
  task: FrozenTask,
  vmas: readonly DescribedVma[],
  { exe, auxv, aios }: { exe: number; auxv: ReturnType<typeof readAuxv>; aios: AioRingEntry[] },
  state: TaskState,
): MmEntry {
  const { stat } = task;
  return {
    mm_start_code: stat.startcode,
    mm_end_code: stat.endcode,
    mm_start_data: stat.startData,
    mm_end_data: stat.endData,
    mm_start_stack: stat.startstack,
    mm_start_brk: stat.startBrk,
    mm_brk: state.brk,
    mm_arg_start: stat.argStart,
    mm_arg_end: stat.argEnd,
    mm_env_start: stat.envStart,
    mm_env_end: stat.envEnd,
    exe_file_id: exe,
    // Without the terminator: the kernel adds it, and CRIU takes no more words than it knows pairs.
    mm_saved_auxv: auxv.filter(([type]) => type !== AT_NULL).flat(),
    vmas: vmas.map(({ entry }) => entry),
    dumpable: state.mm.dumpable,
    aios,
    thp_disabled: state.mm.isThpDisabled,
    ...(state.lockFuture === 0 ? {} : { lock_future_ext: state.lockFuture }),
  };
}
