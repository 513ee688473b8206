/** The state of tasks that is neither memory nor files: what is read from outside and what each thread is asked. */
import { Program } from '../agent/program.ts';
import type { CoreEntry } from '../image/gen/core.ts';
import type { MmEntry } from '../image/gen/mm.ts';
import { TASK_DEAD } from '../image/task-state.ts';
import { VMA_AREA_AIORING } from '../image/vma-status.ts';
import { MAP_SHARED } from '../linux/abi/mman.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { tryReadFileBytes } from '../linux/syscalls/fs.ts';
import { parseAuxv } from '../proc/auxv.ts';
import type { FilesDump } from '../resources/fd/fd-table/collect-files.ts';
import type { InterruptedCalls } from '../resources/interrupted-call/interrupted-calls.ts';
import { describeRing } from '../resources/mm/dump-aio.ts';
import type { DescribedVma } from '../resources/mm/dump-vmas.ts';
import { describeLockFuture, inspectLockFuture } from '../resources/mm/lock-future.ts';
import { describeRegisters } from '../resources/registers/registers.ts';
import { describeXstate } from '../resources/registers/xstate.ts';
import type { SeccompFilters } from '../resources/seccomp/seccomp.ts';
import {
  addPersonality,
  type DescribedTask,
  describeTask,
  describeThread,
  inspectTask,
  inspectThread,
  readTask,
  readThread,
  type ThreadFacts,
  withoutStop,
} from '../resources/task/dump-thread.ts';
import { writeSyscallDispatch } from '../resources/task/syscall-dispatch.ts';
import { Guest } from '../tracee/guest.ts';
import { readXstate, setRegister } from '../tracee/registers.ts';
import { agentPlaces } from './agent-places.ts';
import type { FrozenTask, FrozenThread, FrozenZombie } from './frozen-tree.ts';
import { addReap, type Twins } from './twins.ts';

/** What comes out for one task. */
export interface TaskState {
  readonly mm: DescribedTask['mm'];
  readonly brk: number;
  /** MCL_FUTURE and MCL_ONFAULT. */
  readonly lockFuture: number;
  /** core images by tid. */
  readonly cores: ReadonlyMap<number, CoreEntry>;
}

const MARCH_X86_64 = 1;

/** Asks a task and its threads, by one agent program in each thread. With `twins` it forks a twin as well. */
export function inspectTaskState(
  task: FrozenTask,
  vmas: readonly DescribedVma[],
  filters: SeccompFilters,
  files: FilesDump,
  calls: InterruptedCalls,
  twins: Twins | undefined,
): TaskState {
  const facts = readTask(task);
  const asked = task.threads.map((thread) => {
    const outside = readThread(thread);
    const { abortAddress } = outside.rseq;
    if (abortAddress !== undefined) setRegister(thread.registers, 'rip', abortAddress);
    const xstate = describeXstate(readXstate(thread.tid));
    const program = new Program();
    const describeCall = calls.ask(program, thread);
    return { thread, outside, xstate, program, describeCall, token: inspectThread(program, thread, outside) };
  });
  const [leader] = asked;
  if (leader === undefined) throw new RangeError('a task has a thread');
  const taskToken = inspectTask(leader.program, task, facts);
  const brk = leader.program.call(SYS.brk, 0);
  const lockFuture = inspectLockFuture(leader.program);
  const tellFiles = files.ask(leader.program, task.pid);
  for (const pid of task.deadTwins) addReap(leader.program, pid);
  const shared = vmas.filter(({ entry }) => (entry.flags & MAP_SHARED) !== 0).map(({ entry }) => entry);
  const tellTwins = twins?.ask(leader.program, task, shared);
  const results = visit(task, vmas, asked);
  tellFiles(at(results, 0));
  tellTwins?.(at(results, 0));
  const described = asked.map(({ token, thread, outside }, i) =>
    describeThread(token, at(results, i), thread, outside),
  );
  const { tc, mm } = describeTask(taskToken, at(results, 0), task, facts, at(described, 0));
  for (const thread of described.slice(1)) addPersonality(thread, at(described, 0));
  const seccomp = filters.add(asked.map(({ outside }) => outside.seccomp));
  const cores = new Map<number, CoreEntry>();
  asked.forEach(({ thread, xstate, outside, describeCall }, i) => {
    const { threadCore, clearTidAddr } = at(described, i);
    const { isMadeAgain, rest } = describeCall();
    const isLeader = thread.tid === task.pid;
    cores.set(thread.tid, {
      mtype: MARCH_X86_64,
      thread_info: {
        clear_tid_addr: clearTidAddr,
        gpregs: describeRegisters(thread.registers, isMadeAgain),
        fpregs: xstate.entry,
        tls: emptyTls(),
        xstate_ext: [...xstate.extended].map(([bit, content]) => ({ bit, content })),
      },
      ...(isLeader ? { tc } : {}),
      thread_core: {
        ...threadCore,
        ...at(seccomp, i),
        signals_p: withoutStop(task, threadCore.signals_p ?? outside.pending),
        ...(rest === undefined ? {} : { interrupted_call_ext: rest }),
      },
    });
  });
  return { mm, brk: at(results, 0).result(brk), lockFuture: describeLockFuture(lockFuture, at(results, 0)), cores };
}

