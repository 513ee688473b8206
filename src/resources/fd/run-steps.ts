/** Steps of a restore that the controller does itself, on descriptors of its own. */
import { assert, CriuError } from '../../base/errors.ts';
import { errnoName } from '../../linux/abi/errno.ts';
import { syscall } from '../../linux/kernel.ts';
import type { Step, StepArg } from './step.ts';

/**
 * Does the steps in order. Throws CriuError for the first that fails, unless it is one of the `tolerated` errors; then it
 * goes on with the next.
 */
export function runSteps(steps: readonly Step[], object: string, tolerated: readonly number[]): void {
  for (const { nr, args, because, expected, mayFail } of steps) {
    const [a, b, c, d, e, f] = args.map(toArgument);
    const result = syscall(nr, a, b, c, d, e, f);
    if (mayFail === true || tolerated.includes(-result)) continue;
    if (result < 0)
      throw new CriuError({ object, action: `cannot ${because} (${errnoName(-result)})`, crErrno: -result });
    if (expected !== undefined && result !== expected) {
      throw new CriuError({ object, action: `cannot ${because}: ${result} of ${expected} bytes` });
    }
  }
}

function toArgument(arg: StepArg): number | bigint | Uint8Array {
  if (typeof arg === 'number' || typeof arg === 'bigint') return arg;
  if ('later' in arg) return arg.later();
  assert('bytes' in arg && !('pointers' in arg), 'the controller does steps with simple arguments only');
  return arg.bytes;
}
