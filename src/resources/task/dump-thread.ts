/**
 * A thread, and the process it belongs to, as the core image has them: what to ask before an agent runs, what to ask
 * inside, and the image fields that come out.
 *
 * Order for a thread: `readThread` (from outside, before any agent runs in the task), `inspectThread` (questions for the
 * agent), run, `describeThread`. For a process the same with `readTask`, `inspectTask`, `describeTask`, in the program
 * of the leader.
 */
import type { Place, Program } from '../../agent/program.ts';
import { TWO_32 } from '../../base/bytes.ts';
import { CriuError } from '../../base/errors.ts';
import type { AlikeThread, FrozenTask, FrozenThread } from '../../dump/frozen-tree.ts';
import { keepEncoded } from '../../image/codec.ts';
import type { TaskCoreEntry, ThreadCoreEntry } from '../../image/gen/core.ts';
import type { SignalQueueEntry } from '../../image/gen/siginfo.ts';
import { TASK_ALIVE, TASK_STOPPED } from '../../image/task-state.ts';
import { SIGSTOP, SS_ONSTACK } from '../../linux/abi/signal.ts';
import type { PosixTimer } from '../../proc/timers.ts';
import type { VisitResult } from '../../tracee/guest.ts';
import { abiOf } from '../../tracee/registers.ts';
import { type CredsToken, describeCreds, inspectCreds } from '../creds/creds.ts';
import { type LsmLabels, readLsmLabels } from '../creds/lsm.ts';
import { NAMES, showRegisters } from '../registers/registers.ts';
import { describeRlimits, inspectRlimits, type RlimitsToken } from '../rlimits/rlimits.ts';
import { describeThreadAreas, inspectThreadAreas, type ThreadAreasToken } from '../rseq/thread-areas.ts';
import { chosenAffinity } from '../sched/affinity.ts';
import { describeSched, inspectSched, type SchedToken } from '../sched/sched.ts';
import { readSeccomp, type ThreadSeccomp } from '../seccomp/seccomp.ts';
import { describeSigactions, inspectSigactions, type SigactionsToken } from '../signals/sigactions.ts';
import { describeSigaltstack, inspectSigaltstack, type SigaltstackToken, stackParts } from '../signals/sigaltstack.ts';
import { readSignalQueue, signalOf } from '../signals/signal-queues.ts';
import { describeItimers, type ItimersToken, inspectItimers } from '../timers/itimers.ts';
import { describeOverruns, inspectOverruns, type OverrunsToken } from '../timers/pending-overruns.ts';
import {
  describePosixTimers,
  inspectPosixTimers,
  type PosixTimersToken,
  readPosixTimers,
} from '../timers/posix-timers.ts';
import { ownAreas, ownStack, putOwn } from './alike-thread.ts';
import { COREDUMP_FILTER_DEFAULT, type ProcAttributes, readProcAttributes } from './proc-attributes.ts';
import {
  describeProcessFlags,
  hasSegments,
  inspectProcessFlags,
  type ProcessFlags,
  type ProcessFlagsToken,
} from './process-flags.ts';
import { describeThreadFlags, inspectThreadFlags, type ThreadFlagsToken } from './thread-flags.ts';
import { describeThreadTuning, inspectThreadTuning, type ThreadTuningToken } from './thread-tuning.ts';

/** What is read of a stopped thread from outside. */
export interface ThreadFacts {
  readonly pending: SignalQueueEntry;
  readonly lsm: LsmLabels;
  /** For `SeccompFilters`, which numbers the filters of the whole tree. */
  readonly seccomp: ThreadSeccomp;
  readonly affinity: Uint8Array | undefined;
}

export function readThread(thread: FrozenThread): ThreadFacts {
  const { pid, tid, status } = thread;
  return {
    pending: readSignalQueue(tid, 'thread', status.sigPnd !== 0n),
    lsm: readLsmLabels(pid, tid),
    seccomp: readSeccomp(tid, status.seccomp),
    affinity: chosenAffinity(tid, status.cpusAllowed),
  };
}

