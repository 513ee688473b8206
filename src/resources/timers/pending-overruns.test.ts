import { describe, expect, test } from 'bun:test';
import { Program } from '../../agent/program.ts';
import { SI_TIMER, SIGALRM, SIGINFO_BYTES, SIGTSTP } from '../../linux/abi/signal.ts';
import type { Status } from '../../proc/status.ts';
import { VisitResult } from '../../tracee/guest.ts';
import { putU32 } from '../task/words.ts';
import { describeOverruns, inspectOverruns } from './pending-overruns.ts';

function signal(number: number, code: number) {
  const siginfo = new Uint8Array(SIGINFO_BYTES);
  putU32(siginfo, 0, number);
  putU32(siginfo, 8, code);
  return { siginfo };
}

const status = { queuedSignals: 3, queuedSignalsMax: 100, sigPnd: 0n, shdPnd: 0n } as Status;
const process = { pid: 10, tid: 10, queue: 'process', status } as const;
const timer = signal(34, SI_TIMER);
const sent = signal(34, 0);
const other = signal(12, 0);

describe('which signals are taken to see their overrun count', () => {
  const ask = (signals: { siginfo: Uint8Array }[], where: Parameters<typeof inspectOverruns>[2] = process) => {
    const program = new Program();
    const token = inspectOverruns(program, { signals }, where);
    return { token, ops: program.length };
  };

  test('those of timers, with all of the same number, which are behind each other', () => {
    const { token, ops } = ask([timer, other, sent]);
    expect([...(token?.signals ?? [])]).toEqual([34]);
    expect(token?.taken.length).toBe(2);
    expect(ops).toBe(4);
  });

  test('none of others, or which stop the process, or are in the other queue too, or for which there is no room', () => {
    expect(ask([sent, other])).toEqual({ token: undefined, ops: 0 });
    expect(ask([signal(SIGTSTP, SI_TIMER)])).toEqual({ token: undefined, ops: 0 });
    const both = { ...status, sigPnd: 1n << 33n };
    expect(ask([timer], { ...process, status: both }).ops).toBe(0);
    expect(ask([timer], { ...process, queue: 'thread', status: both }).ops).toBe(2);
    expect(ask([timer], { ...process, status: { ...status, queuedSignalsMax: 3 } }).ops).toBe(0);
  });

  test('one that was gone, because its timer was set again, is not in the image', () => {
    const program = new Program();
    const queue = { signals: [timer, signal(SIGALRM, SI_TIMER), other] };
    const token = inspectOverruns(program, queue, process);
    if (token === undefined) throw new Error('two signals are asked for');
    const block = program.assemble(0x1000);
    const view = new DataView(block.buffer, block.byteOffset);
    const [first, second] = token.taken;
    if (first === undefined || second === undefined) throw new Error('two results');
    view.setBigInt64(program.resultOffset(first), 34n, true);
    view.setBigInt64(program.resultOffset(second), -11n, true);
    block.set([34, 0, 0, 0], program.placeOffset(token.infos));
    const described = describeOverruns(token, new VisitResult(program, block, block.length), queue);
    expect(described.signals.map(({ siginfo }) => siginfo[0])).toEqual([34, 12]);
  });
});
