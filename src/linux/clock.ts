/**
 * Clocks. Those of the runtime count from when it was started, which may have been on another machine (start/), and stand
 * still where that is ahead.
 */
import { perRun } from '../base/per-run.ts';
import { SYS } from './abi/syscall-numbers.ts';
import { check, syscall } from './kernel.ts';

const CLOCK_MONOTONIC = 1;
const time = new BigInt64Array(new ArrayBuffer(16));
const words = new Uint32Array(time.buffer);

/** CLOCK_MONOTONIC, nanoseconds. Exact up to 104 days, within 2 ns up to 208. */
export function monotonicNs(): number {
  check('clock_gettime', syscall(SYS.clock_gettime, CLOCK_MONOTONIC, time));
  return ((words[0] ?? 0) + (words[1] ?? 0) * 2 ** 32) * 1e9 + (words[2] ?? 0);
}

/** A clock of our own, in nanoseconds; exact. */
export function readClock(clock: number): bigint {
  check('clock_gettime', syscall(SYS.clock_gettime, clock, time), `${clock}`);
  return (time[0] ?? 0n) * 1_000_000_000n + (time[1] ?? 0n);
}

const start = perRun(monotonicNs);

/** Marks the beginning of the run, from which `sinceStartMs` counts. */
export function markStart(): void {
  start();
}

/** Milliseconds since the beginning of the run. */
export function sinceStartMs(): number {
  // In this order: the run may begin here.
  const begin = start();
  return (monotonicNs() - begin) / 1e6;
}
