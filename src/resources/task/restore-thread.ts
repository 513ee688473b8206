/**
 * A thread, and the process it belongs to, from the core image into a task that is being built.
 *
 * Four pieces of program, in this order. All signals are blocked in all threads throughout.
 *
 * 1. `planTaskEarly`, by the leader, while it is the only thread. Its memory is there, and its zombies have died.
 *    - membarrier registrations: with one thread the kernel doesn't wait for a grace period;
 *    - the audit id: the program opens criu's /proc;
 *    - the SELinux label: a process with several threads can't change it;
 *    - System V semaphores: the threads share what is to be undone;
 *    - signal actions: ignoring a signal empties all its queues, so this is before any signal is queued.
 * 2. `planOwnState` and `planCommonState`, by each thread, also the leader. Nothing here takes a capability away. The leader
 *    plans what they have in common before it makes the others, who inherit it (`isInherited`).
 * 3. `planConfinement`, by each thread but the leader. A thread without seccomp may go straight on to this. One that
 *    `hasSeccomp` must be traced with PTRACE_O_SUSPEND_SECCOMP before.
 *    - the name first: a filter is expected after it;
 *    - seccomp filters before the credentials: installing needs CAP_SYS_ADMIN or no_new_privs;
 *    - parent-death signal after the credentials, whose change resets it.
 * 4. `planTaskLate`, by the leader, when all other threads have ended theirs (and, if the leader `hasSeccomp`, all are
 *    traced with PTRACE_O_SUSPEND_SECCOMP: its filters may be meant for all of them).
 *    - POSIX timers are made when the threads that they notify exist, and with criu's capabilities;
 *    - signals of the process are queued before RLIMIT_SIGPENDING is lowered;
 *    - resource limits after everything that needs descriptors, memory or priority, but with CAP_SYS_RESOURCE;
 *    - the leader's own `planConfinement`;
 *    - dumpable when the credentials of all threads are there, since each change of them resets it;
 *    - flags of the process, then timers are armed, interval timers as late as possible.
 *
 * From outside, by the controller: `writeProcAttributes`, and `writeSyscallDispatch` for each thread when no agent will
 * run in it any more.
 *
 * Inside piece 2: what each thread has of its own comes first, for the rest is copied from thread to thread
 * (restore/thread-parts.ts); struct rseq and the robust list lie in memory that exists already; scheduling needs CAP_SYS_NICE;
 * personality comes after all mappings exist (READ_IMPLIES_EXEC).
 */

import type { Abi } from '../../agent/abi.ts';
import type { Program } from '../../agent/program.ts';
import { CriuError } from '../../base/errors.ts';
import { once } from '../../base/per-run.ts';
import { type TaskCoreEntry, ThreadCoreEntry } from '../../image/gen/core.ts';
import type { SeccompEntry } from '../../image/gen/seccomp.ts';
import { SCHED_DEADLINE, SCHED_IDLE, SCHED_NORMAL, SCHED_RESET_ON_FORK } from '../../linux/abi/sched.ts';
import { planSelinuxLabel } from '../creds/lsm.ts';
import { type CredsNow, mayFilter, planCreds, planNoNewPrivs } from '../creds/restore-creds.ts';
import { planRlimits, type RlimitsNow } from '../rlimits/rlimits.ts';
import { planRseq } from '../rseq/rseq.ts';
import { planThreadAreas } from '../rseq/thread-areas.ts';
import { planAffinity } from '../sched/affinity.ts';
import { planSched } from '../sched/sched.ts';
import { hasSeccomp, planSeccomp } from '../seccomp/restore-seccomp.ts';
import { planSigactions } from '../signals/sigactions.ts';
import { planSigaltstack } from '../signals/sigaltstack.ts';
import { planSignalQueue } from '../signals/signal-queues.ts';
import { planSemaphores } from '../sysv/semaphores.ts';
import { planItimers } from '../timers/itimers.ts';
import { planPosixTimersArm, planPosixTimersCreate } from '../timers/posix-timers.ts';
import { planLoginuid } from './proc-attributes.ts';
import { planDumpable, planMembarrier, planProcessFlags } from './process-flags.ts';
import { planName, planPdeathSig, planPersonality } from './thread-flags.ts';
import { planThreadTuning } from './thread-tuning.ts';

/** What the new task is before, as far as it matters. */
export interface TaskNow {
  readonly creds: CredsNow;
  readonly rlimits: RlimitsNow;
  /** /proc/PID/loginuid of criu, which new tasks inherit; undefined without audit. */
  readonly loginuid: number | undefined;
  /** See `supportsTimerIds`. */
  readonly supportsTimerIds: boolean;
}

/** Piece 1: see the head of this file. */
export function planTaskEarly(
  program: Program,
  tc: TaskCoreEntry,
  now: Pick<TaskNow, 'loginuid' | 'creds'>,
  leader: Pick<ThreadCoreEntry, 'creds'> = {},
): void {
  planMembarrier(program, tc.membarrier_registration_mask ?? 0);
  planLoginuid(program, tc.loginuid, now.loginuid);
  if (leader.creds !== undefined) planSelinuxLabel(program, leader.creds, now.creds.lsm);
  planSigactions(program, tc.sigactions);
  planSemaphores(program, tc.sem_undo_ext);
}

/** A thread that gets its state back. Numbers are those in the task's own pid namespace. */
export interface ThreadPlan {
  readonly pid: number;
  readonly tid: number;
  readonly abi: Abi;
  readonly threadCore: ThreadCoreEntry;
  /** thread_info.clear_tid_addr. */
  readonly clearTidAddr: bigint;
  /** Of the leader: name and personality of threads whose own are not in the image. */
  readonly tc: Pick<TaskCoreEntry, 'comm' | 'personality'>;
}

