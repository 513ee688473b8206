/**
 * Small attributes of a process that prctl(2), personality(2) and membarrier(2) set: dumpable, child subreaper,
 * transparent huge pages, memory-deny-write-execute, memory merging, membarrier registrations, segments.
 */
import type { Place, Program, Result } from '../../agent/program.ts';
import {
  MEMBARRIER_CMD_GET_REGISTRATIONS,
  MEMBARRIER_CMD_GLOBAL_EXPEDITED,
  MEMBARRIER_CMD_PRIVATE_EXPEDITED,
  MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ,
  MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE,
} from '../../linux/abi/membarrier.ts';
import {
  PR_GET_CHILD_SUBREAPER,
  PR_GET_DUMPABLE,
  PR_GET_MDWE,
  PR_GET_MEMORY_MERGE,
  PR_GET_THP_DISABLE,
  PR_SET_CHILD_SUBREAPER,
  PR_SET_DUMPABLE,
  PR_SET_MDWE,
  PR_SET_MEMORY_MERGE,
  PR_SET_THP_DISABLE,
  SUID_DUMP_DISABLE,
  SUID_DUMP_USER,
} from '../../linux/abi/prctl.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import type { VisitResult } from '../../tracee/guest.ts';
import { u32 } from './words.ts';

/** Attributes of the process and of its memory. */
export interface ProcessFlags {
  /** SUID_DUMP_*; goes to mm_entry. */
  readonly dumpable: number;
  /** PR_SET_THP_DISABLE was used; goes to mm_entry. */
  readonly isThpDisabled: boolean;
  /** Arguments of PR_SET_THP_DISABLE beyond on and off (6.18); 0 when there are none. */
  readonly thpDisableFlags: number;
  readonly isSubreaper: boolean;
  /** MEMBARRIER_CMD_REGISTER_* bits; 0 when there are none. */
  readonly membarrierRegistrations: number;
  /** PR_MDWE_* bits, since 6.3. */
  readonly mdwe: number;
  /** PR_SET_MEMORY_MERGE, since 6.4. */
  readonly isMemoryMerged: boolean;
}

export interface ProcessFlagsToken {
  readonly dumpable: Result;
  readonly thp: Result;
  readonly subreaper: Place;
  readonly registrations: Result;
  readonly mdwe: Result;
  readonly merge: Result;
  readonly segments: Result;
}

export function inspectProcessFlags(program: Program): ProcessFlagsToken {
  const subreaper = program.reserve(8);
  program.call(SYS.prctl, PR_GET_CHILD_SUBREAPER, subreaper);
  return {
    dumpable: program.call(SYS.prctl, PR_GET_DUMPABLE),
    thp: program.call(SYS.prctl, PR_GET_THP_DISABLE),
    subreaper,
    registrations: program.call(SYS.membarrier, MEMBARRIER_CMD_GET_REGISTRATIONS, 0, 0),
    mdwe: program.call(SYS.prctl, PR_GET_MDWE),
    merge: program.call(SYS.prctl, PR_GET_MEMORY_MERGE),
    // Function 0 reads the table: nothing at all when there is none (arch/x86/kernel/ldt.c read_ldt()).
    segments: program.call(SYS.modify_ldt, 0, program.reserve(8), 8),
  };
}

export function describeProcessFlags(token: ProcessFlagsToken, result: VisitResult): ProcessFlags {
  // An older kernel says EINVAL: then nobody can have set it.
  const value = (of: Result) => Math.max(result.result(of), 0);
  const thp = value(token.thp);
  return {
    dumpable: value(token.dumpable),
    isThpDisabled: thp !== 0,
    thpDisableFlags: thp & ~1,
    isSubreaper: u32(result.bytes(token.subreaper)) !== 0,
    membarrierRegistrations: value(token.registrations),
    mdwe: value(token.mdwe),
    isMemoryMerged: value(token.merge) !== 0,
  };
}

/** Whether a task has segments of its own (man 2 modify_ldt), which no image has a place for. */
export const hasSegments = ({ segments }: ProcessFlagsToken, result: VisitResult): boolean =>
  result.result(segments) > 0;

/**
 * Registers for membarrier(2). A command's registration is the next bit (linux/membarrier.h). While the process has one
 * thread only this is quick; later the kernel waits milliseconds for an RCU grace period (kernel/sched/membarrier.c,
 * sync_runqueues_membarrier_state).
 */
export function planMembarrier(program: Program, registrations: number): void {
  for (const command of MEMBARRIER_COMMANDS) {
    const register = command << 1;
    if ((registrations & register) !== 0) {
      program.must(`register for membarrier command ${command}`, SYS.membarrier, register, 0, 0);
    }
  }
}

const MEMBARRIER_COMMANDS = [
  MEMBARRIER_CMD_GLOBAL_EXPEDITED,
  MEMBARRIER_CMD_PRIVATE_EXPEDITED,
  MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE,
  MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ,
] as const;

/** The flags that are set last, after the memory is complete. */
export function planProcessFlags(
  program: Program,
  flags: Pick<ProcessFlags, 'isSubreaper' | 'isThpDisabled' | 'thpDisableFlags' | 'mdwe' | 'isMemoryMerged'>,
): void {
  if (flags.isSubreaper) program.must('become a child subreaper', SYS.prctl, PR_SET_CHILD_SUBREAPER, 1);
  if (flags.isThpDisabled) {
    program.must('disable transparent huge pages', SYS.prctl, PR_SET_THP_DISABLE, 1, flags.thpDisableFlags);
  }
  if (flags.isMemoryMerged) program.must('have memory merged', SYS.prctl, PR_SET_MEMORY_MERGE, 1);
  if (flags.mdwe !== 0) program.must('deny write and execute', SYS.prctl, PR_SET_MDWE, flags.mdwe);
}

/**
 * PR_SET_DUMPABLE after a change of credentials, which resets it to fs.suid_dumpable. Value 2 (SUID_DUMP_ROOT) can't be
 * set by a program; then 0, the stricter of the two that can.
 */
export function planDumpable(program: Program, dumpable: number | undefined): void {
  if (dumpable === undefined) return;
  const value = dumpable === SUID_DUMP_USER ? SUID_DUMP_USER : SUID_DUMP_DISABLE;
  program.must(`set dumpable to ${value}`, SYS.prctl, PR_SET_DUMPABLE, value);
}
