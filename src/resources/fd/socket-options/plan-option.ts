/** Steps that set one option of a socket. */
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import type { FdTablePlan } from '../fd-table/fd-table-plan.ts';
import type { StepArg } from '../step.ts';

/** Plans setsockopt(2) of an option that is an int. */
export function planIntOption(
  table: FdTablePlan,
  fd: number,
  level: number,
  option: number,
  value: number,
  because: string,
): void {
  planOption(table, fd, level, option, intBytes(value), because);
}

/** An int of the kernel. Thousands are made: an array of words, of which the bytes are taken, takes five times as long. */
export function intBytes(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  bytes[0] = value;
  bytes[1] = value >>> 8;
  bytes[2] = value >>> 16;
  bytes[3] = value >>> 24;
  return bytes;
}

/** Plans setsockopt(2). */
export function planOption(
  table: FdTablePlan,
  fd: number,
  level: number,
  option: number,
  value: Uint8Array | { readonly arg: StepArg; readonly bytes: number },
  because: string,
): void {
  const { arg, bytes } = value instanceof Uint8Array ? { arg: { bytes: value }, bytes: value.length } : value;
  table.doExpecting(because, 0, SYS.setsockopt, fd, level, option, arg, bytes);
}
