/** Stubs for tests that change a live task: with a pid that is free, and gone after the test. */
import { ABI_64, type Abi } from '../agent/abi.ts';
import { ERRNO } from '../linux/abi/errno.ts';
import { SIGKILL } from '../linux/abi/signal.ts';
import { kill, tryWait } from '../linux/syscalls/process.ts';
import type { HostTask } from './host.ts';
import { spawnStub } from './stub.ts';

/** Where the agent of each stub lives. */
export const HOME = { address: 0x4000_0000, bytes: 1 << 20 };

const stubs: number[] = [];
const FIRST_PID = 20_000;
const PIDS = 12_000;

/** A pid that nobody has. */
export function firstFreePid(): number {
  const start = FIRST_PID + (Bun.nanoseconds() % PIDS);
  for (let pid = start; ; pid++) if (kill(pid, 0) === -ERRNO.ESRCH) return pid;
}

/** Starts a stub; `endStubs` ends it. */
export function newStub(abi: Abi = ABI_64): HostTask {
  const pid = firstFreePid();
  const host = spawnStub({ pid, sibling: false, home: HOME, abi });
  stubs.push(pid);
  return host;
}

/** For `afterEach`. */
export function endStubs(): void {
  for (const pid of stubs.splice(0)) {
    kill(pid, SIGKILL);
    tryWait(pid);
  }
}
