/**
 * System calls of our own on several cores: programs that raw threads of this process execute (clone-agent.ts), while the
 * calling thread waits. For work that is one system call after the other, such as copying memory.
 */
import { type Place, Program, type Result } from '../agent/program.ts';
import { FUTEX_WAIT } from '../linux/abi/futex.ts';
import { CLONE_CHILD_CLEARTID } from '../linux/abi/sched.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { check, readWord32, syscall } from '../linux/kernel.ts';
import { OwnProgram, THREAD_FLAGS } from './clone-agent.ts';

/** How many threads are worth while: all cores that we may use, within reason. */
export function threadCount(): number {
  const mask = new Uint8Array(128);
  const bytes = syscall(SYS.sched_getaffinity, 0, mask.length, mask);
  let count = 0;
  for (const byte of mask.subarray(0, Math.max(bytes, 0))) for (let bits = byte; bits !== 0; bits &= bits - 1) count++;
  return Math.min(Math.max(count, 1), THREADS_MAX);
}

const THREADS_MAX = 8;

/** struct timespec: 0.1 s. */
const TICK = BigUint64Array.of(0n, 100_000_000n);

/** Work for one thread: adds its system calls to the program. */
export type Work = (program: Program) => void;

/** A program in execution. */
export class Running {
  readonly #own: OwnProgram;
  readonly #tidWord: number;
  #isDone = false;

  /** Starts a thread. Throws SyscallError when there can't be one more. */
  constructor(work: Work) {
    const program = new Program();
    const tid = program.words(1);
    work(program);
    program.call(SYS.exit, 0);
    this.#own = new OwnProgram(program);
    this.#tidWord = this.#own.addressOf(tid);
    const flags = THREAD_FLAGS | CLONE_CHILD_CLEARTID;
    check('clone3', this.#own.clone({ flags, exitSignal: 0, childTid: this.#tidWord }));
  }

  /** Where its first op is. */
  get address(): number {
    return this.#own.address;
  }

  /** What is at a place now. */
  bytes(place: Place): Uint8Array {
    return this.#own.bytes(place);
  }

  /** Waits for its end; meanwhile calls `tick` about ten times a second. */
  join(tick?: () => void): void {
    // The kernel clears the word and wakes us when the thread is gone (man 2 set_tid_address).
    while (!this.#isDone && readWord32(this.#tidWord) !== 0) {
      syscall(SYS.futex, this.#tidWord, FUTEX_WAIT, 1, tick === undefined ? 0 : TICK);
      tick?.();
    }
    this.#isDone = true;
  }

  /** What an op returned; 0 as long as it has not been done. */
  result(of: Result): number {
    return this.#own.result(of);
  }

  /** The same by the index of the op, for results of 32 bits. */
  resultAt(op: number): number {
    return this.#own.resultAt(op);
  }
}
