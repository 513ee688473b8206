/**
 * A thread, and the process it belongs to, from the core image into a task that is being built.
 *
 * Three programs, in this order; all signals are blocked in all threads throughout:
 *
 * 1. `planTaskEarly`, by the leader, while it is the only thread and its memory is there, its zombies have died:
 *    - membarrier registrations: with one thread the kernel doesn't wait for a grace period;
 *    - the audit id: the program opens criu's /proc;
 *    - signal actions: ignoring a signal empties all its queues, so this is before any signal is queued.
 * 2. `planThread`, by each other thread.
 * 3. `planTaskLate`, by the leader, when all other threads have ended theirs:
 *    - POSIX timers are made when the threads that they notify exist, and with criu's capabilities;
 *    - signals of the process are queued before RLIMIT_SIGPENDING is lowered;
 *    - resource limits after everything that needs descriptors, memory or priority, but with CAP_SYS_RESOURCE;
 *    - the leader's own `planThread`, which gives up capabilities;
 *    - flags of the process, then timers are armed, interval timers as late as possible.
 *
 * Inside `planThread`:
 *    - scheduling needs CAP_SYS_NICE: before the credentials;
 *    - signals are queued before RLIMIT_SIGPENDING is lowered (planTaskLate) and before a filter could forbid it;
 *    - credentials near the end: everything above may need capabilities;
 *    - personality after all mappings exist (READ_IMPLIES_EXEC);
 *    - dumpable and parent-death signal after the credentials, whose change resets both;
 *    - seccomp is not here: see `planSeccomp`.
 */
import type { Program } from '../../agent/program.ts';
import { CriuError } from '../../base/errors.ts';
import type { TaskCoreEntry, ThreadCoreEntry } from '../../image/gen/core.ts';
import { type CredsNow, planCreds } from '../creds/restore-creds.ts';
import { planRlimits, type RlimitsNow } from '../rlimits/rlimits.ts';
import { planRseq } from '../rseq/rseq.ts';
import { planThreadAreas } from '../rseq/thread-areas.ts';
import { planSched } from '../sched/sched.ts';
import { planSigactions } from '../signals/sigactions.ts';
import { planSigaltstack } from '../signals/sigaltstack.ts';
import { planSignalQueue } from '../signals/signal-queues.ts';
import { planItimers } from '../timers/itimers.ts';
import { planPosixTimersArm, planPosixTimersCreate } from '../timers/posix-timers.ts';
import { planLoginuid } from './proc-attributes.ts';
import { planDumpable, planMembarrier, planProcessFlags } from './process-flags.ts';
import { planName, planPdeathSig, planPersonality } from './thread-flags.ts';

/** What the new task is before, as far as it matters. */
export interface TaskNow {
  readonly creds: CredsNow;
  readonly rlimits: RlimitsNow;
  /** /proc/PID/loginuid of criu, which new tasks inherit; undefined without audit. */
  readonly loginuid: number | undefined;
  /** See `supportsTimerIds`. */
  readonly supportsTimerIds: boolean;
}

/** Step 1: see the head of this file. */
export function planTaskEarly(program: Program, tc: TaskCoreEntry, now: Pick<TaskNow, 'loginuid'>): void {
  planMembarrier(program, tc.membarrier_registration_mask ?? 0);
  planLoginuid(program, tc.loginuid, now.loginuid);
  planSigactions(program, tc.sigactions);
}

/** A thread that gets its state back. Numbers are those in the task's own pid namespace. */
export interface ThreadPlan {
  readonly pid: number;
  readonly tid: number;
  readonly threadCore: ThreadCoreEntry;
  readonly clearTidAddr: bigint;
  /** Of the process: all threads have the same name and personality as the leader where theirs are not known. */
  readonly tc: Pick<TaskCoreEntry, 'comm' | 'personality'>;
  /** mm_entry.dumpable. */
  readonly dumpable: number | undefined;
  readonly creds: CredsNow;
}

/** Step 2, and part of step 3: see the head of this file. */
export function planThread(program: Program, thread: ThreadPlan): void {
  const { pid, tid, threadCore, clearTidAddr, tc } = thread;
  planThreadAreas(program, { ...threadCore, clearTidAddr });
  planRseq(program, threadCore.rseq_entry);
  if (threadCore.sas !== undefined) planSigaltstack(program, threadCore.sas);
  planName(program, threadCore.comm ?? tc.comm);
  planSched(program, threadCore);
  planSignalQueue(program, threadCore.signals_p, { pid, tid, queue: 'thread' });
  planPersonality(program, tc.personality);
  if (threadCore.creds !== undefined) planCreds(program, threadCore.creds, thread.creds);
  planDumpable(program, thread.dumpable);
  planPdeathSig(program, threadCore.pdeath_sig);
}

/** A process that gets its state back. */
export interface TaskPlan extends Omit<ThreadPlan, 'tc' | 'tid' | 'creds'> {
  readonly tc: TaskCoreEntry;
  /** mm_entry.thp_disabled. */
  readonly isThpDisabled: boolean;
  readonly now: TaskNow;
}

/** Step 3: see the head of this file. Returns warnings. */
export function planTaskLate(program: Program, task: TaskPlan): string[] {
  const { pid, tc, now } = task;
  const { timers } = tc;
  if (timers === undefined) throw incomplete('timers');
  planPosixTimersCreate(program, timers.posix, now);
  planSignalQueue(program, tc.signals_s, { pid, tid: pid, queue: 'process' });
  const warnings = planRlimits(program, tc.rlimits, now.rlimits);
  planThread(program, { ...task, tid: pid, creds: now.creds });
  planProcessFlags(program, {
    isSubreaper: tc.child_subreaper ?? false,
    isThpDisabled: task.isThpDisabled,
    thpDisableFlags: 0,
    mdwe: 0,
    isMemoryMerged: false,
  });
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
