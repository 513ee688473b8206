/**
 * Steps of a restore that the controller does itself, on descriptors that it has fetched from tasks: all of them in one
 * program that its own thread executes.
 */
import { Program } from '../../agent/program.ts';
import { CriuError } from '../../base/errors.ts';
import { errnoName } from '../../linux/abi/errno.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { OwnCalls } from '../../tracee/own-calls.ts';
import { FdTablePlan } from './fd-table/fd-table-plan.ts';

/** What is done with one descriptor. */
interface Errand {
  /** The descriptor, for errors. */
  readonly object: string;
  /** The steps: those with it, and one that closes it. */
  readonly start: number;
  readonly end: number;
}

export class OwnSteps {
  readonly #table = new FdTablePlan(-1);
  readonly #errands: Errand[] = [];

  /** Adds steps with descriptor `fd` of ours, which is closed afterwards. */
  add(object: string, fd: number, plan: (table: FdTablePlan) => void): void {
    const table = this.#table;
    const start = table.stepCount;
    plan(table);
    table.do('be closed', SYS.close, fd);
    this.#errands.push({ object, start, end: table.stepCount });
  }

  /**
   * Does the steps in order. Throws CriuError for the first that has failed, unless it is one of the `tolerated` errors;
   * whatever fails, the others are done.
   */
  run(tolerated: readonly number[]): void {
    if (this.#errands.length === 0) return;
    const program = new Program();
    const steps = this.#table.take();
    steps.addUnchecked(program);
    const calls = new OwnCalls(program);
    calls.run();
    const failure = steps.findFailure((step) => calls.resultAt(step), tolerated);
    if (failure === undefined) return;
    const { step, because, result, expected } = failure;
    const object = this.#errands.find(({ start, end }) => step >= start && step < end)?.object ?? '';
    if (result < 0)
      throw new CriuError({ object, action: `cannot ${because} (${errnoName(-result)})`, crErrno: -result });
    throw new CriuError({ object, action: `cannot ${because}: ${result} of ${expected} bytes` });
  }
}
