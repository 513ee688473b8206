import { expect, test } from 'bun:test';
import { ABI_32 } from '../../agent/abi.ts';
import { KIND, OP_ARGS, OP_BYTES, OP_FLAGS } from '../../agent/agent-code.ts';
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

test('planSigactions sets actions of 32-bit programs by their own call', () => {
  const action32 = { sigaction: 0x1234n, flags: 0x4000000n, restorer: 0x5678n, mask: 0x9n, compat_sigaction: true };
  const program = new Program();
  planSigactions(program, [action32, ...SETTABLE_SIGNALS.slice(1).map(() => action)]);
  const block = program.assemble(0x1000_0000);
  const view = new DataView(block.buffer);
  const op = SETTABLE_SIGNALS.length * OP_BYTES;
  expect(program.describe(SETTABLE_SIGNALS.length)).toEqual({
    nr: 174,
    because: 'set the action of SIGHUP',
    abi: ABI_32,
  });
  expect(view.getUint8(op + OP_FLAGS + 1)).toBe(KIND.syscall32);
  const at = view.getUint32(op + OP_ARGS + 8, true) - 0x1000_0000;
  const words = [0, 4, 8, 12, 16].map((offset) => view.getUint32(at + offset, true));
  expect(words).toEqual([0x1234, 0x4000000, 0x5678, 9, 0]);
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
