/**
 * What a probe of the kernel is. Probes ask the running kernel by doing, never by its version: distributions move
 * features between versions, and containers take them away.
 *
 * A probe changes nothing that outlives it, and cannot hang: calls that might block happen in a child with a deadline
 * (see child.ts) or on a descriptor that does not block.
 */
import { errnoName } from '../linux/abi/errno.ts';

/** What is missing, in words for the user; undefined when the kernel has it. */
export type Missing = string | undefined;

export interface Probe {
  /** What programs, or which step of criu, need it: "programs with seccomp filters". */
  readonly neededFor: string;
  /** May throw SyscallError, which counts as missing. */
  run(): Missing;
}

/** "timerfd_create: ENOSYS" for a negative result, undefined for any other. */
export function failed(call: string, result: number): Missing {
  return result < 0 ? `${call}: ${errnoName(-result)}` : undefined;
}
