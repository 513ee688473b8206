/** The clocks of other tasks: CLOCK_MONOTONIC and CLOCK_BOOTTIME differ between time namespaces (man 7 time_namespaces). */
import { readProc } from '../../linux/syscalls/fs.ts';
import { parseTimensOffsets, type TimeOffset } from '../../proc/timens.ts';

/** How far the clocks of a task are ahead of ours, in nanoseconds. */
export function clocksAhead(pid: number): { readonly monotonic: bigint; readonly boottime: bigint } {
  const path = `/proc/${pid}/timens_offsets`;
  const theirs = parseTimensOffsets(readProc(path), path);
  const ours = parseTimensOffsets(readProc('/proc/self/timens_offsets'));
  const ns = ({ sec, nsec }: TimeOffset) => sec * 1_000_000_000n + BigInt(nsec);
  return { monotonic: ns(theirs.monotonic) - ns(ours.monotonic), boottime: ns(theirs.boottime) - ns(ours.boottime) };
}
