import { expect, test } from 'bun:test';
import { PTRACE_EVENT_EXEC, PTRACE_EVENT_STOP } from '../linux/abi/ptrace.ts';
import { SIGSTOP, SIGTRAP, SIGTSTP, SIGUSR1 } from '../linux/abi/signal.ts';
import { classify } from './stop.ts';

const stopped = (signal: number, event = 0) => (event << 16) | (signal << 8) | 0x7f;

test('a wait status says why a thread stopped', () => {
  expect(classify(stopped(SIGTRAP, PTRACE_EVENT_STOP))).toEqual({ kind: 'trap' });
  expect(classify(stopped(SIGTSTP, PTRACE_EVENT_STOP))).toEqual({ kind: 'group-stop', signal: SIGTSTP });
  expect(classify(stopped(SIGSTOP))).toEqual({ kind: 'signal', signal: SIGSTOP });
  expect(classify(stopped(SIGUSR1))).toEqual({ kind: 'signal', signal: SIGUSR1 });
  expect(classify(stopped(SIGTRAP, PTRACE_EVENT_EXEC))).toEqual({ kind: 'event', event: PTRACE_EVENT_EXEC });
});

test('a thread that ended is gone', () => {
  expect(classify(0)).toBe('gone');
  expect(classify(9)).toBe('gone');
});
