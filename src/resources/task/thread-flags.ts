/** Small attributes of a thread: its name, execution domain, and the signal it gets when its parent dies. */
import type { Place, Program, Result } from '../../agent/program.ts';
import { PR_GET_PDEATHSIG, PR_SET_NAME, PR_SET_PDEATHSIG } from '../../linux/abi/prctl.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import type { VisitResult } from '../../tracee/guest.ts';
import { u32 } from './words.ts';

/** personality(2) with this argument only answers. */
const ASK_PERSONALITY = 0xffff_ffff;

export interface ThreadFlags {
  readonly personality: number;
  /** 0 when there is none. */
  readonly pdeathSig: number;
}

export interface ThreadFlagsToken {
  readonly personality: Result;
  readonly pdeathSig: Place;
}

export function inspectThreadFlags(program: Program): ThreadFlagsToken {
  const pdeathSig = program.reserve(8);
  program.call(SYS.prctl, PR_GET_PDEATHSIG, pdeathSig);
  return { personality: program.call(SYS.personality, ASK_PERSONALITY), pdeathSig };
}

export function describeThreadFlags(token: ThreadFlagsToken, result: VisitResult): ThreadFlags {
  return { personality: result.result(token.personality), pdeathSig: u32(result.bytes(token.pdeathSig)) };
}

/** Byte string of at most 15 bytes. */
export function planName(program: Program, comm: string): void {
  program.must('set the name', SYS.prctl, PR_SET_NAME, program.string(comm));
}

/** After the last mmap and mprotect: READ_IMPLIES_EXEC would make all of it executable. */
export function planPersonality(program: Program, personality: number): void {
  if (personality === 0) program.call(SYS.personality, 0);
  else program.must(`set personality 0x${personality.toString(16)}`, SYS.personality, personality);
}

/** After the credentials, whose change clears it. */
export function planPdeathSig(program: Program, signal: number | undefined): void {
  if (signal) program.must(`set the parent death signal ${signal}`, SYS.prctl, PR_SET_PDEATHSIG, signal);
}
