import { describe, expect, test } from 'bun:test';
import { ABI_32, ABI_64 } from '../../agent/abi.ts';
import { ERESTART_RESTARTBLOCK } from '../../linux/abi/errno.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { SYS_32 } from '../../linux/abi/syscall-numbers-32.ts';
import { CLOCK_BOOTTIME, CLOCK_MONOTONIC, CLOCK_PROCESS_CPUTIME_ID } from '../../linux/abi/time.ts';
import { newRegisters, type RegisterName, register, setRegister } from '../../tracee/registers.ts';
import { canBeMadeAgain, describeInterruptedCall } from './interrupted-call.ts';
import { callAgain, goOn } from './reenter-call.ts';
import { assembleTimespec, parseTimespec, type TimedCall } from './timed-calls.ts';

function registers(nr: number, values: Partial<Record<RegisterName, number | bigint>>) {
  const result = newRegisters();
  setRegister(result, 'orig_rax', nr);
  setRegister(result, 'cs', ABI_64.codeSegment);
  for (const [name, value] of Object.entries(values)) setRegister(result, name as RegisterName, value);
  return result;
}

/** A restart block: eight words of 32 bits, then 64 bits. */
function block(words: readonly number[], last = 0n): DataView {
  const view = new DataView(new ArrayBuffer(40));
  for (const [i, word] of words.entries()) view.setInt32(4 * i, word, true);
  if (last !== 0n) view.setBigInt64(24, last, true);
  return view;
}

const clock = () => 5_000_000_000n;
const nobody = () => undefined;

describe('a call is made again', () => {
  const sleep = (rdi: number, rsi: number) => registers(SYS.nanosleep, { rdi, rsi });
  test('when the kernel has written the rest where the time is read from', () => {
    expect(canBeMadeAgain(sleep(0x10, 0x10), nobody)).toBe(true);
    expect(canBeMadeAgain(sleep(0x10, 0x20), nobody)).toBe(false);
  });
  test('when its whole time is short', () => {
    expect(canBeMadeAgain(sleep(0x10, 0), (at) => (at === 0x10n ? 10_000_000n : undefined))).toBe(true);
    expect(canBeMadeAgain(sleep(0x10, 0), () => 10_000_001n)).toBe(false);
    const futex = registers(SYS.futex, { rsi: 128, r10: 0x30 });
    expect(canBeMadeAgain(futex, (at) => (at === 0x30n ? 1n : undefined))).toBe(true);
  });
  test('when a poll has no or a short time limit, or a futex an absolute one', () => {
    const poll = (rdx: number) => canBeMadeAgain(registers(SYS.poll, { rdx }), nobody);
    expect([0xffff_ffff, 10, 11].map(poll)).toEqual([true, true, false]);
    expect(canBeMadeAgain(registers(SYS.futex, { rsi: 128 + 9 }), nobody)).toBe(true);
  });
});

describe('the rest of a call', () => {
  test('of a sleep counts by its clock', () => {
    const seen = registers(SYS.clock_nanosleep, { rdi: 7 });
    const at = (clockid: number) => block([clockid, 0, 0, 0, 1_000_000_000, 2]);
    const clocks: number[] = [];
    const read = (clockid: number) => {
      clocks.push(clockid);
      return clock();
    };
    const rest_ns = 9_589_934_592n - 5_000_000_000n;
    expect(describeInterruptedCall(seen, at(CLOCK_BOOTTIME), read)).toEqual({ nr: SYS.clock_nanosleep, rest_ns });
    expect(clocks).toEqual([CLOCK_BOOTTIME]);
    expect(describeInterruptedCall(seen, at(CLOCK_PROCESS_CPUTIME_ID), read)).toBeUndefined();
  });
  test('is nothing when the time is over', () => {
    const seen = registers(SYS.nanosleep, {});
    expect(describeInterruptedCall(seen, block([CLOCK_MONOTONIC, 0, 0, 0, 5]), clock)?.rest_ns).toBe(0n);
  });
  test('of a call that was interrupted before shows which call it was', () => {
    const of = (values: Partial<Record<RegisterName, number>>, words: readonly number[], last = 0n) =>
      describeInterruptedCall(registers(SYS.restart_syscall, values), block(words, last), clock);
    const poll = { rdi: 0x100, rsi: 3, rdx: 2000 };
    expect(of(poll, [0x100, 0, 3, 1, 6, 0], 7n)).toEqual({ nr: SYS.poll, rest_ns: 1_000_000_007n });
    const futex = { rdi: 0x100, rsi: 128, rdx: 42 };
    expect(of(futex, [0x100, 0, 42, 0, -1, 0], 5_000_000_009n)).toEqual({ nr: SYS.futex, rest_ns: 9n });
    const sleep = [CLOCK_MONOTONIC, 1, 0x20, 0, 2_000_000_000, 1];
    expect(of({ rdi: 0x7000, rsi: 0x20 }, sleep)?.nr).toBe(SYS.nanosleep);
    expect(of({ rdi: 1, rsi: 0, r10: 0x20 }, sleep)?.nr).toBe(SYS.clock_nanosleep);
    expect(of({ rdi: 1, rsi: 0x20 }, sleep)).toBeUndefined();
  });
});

