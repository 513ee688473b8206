/**
 * How a thread is scheduled: policy, nice value, real-time priority, deadline (man 7 sched), and its I/O priority (man 2
 * ioprio_set). CRIU's format has no field for the last two; they are extensions.
 *
 * Lost: utilisation clamps (SCHED_FLAG_UTIL_CLAMP), whose default the kernel doesn't tell.
 */
import type { Place, Program, Result } from '../../agent/program.ts';
import type { ThreadCoreEntry } from '../../image/gen/core.ts';
import { PRIO_PROCESS } from '../../linux/abi/resource.ts';
import {
  SCHED_ATTR_SIZE_VER0,
  SCHED_DEADLINE,
  SCHED_FIFO,
  SCHED_FLAG_RESET_ON_FORK,
  SCHED_RESET_ON_FORK,
  SCHED_RR,
} from '../../linux/abi/sched.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import type { VisitResult } from '../../tracee/guest.ts';
import { putU32, putU64, u32, u64 } from '../task/words.ts';

export type SchedFields = Pick<
  ThreadCoreEntry,
  'sched_nice' | 'sched_policy' | 'sched_prio' | 'ioprio_ext' | 'sched_deadline_ext'
>;

/** Offsets in bytes of the fields of struct sched_attr (linux/sched/types.h). */
const SCHED_ATTR = {
  size: 0,
  policy: 4,
  flags: 8,
  nice: 16,
  priority: 20,
  runtime: 24,
  deadline: 32,
  period: 40,
} as const;

/** getpriority(2) as a system call returns 20 - nice, so that no answer is negative. */
const NICE_BASE = 20;
const IOPRIO_WHO_PROCESS = 1;
/** The class is in the bits from here on; class 0 is none. */
const IOPRIO_CLASS_SHIFT = 13;

export interface SchedToken {
  readonly attributes: Place;
  readonly nice: Result;
  readonly ioprio: Result;
}

export function inspectSched(program: Program): SchedToken {
  const attributes = program.reserve(SCHED_ATTR_SIZE_VER0);
  program.call(SYS.sched_getattr, 0, attributes, SCHED_ATTR_SIZE_VER0, 0);
  return {
    attributes,
    // The attributes of a realtime thread do not have it (kernel/sched/syscalls.c get_params()).
    nice: program.call(SYS.getpriority, PRIO_PROCESS, 0),
    ioprio: program.call(SYS.ioprio_get, IOPRIO_WHO_PROCESS, 0),
  };
}

export function describeSched(token: SchedToken, result: VisitResult): SchedFields {
  const attributes = result.bytes(token.attributes);
  const kind = u32(attributes, SCHED_ATTR.policy);
  const isReset = (u32(attributes, SCHED_ATTR.flags) & SCHED_FLAG_RESET_ON_FORK) !== 0;
  const ioprio = result.result(token.ioprio);
  return {
    sched_nice: NICE_BASE - result.result(token.nice),
    sched_policy: isReset ? kind | SCHED_RESET_ON_FORK : kind,
    ...(kind === SCHED_FIFO || kind === SCHED_RR ? { sched_prio: u32(attributes, SCHED_ATTR.priority) } : {}),
    ...(ioprio >> IOPRIO_CLASS_SHIFT > 0 ? { ioprio_ext: ioprio } : {}),
    ...(kind === SCHED_DEADLINE ? { sched_deadline_ext: deadline(attributes) } : {}),
  };
}

function deadline(attributes: Uint8Array) {
  return {
    flags: u64(attributes, SCHED_ATTR.flags),
    runtime: u64(attributes, SCHED_ATTR.runtime),
    deadline: u64(attributes, SCHED_ATTR.deadline),
    period: u64(attributes, SCHED_ATTR.period),
  };
}

/**
 * Sets what differs from a new task. Needs CAP_SYS_NICE for a higher priority, so it comes before the credentials and
 * before RLIMIT_NICE and RLIMIT_RTPRIO are lowered.
 */
export function planSched(program: Program, fields: SchedFields): void {
  const { sched_nice: nice = 0, sched_policy: policy = 0, sched_prio: priority = 0, ioprio_ext: ioprio } = fields;
  program.must(`set nice value ${nice}`, SYS.setpriority, PRIO_PROCESS, 0, nice);
  if (ioprio !== undefined) {
    program.must(`set I/O priority 0x${ioprio.toString(16)}`, SYS.ioprio_set, IOPRIO_WHO_PROCESS, 0, ioprio);
  }
  if (fields.sched_deadline_ext !== undefined) {
    planDeadline(program, fields.sched_deadline_ext);
    return;
  }
  const because = `set scheduling policy ${policy} with priority ${priority}`;
  program.must(because, SYS.sched_setscheduler, 0, policy, program.words(priority));
}

function planDeadline(program: Program, entry: NonNullable<SchedFields['sched_deadline_ext']>): void {
  const attributes = new Uint8Array(SCHED_ATTR_SIZE_VER0);
  putU32(attributes, SCHED_ATTR.size, SCHED_ATTR_SIZE_VER0);
  putU32(attributes, SCHED_ATTR.policy, SCHED_DEADLINE);
  putU64(attributes, SCHED_ATTR.flags, entry.flags);
  putU64(attributes, SCHED_ATTR.runtime, entry.runtime);
  putU64(attributes, SCHED_ATTR.deadline, entry.deadline);
  putU64(attributes, SCHED_ATTR.period, entry.period);
  const because = `set deadline scheduling: ${entry.runtime} of ${entry.period} ns`;
  program.must(because, SYS.sched_setattr, 0, program.data(attributes), 0);
}
