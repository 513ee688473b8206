/**
 * The stack that a thread's signal handlers run on: sigaltstack(2), with SS_AUTODISARM since Linux 4.7.
 *
 * Whether the thread is on that stack just now (SS_ONSTACK) follows from its stack pointer and is not kept.
 */
import type { Place, Program } from '../../agent/program.ts';
import type { ThreadSasEntry } from '../../image/gen/core.ts';
import { SS_DISABLE, SS_ONSTACK, STACK_T, STACK_T_BYTES } from '../../linux/abi/signal.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import type { VisitResult } from '../../tracee/guest.ts';
import { putU32, putU64, u32, u64 } from '../task/words.ts';

export interface SigaltstackToken {
  readonly stack: Place;
}

export function inspectSigaltstack(program: Program): SigaltstackToken {
  const stack = program.reserve(STACK_T_BYTES);
  program.call(SYS.sigaltstack, 0, stack);
  return { stack };
}

/** Where the answer has each part. */
export function stackParts({ stack }: SigaltstackToken): { sp: Place; size: Place; flags: Place } {
  const part = (offset: number): Place => ({ kind: 'place', offset: stack.offset + offset, bytes: 8 });
  return { sp: part(STACK_T.ss_sp), size: part(STACK_T.ss_size), flags: part(STACK_T.ss_flags) };
}

export function describeSigaltstack(token: SigaltstackToken, result: VisitResult): ThreadSasEntry {
  const bytes = result.bytes(token.stack);
  return {
    ss_sp: u64(bytes, STACK_T.ss_sp),
    ss_size: u64(bytes, STACK_T.ss_size),
    ss_flags: (u32(bytes, STACK_T.ss_flags) & ~SS_ONSTACK) >>> 0,
  };
}

/**
 * Precondition: the stack pointer of the thread is outside of the alternative stack, else the kernel says EPERM, since a
 * stack in use can't be changed.
 */
export function planSigaltstack(program: Program, entry: ThreadSasEntry): void {
  // A new thread has none (kernel/fork.c, sas_ss_reset).
  if ((entry.ss_flags & SS_DISABLE) !== 0) return;
  const bytes = new Uint8Array(STACK_T_BYTES);
  putU64(bytes, STACK_T.ss_sp, entry.ss_sp);
  putU32(bytes, STACK_T.ss_flags, (entry.ss_flags & ~SS_ONSTACK) >>> 0);
  putU64(bytes, STACK_T.ss_size, entry.ss_size);
  program.must('set the alternative signal stack', SYS.sigaltstack, program.data(bytes), 0);
}
