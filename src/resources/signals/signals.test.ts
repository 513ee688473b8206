import { expect, test } from 'bun:test';
import { Program } from '../../agent/program.ts';
import { planSigactions, SETTABLE_SIGNALS } from './sigactions.ts';
import { planSigaltstack } from './sigaltstack.ts';
import { planSignalQueue, signalsToSend } from './signal-queues.ts';

const siginfo = (signal: number) => ({
  siginfo: new Uint8Array(Uint32Array.of(signal, ...new Array(31).fill(0)).buffer),
});

test('all signals but two can be set', () => {
  expect(SETTABLE_SIGNALS).toHaveLength(62);
  expect(SETTABLE_SIGNALS).not.toContain(9);
  expect(SETTABLE_SIGNALS).not.toContain(19);
});

const action = { sigaction: 0n, flags: 0n, restorer: 0n, mask: 0n };

test('planSigactions refuses lists of another length', () => {
  expect(() => planSigactions(new Program(), [action])).toThrow(
    'core image: has 1 signal actions instead of 62: the image is damaged or older than criu 2.11',
  );
});

test('planSigactions refuses actions of 32-bit programs', () => {
  const actions = SETTABLE_SIGNALS.map(() => ({ ...action, compat_sigaction: true }));
  expect(() => planSigactions(new Program(), actions)).toThrow(
    'action of SIGHUP: cannot be restored: it was set by a 32-bit program, and 32-bit programs are not supported',
  );
});

test('signals that stop or continue the task are left to the controller', () => {
  const queue = { signals: [siginfo(19), siginfo(10), siginfo(18)] };
  const program = new Program();
  planSignalQueue(program, queue, { pid: 5, tid: 6, queue: 'thread' });
  expect(program.length).toBe(1);
  expect(program.describe(0).because).toBe('queue SIGUSR1 for the thread');
  expect(signalsToSend(queue)).toEqual([19, 18]);
  expect(signalsToSend(undefined)).toEqual([]);
});

test('a disabled alternative stack needs nothing', () => {
  const program = new Program();
  planSigaltstack(program, { ss_sp: 0n, ss_size: 0n, ss_flags: 2 });
  expect(program.length).toBe(0);
});
