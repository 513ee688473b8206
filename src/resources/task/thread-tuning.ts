/**
 * Attributes of a thread that CRIU loses and that the image keeps in extension fields: timer slack, time stamp counter and
 * cpuid traps, machine check policy, speculation control (man 2 prctl, man 2 arch_prctl). What is the default is left out
 * of the image.
 */
import type { Place, Program, Result } from '../../agent/program.ts';
import type { ThreadCoreEntry } from '../../image/gen/core.ts';
import {
  ARCH_GET_CPUID,
  ARCH_SET_CPUID,
  PR_GET_SPECULATION_CTRL,
  PR_GET_TIMERSLACK,
  PR_GET_TSC,
  PR_MCE_KILL,
  PR_MCE_KILL_DEFAULT,
  PR_MCE_KILL_GET,
  PR_MCE_KILL_SET,
  PR_SET_SPECULATION_CTRL,
  PR_SET_TIMERSLACK,
  PR_SET_TSC,
  PR_SPEC_DISABLE,
  PR_SPEC_DISABLE_NOEXEC,
  PR_SPEC_FORCE_DISABLE,
  PR_SPEC_INDIRECT_BRANCH,
  PR_SPEC_L1D_FLUSH,
  PR_SPEC_PRCTL,
  PR_SPEC_STORE_BYPASS,
  PR_TSC_ENABLE,
} from '../../linux/abi/prctl.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import type { VisitResult } from '../../tracee/guest.ts';
import { u32 } from './words.ts';

export type ThreadTuning = Pick<
  ThreadCoreEntry,
  'timerslack_ext' | 'tsc_ext' | 'mce_kill_ext' | 'cpuid_fault_ext' | 'speculation_ext'
>;

/** What init has and everybody inherits (init/init_task.c). Real-time threads have none and say 0. */
const TIMERSLACK_DEFAULT = 50_000;

const SPECULATION = [PR_SPEC_STORE_BYPASS, PR_SPEC_INDIRECT_BRANCH, PR_SPEC_L1D_FLUSH] as const;
/** States that a thread asked for. L1D_FLUSH is on (PR_SPEC_ENABLE) when asked for, see `isAskedFor`. */
const RESTRICTED = PR_SPEC_DISABLE | PR_SPEC_FORCE_DISABLE | PR_SPEC_DISABLE_NOEXEC;

export interface ThreadTuningToken {
  readonly timerslack: Result;
  readonly tsc: Place;
  readonly mceKill: Result;
  readonly cpuid: Result;
  readonly speculation: readonly Result[];
}

export function inspectThreadTuning(program: Program): ThreadTuningToken {
  const tsc = program.reserve(8);
  program.call(SYS.prctl, PR_GET_TSC, tsc);
  return {
    timerslack: program.call(SYS.prctl, PR_GET_TIMERSLACK),
    tsc,
    mceKill: program.call(SYS.prctl, PR_MCE_KILL_GET),
    cpuid: program.call(SYS.arch_prctl, ARCH_GET_CPUID),
    speculation: SPECULATION.map((what) => program.call(SYS.prctl, PR_GET_SPECULATION_CTRL, what)),
  };
}

export function describeThreadTuning(token: ThreadTuningToken, result: VisitResult): ThreadTuning {
  const timerslack = result.result(token.timerslack);
  const tsc = u32(result.bytes(token.tsc));
  const mceKill = result.result(token.mceKill);
  const speculation = SPECULATION.map((_, i) => askedFor(result, token.speculation[i], i));
  return {
    ...(timerslack > 0 && timerslack !== TIMERSLACK_DEFAULT ? { timerslack_ext: BigInt(timerslack) } : {}),
    ...(tsc > PR_TSC_ENABLE ? { tsc_ext: tsc } : {}),
    ...(mceKill >= 0 && mceKill !== PR_MCE_KILL_DEFAULT ? { mce_kill_ext: mceKill } : {}),
    ...(result.result(token.cpuid) === 0 ? { cpuid_fault_ext: true } : {}),
    ...(speculation.some((value) => value !== 0) ? { speculation_ext: new Uint8Array(speculation) } : {}),
  };
}

/** The state to set again; 0 when it is as the kernel has it by itself. */
function askedFor(result: VisitResult, of: Result | undefined, index: number): number {
  const state = of === undefined ? 0 : result.result(of);
  if (state < 0 || (state & PR_SPEC_PRCTL) === 0) return 0;
  const what = SPECULATION[index];
  // Flushing the L1D cache is off by default, the other two speculate by default.
  if (what === PR_SPEC_L1D_FLUSH) return (state & RESTRICTED) === 0 ? state & ~PR_SPEC_PRCTL : 0;
  return state & RESTRICTED;
}

/** Before the credentials and seccomp; the traps for rdtsc and cpuid don't concern the agent, which uses neither. */
export function planThreadTuning(program: Program, tuning: ThreadTuning): void {
  const { timerslack_ext: timerslack, tsc_ext: tsc, mce_kill_ext: mceKill } = tuning;
  if (timerslack !== undefined) {
    program.must(`set the timer slack to ${timerslack} ns`, SYS.prctl, PR_SET_TIMERSLACK, timerslack);
  }
  if (tsc !== undefined) program.must(`set access to the time stamp counter to ${tsc}`, SYS.prctl, PR_SET_TSC, tsc);
  if (mceKill !== undefined) {
    program.must(`set the machine check policy ${mceKill}`, SYS.prctl, PR_MCE_KILL, PR_MCE_KILL_SET, mceKill);
  }
  tuning.speculation_ext?.forEach((value, i) => {
    // Another processor or kernel may not offer the choice; then it has its own protection.
    if (value !== 0) program.call(SYS.prctl, PR_SET_SPECULATION_CTRL, SPECULATION[i] ?? 0, value);
  });
  if (tuning.cpuid_fault_ext === true) {
    program.must('have the cpuid instruction raise SIGSEGV', SYS.arch_prctl, ARCH_SET_CPUID, 0);
  }
}
