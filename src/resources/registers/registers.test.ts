import { describe, expect, test } from 'bun:test';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { newRegisters, type RegisterName, register, setRegister } from '../../tracee/registers.ts';
import { describeRegisters, registersFromImage } from './registers.ts';

function registers(values: Partial<Record<RegisterName, number | bigint>>) {
  const result = newRegisters();
  setRegister(result, 'orig_rax', -1n);
  for (const [name, value] of Object.entries(values)) setRegister(result, name as RegisterName, value);
  return result;
}

const RESTART_BLOCK = -516;
const RESTART_SYS = -512;
const EINTR = 0xffff_ffff_ffff_fffcn;

describe('registers in the image', () => {
  test('come back as they were, and no system call is restarted a second time', () => {
    const seen = registers({ rax: 5, rip: 0x1000, r15: 15, fs_base: 0x7fff_0000, eflags: 0x246 });
    expect(registersFromImage(describeRegisters(seen))).toEqual(seen);
  });

  test('make an interrupted system call again from its instruction on', () => {
    const { ax, ip } = describeRegisters(registers({ orig_rax: SYS.read, rax: RESTART_SYS, rip: 0x1000 }));
    expect([ax, ip]).toEqual([BigInt(SYS.read), 0xffen]);
  });

  test('let a sleep whose rest nobody knows return EINTR', () => {
    const sleep = registers({ orig_rax: SYS.nanosleep, rax: RESTART_BLOCK, rip: 0x1000, rdi: 0x10, rsi: 0 });
    const { ax, ip } = describeRegisters(sleep);
    expect([ax, ip]).toEqual([EINTR, 0x1000n]);
  });

  test('make a sleep again that reads its time where the kernel has written the rest', () => {
    const sleep = registers({ orig_rax: SYS.nanosleep, rax: RESTART_BLOCK, rip: 0x1000, rdi: 0x10, rsi: 0x10 });
    const { ax, ip } = describeRegisters(sleep);
    expect([ax, ip]).toEqual([BigInt(SYS.nanosleep), 0xffen]);
  });

  test('make a poll without time limit again, but not one with', () => {
    const poll = (timeout: number) =>
      describeRegisters(registers({ orig_rax: SYS.poll, rax: RESTART_BLOCK, rip: 0x1000, rdx: timeout })).ax;
    expect(poll(0xffff_ffff)).toBe(BigInt(SYS.poll));
    expect(poll(1000)).toBe(EINTR);
  });

  test('leave alone what only looks like an interrupted call', () => {
    const seen = registers({ rax: RESTART_SYS, rip: 0x1000 });
    expect(describeRegisters(seen).ip).toBe(register(seen, 'rip'));
  });
});
