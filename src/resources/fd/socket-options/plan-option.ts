/** Steps that set one option of a socket. */
import type { Reason } from '../../../agent/ops.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import type { FdTablePlan } from '../fd-table/fd-table-plan.ts';
import type { StepArg } from '../step-args.ts';

/** Plans setsockopt(2) of an option that is an int. */
export function planIntOption(
  table: FdTablePlan,
  fd: number,
  level: number,
  option: number,
  value: number,
  because: Reason,
): void {
  table.setOption(because, fd, level, option, value);
}

/** Plans setsockopt(2). */
export function planOption(
  table: FdTablePlan,
  fd: number,
  level: number,
  option: number,
  value: Uint8Array | { readonly arg: StepArg; readonly bytes: number },
  because: Reason,
): void {
  const { arg, bytes } = value instanceof Uint8Array ? { arg: { bytes: value }, bytes: value.length } : value;
  table.doExpecting(because, 0, SYS.setsockopt, fd, level, option, arg, bytes);
}
