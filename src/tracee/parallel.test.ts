import { expect, test } from 'bun:test';
import type { Result } from '../agent/program.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { getpid } from '../linux/syscalls/process.ts';
import { Running, threadCount } from './parallel.ts';

test('threads of ours execute programs and tell the results', () => {
  const calls: Result[] = [];
  const threads = [0, 1, 2].map(
    () => new Running((program) => calls.push(program.call(SYS.getpid), program.call(SYS.gettid))),
  );
  for (const thread of threads) thread.join();
  const [pid, tid] = calls;
  if (pid === undefined || tid === undefined) throw new Error('there are results');
  for (const thread of threads) expect(thread.result(pid)).toBe(getpid());
  expect(new Set(threads.map((thread) => thread.result(tid))).size).toBe(3);
});

test('a failing system call gives −errno and does not end the program', () => {
  let failed: Result | undefined;
  let after: Result | undefined;
  const thread = new Running((program) => {
    failed = program.call(SYS.close, 1_000_000);
    after = program.call(SYS.getpid);
  });
  thread.join();
  if (failed === undefined || after === undefined) throw new Error('there are results');
  expect(thread.result(failed)).toBe(-9);
  expect(thread.result(after)).toBe(getpid());
});

test('there is at least one core', () => {
  expect(threadCount()).toBeGreaterThanOrEqual(1);
});
