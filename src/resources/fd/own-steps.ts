/**
 * Steps of a restore that the controller does itself, on descriptors that it fetches from tasks: all of them in one
 * program that its own thread executes.
 */
import { Program } from '../../agent/program.ts';
import { CriuError } from '../../base/errors.ts';
import { errnoName } from '../../linux/abi/errno.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { OwnCalls } from '../../tracee/own-calls.ts';
import type { StepList } from './step.ts';

/** What is done with one descriptor. */
export interface Errand {
  /** The descriptor, for errors. */
  readonly object: string;
  /** Ours, of the task. */
  readonly pidfd: number;
  /** Its number there. */
  readonly fd: number;
  /** The first argument of each is `fd`. */
  readonly steps: StepList;
}

/**
 * Does the steps in order. Throws CriuError for the first that has failed, unless it is one of the `tolerated` errors;
 * whatever fails, the others are done.
 */
export function runErrands(errands: readonly Errand[], tolerated: readonly number[]): void {
  const program = new Program();
  const parts = errands.map((errand) => {
    const got = program.call(SYS.pidfd_getfd, errand.pidfd, errand.fd, 0);
    const start = program.length;
    errand.steps.addUnchecked(program, got);
    program.call(SYS.close, got);
    return { errand, got, start };
  });
  const calls = new OwnCalls(program);
  calls.run();
  for (const { errand, got, start } of parts) {
    const { object, steps } = errand;
    const fetched = calls.result(got);
    if (fetched < 0) {
      const action = `cannot be fetched (pidfd_getfd: ${errnoName(-fetched)})`;
      throw new CriuError({ object, action, crErrno: -fetched });
    }
    const failure = steps.findFailure((step) => calls.resultAt(start + step), tolerated);
    if (failure === undefined) continue;
    const { because, result, expected } = failure;
    if (result < 0)
      throw new CriuError({ object, action: `cannot ${because} (${errnoName(-result)})`, crErrno: -result });
    throw new CriuError({ object, action: `cannot ${because}: ${result} of ${expected} bytes` });
  }
}
