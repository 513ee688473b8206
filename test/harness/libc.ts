/**
 * The three libc calls the harness needs and the runtime doesn't offer: become a subreaper, reap one child, create a
 * named pid-safe kill. Kept apart so that test code has one place that uses foreign functions.
 */
import { dlopen, FFIType } from 'bun:ffi';

const PR_SET_CHILD_SUBREAPER = 36;
const WNOHANG = 1;
const __WALL = 0x40000000;

const libc = dlopen('libc.so.6', {
  prctl: { args: [FFIType.i32, FFIType.u64, FFIType.u64, FFIType.u64, FFIType.u64], returns: FFIType.i32 },
  waitpid: { args: [FFIType.i32, FFIType.ptr, FFIType.i32], returns: FFIType.i32 },
  kill: { args: [FFIType.i32, FFIType.i32], returns: FFIType.i32 },
});

/** Makes this process the parent of every orphan below it, so that it can reap restored tasks itself. */
export function becomeSubreaper(): void {
  if (libc.symbols.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) !== 0) throw new Error('PR_SET_CHILD_SUBREAPER failed');
}

/** Reaps one child that has ended. False when it still runs or isn't ours. */
export function tryReap(pid: number): boolean {
  assertPid(pid);
  return libc.symbols.waitpid(pid, null, WNOHANG | __WALL) === pid;
}

/** Sends a signal; false when the process is gone. Refuses 0, 1, negative numbers and this process. */
export function tryKill(pid: number, signal: number): boolean {
  assertPid(pid);
  return libc.symbols.kill(pid, signal) === 0;
}

function assertPid(pid: number): void {
  if (!Number.isInteger(pid) || pid <= 1 || pid === process.pid) throw new Error(`refusing to touch pid ${pid}`);
}