describe('a call is entered again', () => {
  const own = registers(-1, { rdi: 1, rsi: 2, rdx: 3, r10: 4, rax: -4 });
  const args = (nr: number, rest_ns: bigint) => {
    const made = callAgain(own, { nr, rest_ns }, 0x5000);
    return (['rax', 'rdi', 'rsi', 'rdx', 'r10'] as const).map((name) => Number(register(made, name)));
  };
  test('with its arguments and the rest of the time', () => {
    expect(args(SYS.nanosleep, 1n)).toEqual([SYS.nanosleep, 0x5000, 2, 3, 4]);
    expect(args(SYS.clock_nanosleep, 1n)).toEqual([SYS.clock_nanosleep, 1, 2, 0x5000, 4]);
    expect(args(SYS.futex, 1n)).toEqual([SYS.futex, 1, 2, 3, 0x5000]);
    expect(args(SYS.poll, 1_000_001n)).toEqual([SYS.poll, 1, 2, 2, 4]);
    expect(args(SYS.poll, 1n << 62n)).toEqual([SYS.poll, 1, 2, 0x7fff_ffff, 4]);
  });
  test('and restarted by the kernel, unless it has ended', () => {
    const call = { nr: SYS.poll, rest_ns: 1n };
    const waiting = goOn(own, call, BigInt(-ERESTART_RESTARTBLOCK));
    expect(register(waiting, 'orig_rax')).toBe(BigInt(SYS.poll));
    const ended = goOn(own, call, 1n);
    expect([register(ended, 'rax'), register(ended, 'orig_rax')]).toEqual([1n, register(own, 'orig_rax')]);
  });
});

describe('a call of a 32-bit task', () => {
  const registers32 = (nr: number, values: Partial<Record<RegisterName, number | bigint>>) => {
    const result = registers(nr, values);
    setRegister(result, 'cs', ABI_32.codeSegment);
    return result;
  };

  test('has its own numbers and registers, and times of either size', () => {
    const sizes: number[] = [];
    const read = (_at: bigint, { wordBytes }: TimedCall) => {
      sizes.push(wordBytes);
      return undefined;
    };
    expect(canBeMadeAgain(registers32(SYS_32.nanosleep, { rbx: 0x10, rcx: 0x20 }), read)).toBe(false);
    expect(canBeMadeAgain(registers32(SYS_32.clock_nanosleep_time64, { rdx: 0x10, rsi: 0x10 }), read)).toBe(true);
    expect(canBeMadeAgain(registers32(SYS_32.futex_time64, { rcx: 128, rsi: 0x30 }), read)).toBe(false);
    expect(canBeMadeAgain(registers32(SYS_32.poll, { rdx: 0xffff_ffff }), read)).toBe(true);
    expect(sizes).toEqual([4, 8]);
  });

  test('that was interrupted before is found by its arguments', () => {
    const of = (values: Partial<Record<RegisterName, number>>, words: readonly number[]) =>
      describeInterruptedCall(registers32(SYS_32.restart_syscall, values), block(words), clock)?.nr;
    const sleep = (type: number) => [CLOCK_MONOTONIC, type, 0x20, 0, 2_000_000_000, 1];
    expect(of({ rbx: 0x7000, rcx: 0x20 }, sleep(2))).toBe(SYS_32.nanosleep);
    expect(of({ rbx: 1, rcx: 0, rsi: 0x20 }, sleep(2))).toBe(SYS_32.clock_nanosleep);
    expect(of({ rbx: 1, rcx: 0, rsi: 0x20 }, sleep(1))).toBe(SYS_32.clock_nanosleep_time64);
  });

  test('is entered again by its own registers', () => {
    const own32 = registers32(-1, { rbx: 1, rcx: 2, rdx: 3, rsi: 4 });
    const args = (nr: number) => {
      const made = callAgain(own32, { nr, rest_ns: 2_000_000n }, 0x5000);
      return (['rax', 'rbx', 'rcx', 'rdx', 'rsi'] as const).map((name) => Number(register(made, name)));
    };
    expect(args(SYS_32.nanosleep)).toEqual([SYS_32.nanosleep, 0x5000, 2, 3, 4]);
    expect(args(SYS_32.futex)).toEqual([SYS_32.futex, 1, 2, 3, 0x5000]);
    expect(args(SYS_32.poll)).toEqual([SYS_32.poll, 1, 2, 2, 4]);
  });

  test('has times that come back, as long as their size allows', () => {
    const call = (wordBytes: 8 | 4) => ({ nr: 0, name: 'futex', wordBytes }) as const;
    expect(parseTimespec(assembleTimespec(5_000_000_007n, call(4)))).toBe(5_000_000_007n);
    expect(parseTimespec(assembleTimespec(1n << 62n, call(8)))).toBe(1n << 62n);
    expect(parseTimespec(assembleTimespec(1n << 62n, call(4))) / 1_000_000_000n).toBe(0x7fff_ffffn);
  });
});