export interface ThreadToken {
  readonly overruns: OverrunsToken | undefined;
  readonly areas: ThreadAreasToken;
  readonly stack: SigaltstackToken;
  readonly sched: SchedToken;
  readonly creds: CredsToken;
  readonly flags: ThreadFlagsToken;
  readonly tuning: ThreadTuningToken;
}

/** Questions to one thread, asked by itself. */
export function inspectThread(program: Program, thread: FrozenThread, { pending }: ThreadFacts): ThreadToken {
  return {
    overruns: inspectOverruns(program, pending, { ...thread, queue: 'thread' }),
    areas: inspectThreadAreas(program, abiOf(thread.registers)),
    stack: inspectSigaltstack(program),
    sched: inspectSched(program),
    creds: inspectCreds(program, thread.status.groups.length),
    flags: inspectThreadFlags(program),
    tuning: inspectThreadTuning(program),
  };
}

/** A thread that has answered. */
export interface AnsweredThread {
  readonly token: ThreadToken;
  /** Of another thread, when `own` says what is not the same. */
  readonly result: VisitResult;
  readonly own: AlikeThread | undefined;
  readonly thread: FrozenThread;
  readonly outside: ThreadFacts;
}

export interface DescribedThread {
  /** Without cg_set, seccomp_mode and seccomp_filter, which are numbered over the whole tree. */
  readonly threadCore: ThreadCoreEntry;
  /** For thread_info. */
  readonly clearTidAddr: bigint;
  /** The leader's goes to task_core_entry; that of another thread to personality_ext when it is not the same. */
  readonly personality: number;
}

export function describeThread({ token, result, own, thread, outside }: AnsweredThread): DescribedThread {
  const flags = describeThreadFlags(token.flags, result);
  const answered = describeThreadAreas(token.areas, result);
  const { futex_rla, futex_rla_len, clearTidAddr } = own === undefined ? answered : ownAreas(thread, own, answered);
  const threadCore: ThreadCoreEntry = {
    futex_rla,
    futex_rla_len,
    sas: own === undefined ? describeSigaltstack(token.stack, result) : ownStack(own),
    // The leader's mask is in task_core_entry.
    ...(thread.pid === thread.tid ? {} : { blk_sigset: thread.signalMask }),
    ...(thread.rseq === undefined ? {} : { rseq_entry: thread.rseq }),
    ...describeSched(token.sched, result),
    ...(flags.pdeathSig === 0 ? {} : { pdeath_sig: flags.pdeathSig }),
    signals_p: describeOverruns(token.overruns, result, outside.pending),
    creds: keepEncoded(describeCreds(token.creds, result, thread.status, outside.lsm)),
    comm: thread.status.name,
    ...(outside.affinity === undefined ? {} : { cpu_affinity_ext: outside.affinity }),
    ...(thread.dispatch === undefined ? {} : { syscall_dispatch_ext: thread.dispatch }),
    ...describeThreadTuning(token.tuning, result),
  };
  return { threadCore, clearTidAddr, personality: flags.personality };
}

/** Whether the core of a thread, but for `OWN_NUMBERS`, is that of another; both are no leaders. */
export function isAlike(a: AnsweredThread, b: AnsweredThread): boolean {
  const { areas, stack } = a.token;
  return (
    a.token === b.token &&
    // Of the status only the numbers of the thread are not the same, see `StatusParser`, or its name.
    a.thread.status.groups === b.thread.status.groups &&
    a.thread.status.name === b.thread.status.name &&
    isPlain(a) &&
    isPlain(b) &&
    isSameRseq(a.thread.rseq, b.thread.rseq) &&
    a.result.isLike(b.result, [areas.head, areas.length, areas.tidAddress, stack.stack])
  );
}

