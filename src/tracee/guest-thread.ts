/** A stopped thread that guest code may use, and its signal mask. */
import { CriuError } from '../base/errors.ts';
import { PTRACE_SETSIGMASK } from '../linux/abi/ptrace.ts';
import { check } from '../linux/kernel.ts';
import { ptrace } from '../linux/syscalls/process.ts';
import type { Registers } from './registers.ts';

const SIGSET_BYTES = 8;

export interface GuestThread {
  readonly pid: number;
  readonly tid: number;
  /** As they were when the thread stopped; they are put back after each visit. */
  readonly registers: Registers;
  /** Blocked signals, as read from the kernel. */
  readonly signalMask: bigint;
}

const words = new BigUint64Array(1);

export function writeSignalMask(tid: number, mask: bigint): void {
  words[0] = mask;
  check('ptrace', ptrace(PTRACE_SETSIGMASK, tid, SIGSET_BYTES, words), `SETSIGMASK, ${tid}`);
}

/** The error of a thread that did not come back. */
export function threadDied({ pid, tid }: GuestThread, signal?: number): CriuError {
  const how = signal === undefined ? 'died' : `got signal ${signal}`;
  return new CriuError({ object: `thread ${tid} of task ${pid}`, action: `${how} while the agent ran in it` });
}