function visit(
  task: FrozenTask,
  vmas: readonly DescribedVma[],
  asked: readonly { thread: FrozenThread; outside: ThreadFacts; program: Program }[],
) {
  const places = agentPlaces(vmas.map(({ seen }) => seen));
  using guest = new Guest(task.leader, places, task.leader.status.sigCgt);
  // Dispatched system calls would raise SIGSYS instead of answering the agent.
  const dispatched = asked.filter(({ outside }) => outside.dispatch !== undefined);
  for (const { thread } of dispatched) writeSyscallDispatch(thread.tid, undefined);
  try {
    return guest.run(asked.map(({ thread, program }) => ({ thread, program })));
  } finally {
    for (const { thread, outside } of dispatched) writeSyscallDispatch(thread.tid, outside.dispatch);
  }
}

function at<T>(list: readonly T[], index: number): T {
  const value = list[index];
  if (value === undefined) throw new RangeError(`element ${index} is there`);
  return value;
}

const GDT_ENTRY_TLS_MIN = 12;

/** The three thread-local segments of 32-bit code (man 2 set_thread_area), which 64-bit tasks do not use. */
function emptyTls() {
  return [0, 1, 2].map((i) => ({
    entry_number: GDT_ENTRY_TLS_MIN + i,
    base_addr: 0,
    limit: 0,
    seg_32bit: false,
    contents_h: false,
    contents_l: false,
    read_exec_only: true,
    limit_in_pages: false,
    seg_not_present: true,
    usable: false,
  }));
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
    },
  };
}

const AT_NULL = 0n;

/** The mm image of a task. */
export function describeMm(
  task: FrozenTask,
  vmas: readonly DescribedVma[],
  exeFileId: number,
  state: TaskState,
): MmEntry {
  const { stat } = task.leader;
  const auxv = tryReadFileBytes(`/proc/${task.pid}/auxv`);
  const pairs = typeof auxv === 'number' ? [] : parseAuxv(auxv);
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
    exe_file_id: exeFileId,
    // Without the terminator: the kernel adds it, and CRIU takes no more words than it knows pairs.
    mm_saved_auxv: pairs.filter(([type]) => type !== AT_NULL).flat(),
    vmas: vmas.map(({ entry }) => entry),
    dumpable: state.mm.dumpable,
    aios: vmas.filter(({ entry }) => (entry.status & VMA_AREA_AIORING) !== 0).map(({ entry }) => describeRing(entry)),
    thp_disabled: state.mm.isThpDisabled,
    ...(state.lockFuture === 0 ? {} : { lock_future_ext: state.lockFuture }),
  };
}