const isSameRseq = (a: FrozenThread['rseq'], b: FrozenThread['rseq']) =>
  a?.rseq_abi_size === b?.rseq_abi_size && a?.signature === b?.signature;

/** What threads that are alike have of their own: numbers in a core. */
export const OWN_NUMBERS: readonly string[] = [
  ...NAMES.map((name) => `thread_info.gpregs.${name}`),
  'thread_info.clear_tid_addr',
  'thread_core.futex_rla',
  'thread_core.futex_rla_len',
  'thread_core.sas.ss_sp',
  'thread_core.sas.ss_size',
  'thread_core.sas.ss_flags',
  'thread_core.blk_sigset',
  'thread_core.rseq_entry.rseq_abi_pointer',
];

/** Puts them into words of 32 bits, two for each, the lower one first. */
export function putOwnNumbers(
  words: Uint32Array,
  { token, result, own, thread }: AnsweredThread,
  isMadeAgain: boolean,
): void {
  const { registers, signalMask, rseq } = thread;
  words.set(new Uint32Array(registers.buffer, registers.byteOffset, 2 * NAMES.length));
  showRegisters(words, isMadeAgain);
  let at = 2 * NAMES.length;
  const put = (place: Place) => {
    result.putWord(place, words, at);
    at += 2;
  };
  put(token.areas.tidAddress);
  put(token.areas.head);
  put(token.areas.length);
  const { sp, size, flags } = stackParts(token.stack);
  put(sp);
  put(size);
  put(flags);
  words[at - 2] = (words[at - 2] ?? 0) & ~SS_ONSTACK;
  words[at - 1] = 0;
  if (own !== undefined) putOwn(words, 2 * NAMES.length, thread, own);
  putNumber(words, at, signalMask);
  putNumber(words, at + 2, rseq?.rseq_abi_pointer ?? 0n);
}

/** Bigints are slow, and most of these are 0, or fit a number. */
function putNumber(words: Uint32Array, at: number, value: bigint): void {
  const number = Number(value);
  const isExact = number < 2 ** 53;
  words[at] = isExact ? number : Number(value & 0xffff_ffffn);
  words[at + 1] = isExact ? number / TWO_32 : Number(value >> 32n);
}

/** Nothing is known of the thread from outside that most do not have. */
function isPlain({ thread, outside }: AnsweredThread): boolean {
  const { affinity, lsm, pending } = outside;
  const isUnlabelled = lsm.lsm_profile === undefined && lsm.lsm_sockcreate === undefined;
  return thread.dispatch === undefined && affinity === undefined && isUnlabelled && pending.signals.length === 0;
}

/** Notes the execution domain of a thread that is not its leader's; so for nearly none. */
export function addPersonality(thread: DescribedThread, leader: DescribedThread): void {
  if (thread.personality !== leader.personality) thread.threadCore.personality_ext = thread.personality;
}

/** What is read of a stopped process from outside. */
export interface TaskFacts {
  readonly pending: SignalQueueEntry;
  readonly posixTimers: readonly PosixTimer[];
  readonly attributes: ProcAttributes;
}

export function readTask(task: FrozenTask): TaskFacts {
  const { pid, leader } = task;
  return {
    pending: withoutStop(task, readSignalQueue(pid, 'process', leader.status.shdPnd !== 0n)),
    posixTimers: readPosixTimers(pid),
    attributes: readProcAttributes(pid),
  };
}

/**
 * A stopped task with one more SIGSTOP waiting is as one without: SIGCONT, which alone lets it go on, takes it away
 * (man 7 signal). CRIU waits for ever for such a task to stop again.
 */
export function withoutStop({ stopSignal }: FrozenTask, queue: SignalQueueEntry): SignalQueueEntry {
  if (stopSignal === undefined) return queue;
  return { signals: queue.signals.filter((entry) => signalOf(entry) !== SIGSTOP) };
}

