/**
 * The 16 resource limits of a process: prlimit(2). They are asked inside the task, since from outside CAP_SYS_RESOURCE
 * is needed for tasks of other users (kernel/sys.c, check_prlimit_permission).
 */

import type { Place, Program } from '../../agent/program.ts';
import { times } from '../../base/bytes.ts';
import type { TaskRlimitsEntry } from '../../image/gen/core.ts';
import type { RlimitEntry } from '../../image/gen/rlimit.ts';
import { CAP_SYS_RESOURCE } from '../../linux/abi/capability.ts';
import { RLIM_NLIMITS, RLIMIT_NAMES } from '../../linux/abi/resource.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import type { Limit } from '../../proc/limits.ts';
import type { VisitResult } from '../../tracee/guest.ts';
import { u64 } from '../task/words.ts';

const RLIMIT_BYTES = 16;

export interface RlimitsToken {
  readonly limits: Place;
}

export function inspectRlimits(program: Program): RlimitsToken {
  const limits = program.reserve(RLIM_NLIMITS * RLIMIT_BYTES);
  for (let resource = 0; resource < RLIM_NLIMITS; resource++) {
    program.call(SYS.prlimit64, 0, resource, 0, program.at(limits, resource * RLIMIT_BYTES));
  }
  return { limits };
}

export function describeRlimits(token: RlimitsToken, result: VisitResult): TaskRlimitsEntry {
  const bytes = result.bytes(token.limits);
  const rlimits = times(RLIM_NLIMITS, (resource) => ({
    cur: u64(bytes, resource * RLIMIT_BYTES),
    max: u64(bytes, resource * RLIMIT_BYTES + 8),
  }));
  return { rlimits };
}

/** What the task has now, and what it may do about it. */
export interface RlimitsNow {
  /** As /proc/PID/limits of the new task, or of criu whose limits it inherits, says; by RLIMIT_*. */
  readonly limits: readonly Limit[];
  /** Effective capabilities. */
  readonly capEff: bigint;
}

/**
 * Sets the limits that differ. A hard limit that can't be raised for lack of CAP_SYS_RESOURCE stays as it is, and the
 * soft limit gets as near as it may: a restore doesn't fail for that. Returns one warning for each.
 */
export function planRlimits(program: Program, entry: TaskRlimitsEntry | undefined, now: RlimitsNow): string[] {
  const warnings: string[] = [];
  entry?.rlimits.slice(0, RLIM_NLIMITS).forEach((wanted, resource) => {
    const current = now.limits[resource];
    const name = RLIMIT_NAMES[resource] ?? `${resource}`;
    const allowed = allowedLimit(wanted, current, now.capEff);
    if (allowed.max !== wanted.max) {
      warnings.push(`RLIMIT_${name}: hard limit stays ${allowed.max} instead of ${wanted.max}: no CAP_SYS_RESOURCE`);
    }
    if (current?.soft === allowed.cur && current.hard === allowed.max) return;
    const value = program.words(allowed.cur, allowed.max);
    program.must(`set RLIMIT_${name} to ${allowed.cur}:${allowed.max}`, SYS.prlimit64, 0, resource, value, 0);
  });
  return warnings;
}

function allowedLimit(wanted: RlimitEntry, current: Limit | undefined, capEff: bigint): RlimitEntry {
  const mayRaise = ((capEff >> BigInt(CAP_SYS_RESOURCE)) & 1n) === 1n;
  const max = mayRaise || current === undefined || wanted.max <= current.hard ? wanted.max : current.hard;
  return { cur: wanted.cur < max ? wanted.cur : max, max };
}
