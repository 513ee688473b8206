/**
 * How a thread is scheduled: policy, nice value, real-time priority (man 7 sched).
 */
import type { Program, Result } from '../../agent/program.ts';
import type { ThreadCoreEntry } from '../../image/gen/core.ts';
import { PRIO_PROCESS } from '../../linux/abi/resource.ts';
import { SCHED_FIFO, SCHED_RESET_ON_FORK, SCHED_RR } from '../../linux/abi/sched.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import type { Stat } from '../../proc/stat.ts';
import type { VisitResult } from '../../tracee/guest.ts';

export type SchedFields = Pick<ThreadCoreEntry, 'sched_nice' | 'sched_policy' | 'sched_prio'>;

export interface SchedToken {
  readonly policy: Result;
}

export function inspectSched(program: Program): SchedToken {
  return { policy: program.call(SYS.sched_getscheduler, 0) };
}

export function describeSched(token: SchedToken, result: VisitResult, stat: Stat): SchedFields {
  const policy = result.result(token.policy);
  const isRealTime = [SCHED_FIFO, SCHED_RR].includes((policy & ~SCHED_RESET_ON_FORK) as never);
  return {
    sched_nice: stat.nice,
    sched_policy: policy,
    ...(isRealTime ? { sched_prio: stat.rtPriority } : {}),
  };
}

/**
 * Sets what differs from a new task. Needs CAP_SYS_NICE for a higher priority, so it comes before the credentials and
 * before RLIMIT_NICE and RLIMIT_RTPRIO are lowered.
 */
export function planSched(program: Program, fields: SchedFields): void {
  const { sched_nice: nice = 0, sched_policy: policy = 0, sched_prio: priority = 0 } = fields;
  program.must(`set nice value ${nice}`, SYS.setpriority, PRIO_PROCESS, 0, nice);
  const because = `set scheduling policy ${policy} with priority ${priority}`;
  program.must(because, SYS.sched_setscheduler, 0, policy, program.words(priority));
}