/** What of a core belongs to piece 2 and is another in each thread; or what is set elsewhere, from outside. */
const OWN_FIELDS = [
  'futex_rla', 'futex_rla_len', 'rseq_entry', 'sas', 'signals_p',
  'blk_sigset', 'blk_sigset_extended', 'cg_set', 'interrupted_call_ext', 'syscall_dispatch_ext',
] as const; // biome-ignore format: a table

/** The first part of piece 2. */
export function planOwnState(program: Program, thread: ThreadPlan): void {
  const { pid, tid, abi, threadCore, clearTidAddr } = thread;
  const { futex_rla, futex_rla_len } = threadCore;
  planThreadAreas(program, { futex_rla, futex_rla_len, clearTidAddr }, abi);
  planRseq(program, threadCore.rseq_entry);
  if (threadCore.sas !== undefined) planSigaltstack(program, threadCore.sas);
  planSignalQueue(program, threadCore.signals_p, { pid, tid, queue: 'thread' });
}

/** What of a core `planCommonState` sets. */
const INHERITED_FIELDS = [
  'comm', 'personality_ext', 'sched_nice', 'sched_policy', 'sched_prio', 'ioprio_ext', 'cpu_affinity_ext',
  'sched_deadline_ext', 'timerslack_ext', 'tsc_ext', 'mce_kill_ext', 'cpuid_fault_ext', 'speculation_ext',
] as const; // biome-ignore format: a table

/**
 * Whether a thread that `leader` makes has the common state of its core by birth, when the leader has its own (kernel/fork.c,
 * copy_process). Not with SCHED_RESET_ON_FORK, and a timer slack becomes the default of the thread. A leader that is
 * scheduled last of all should not make many threads.
 */
export function isInherited(leader: ThreadCoreEntry, thread: ThreadCoreEntry, { comm }: ThreadPlan['tc']): boolean {
  const { sched_policy: policy = SCHED_NORMAL, timerslack_ext: slack } = leader;
  if (slack !== undefined || policy === SCHED_IDLE || policy === SCHED_DEADLINE) return false;
  if ((policy & SCHED_RESET_ON_FORK) !== 0 || (leader.comm ?? comm) !== (thread.comm ?? comm)) return false;
  for (const name of INHERITED_FIELDS) if (name !== 'comm' && leader[name] !== thread[name]) return false;
  return true;
}

/** The rest of it: the same ops for threads that have this in common. */
export function planCommonState(
  program: Program,
  {
    threadCore,
    tc,
  }: { readonly threadCore: Pick<ThreadCoreEntry, (typeof INHERITED_FIELDS)[number]>; readonly tc: ThreadPlan['tc'] },
): void {
  planName(program, threadCore.comm ?? tc.comm);
  planSched(program, threadCore);
  planAffinity(program, threadCore.cpu_affinity_ext);
  planThreadTuning(program, threadCore);
  planPersonality(program, threadCore.personality_ext ?? tc.personality);
}

/** Whether two threads have all in common but for what `planOwnState` plans; they may have it without this being seen. */
export function haveMuchInCommon(a: ThreadCoreEntry, b: ThreadCoreEntry): boolean {
  for (const name of commonFields()) if (a[name] !== b[name]) return false;
  return true;
}

const commonFields = once(() =>
  ThreadCoreEntry.fields()
    .map(([, name]) => name as keyof ThreadCoreEntry)
    .filter((name) => !OWN_FIELDS.some((own) => own === name)),
);

/** Piece 3: see the head of this file. `filters` is the content of seccomp.img. */
export function planConfinement(
  program: Program,
  threadCore: ThreadCoreEntry,
  now: CredsNow,
  filters: SeccompEntry | undefined,
): void {
  const { creds } = threadCore;
  if (hasSeccomp(threadCore)) {
    if (creds !== undefined && !mayFilter(now)) planNoNewPrivs(program, creds);
    planSeccomp(program, threadCore, filters);
  }
  if (creds !== undefined) planCreds(program, creds, now);
  planPdeathSig(program, threadCore.pdeath_sig);
}

/** A process that gets its state back. */
export interface TaskPlan {
  readonly pid: number;
  readonly tc: TaskCoreEntry;
  /** The leader's. */
  readonly threadCore: ThreadCoreEntry;
  /** mm_entry.dumpable. */
  readonly dumpable: number | undefined;
  /** mm_entry.thp_disabled. */
  readonly isThpDisabled: boolean;
  readonly filters: SeccompEntry | undefined;
  readonly now: TaskNow;
}

/** Piece 4: see the head of this file. Returns warnings. */
export function planTaskLate(program: Program, task: TaskPlan): string[] {
  const { pid, tc, now } = task;
  const { timers } = tc;
  if (timers === undefined) throw incomplete('timers');
  planPosixTimersCreate(program, timers.posix, now);
  planSignalQueue(program, tc.signals_s, { pid, tid: pid, queue: 'process' });
  const warnings = planRlimits(program, tc.rlimits, now.rlimits);
  planConfinement(program, task.threadCore, now.creds, task.filters);
  planProcessFlags(program, {
    isSubreaper: tc.child_subreaper ?? false,
    isThpDisabled: task.isThpDisabled,
    thpDisableFlags: tc.thp_disable_flags_ext ?? 0,
    mdwe: tc.mdwe_ext ?? 0,
    isMemoryMerged: tc.memory_merge_ext ?? false,
  });
  planDumpable(program, task.dumpable);
  planPosixTimersArm(program, timers.posix);
  planItimers(program, timers);
  return warnings;
}

function incomplete(field: string): CriuError {
  return new CriuError({
    object: 'core image',
    action: `has no ${field}`,
    why: 'it was made by a criu older than 1.6, or it is damaged',
  });
}