export interface TaskToken {
  readonly overruns: OverrunsToken | undefined;
  readonly sigactions: SigactionsToken;
  readonly itimers: ItimersToken;
  readonly posixTimers: PosixTimersToken;
  readonly rlimits: RlimitsToken;
  readonly flags: ProcessFlagsToken;
}

/** Questions to a process, asked by its leader. */
export function inspectTask(program: Program, { leader }: FrozenTask, facts: TaskFacts): TaskToken {
  return {
    overruns: inspectOverruns(program, facts.pending, { ...leader, queue: 'process' }),
    sigactions: inspectSigactions(program),
    itimers: inspectItimers(program),
    posixTimers: inspectPosixTimers(program, facts.posixTimers),
    rlimits: inspectRlimits(program),
    flags: inspectProcessFlags(program),
  };
}

export interface DescribedTask {
  readonly tc: TaskCoreEntry;
  /** Parts of mm_entry. */
  readonly mm: Pick<ProcessFlags, 'dumpable' | 'isThpDisabled'>;
}

/** Throws CriuError when the answers speak against a dump. */
export function checkTask(token: TaskToken, result: VisitResult, { label }: FrozenTask): void {
  if (!hasSegments(token.flags, result)) return;
  const why = 'it has a local descriptor table (man 2 modify_ldt), as programs with 16-bit code have';
  throw new CriuError({ object: label, action: 'cannot be dumped', why });
}

export function describeTask(
  token: TaskToken,
  result: VisitResult,
  task: FrozenTask,
  facts: TaskFacts,
  leader: DescribedThread,
): DescribedTask {
  const flags = describeProcessFlags(token.flags, result);
  const { stat } = task;
  const { signalMask } = task.leader;
  const tc: TaskCoreEntry = {
    task_state: task.stopSignal === undefined ? TASK_ALIVE : TASK_STOPPED,
    exit_code: 0,
    personality: leader.personality,
    flags: stat.flags,
    blk_sigset: signalMask,
    comm: stat.comm,
    timers: {
      ...describeItimers(token.itimers, result),
      posix: describePosixTimers(token.posixTimers, result, (tid) => virtualTid(task, tid)),
    },
    rlimits: describeRlimits(token.rlimits, result),
    signals_s: describeOverruns(token.overruns, result, facts.pending),
    ...(facts.attributes.loginuid === undefined ? {} : { loginuid: facts.attributes.loginuid }),
    oom_score_adj: facts.attributes.oomScoreAdj,
    sigactions: describeSigactions(token.sigactions, result, abiOf(task.leader.registers)),
    sem_undo_ext: [],
    child_subreaper: flags.isSubreaper,
    ...(task.stopSignal === undefined ? {} : { stop_signo: task.stopSignal }),
    ...(flags.membarrierRegistrations === 0 ? {} : { membarrier_registration_mask: flags.membarrierRegistrations }),
    ...taskExtensions(flags, facts.attributes),
  };
  return { tc, mm: flags };
}

/** What CRIU's format has no field for, as far as it is not the default. */
function taskExtensions(flags: ProcessFlags, { coredumpFilter }: ProcAttributes): Partial<TaskCoreEntry> {
  return {
    ...(coredumpFilter === COREDUMP_FILTER_DEFAULT ? {} : { coredump_filter_ext: coredumpFilter }),
    ...(flags.mdwe === 0 ? {} : { mdwe_ext: flags.mdwe }),
    ...(flags.isMemoryMerged ? { memory_merge_ext: true } : {}),
    ...(flags.thpDisableFlags === 0 ? {} : { thp_disable_flags_ext: flags.thpDisableFlags }),
  };
}

/** The number of a thread in its own pid namespace. */
function virtualTid(task: FrozenTask, tid: number): number {
  const thread = task.threads.find((candidate) => candidate.tid === tid);
  return thread?.status.nsPid.at(-1) ?? tid;
}
