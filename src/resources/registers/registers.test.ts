import { describe, expect, test } from 'bun:test';
import { ABI_32 } from '../../agent/abi.ts';
import { UserX86RegsMode } from '../../image/gen/core-x86.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { newRegisters, type RegisterName, register, restarted, setRegister } from '../../tracee/registers.ts';
import { abiOfImage, describeRegisters, hasRestartBlock, registersFromImage } from './registers.ts';

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
    expect(registersFromImage(describeRegisters(seen, true))).toEqual(seen);
  });

  test('make an interrupted system call again from its instruction on', () => {
    const { ax, ip } = describeRegisters(registers({ orig_rax: SYS.read, rax: RESTART_SYS, rip: 0x1000 }), true);
    expect([ax, ip]).toEqual([BigInt(SYS.read), 0xffen]);
  });

  test('let a call that only the kernel can restart return EINTR, or make it again', () => {
    const sleep = registers({ orig_rax: SYS.nanosleep, rax: RESTART_BLOCK, rip: 0x1000 });
    expect(hasRestartBlock(sleep)).toBe(true);
    const left = describeRegisters(sleep, false);
    expect([left.ax, left.ip]).toEqual([EINTR, 0x1000n]);
    const again = describeRegisters(sleep, true);
    expect([again.ax, again.ip]).toEqual([BigInt(SYS.nanosleep), 0xffen]);
  });

  test('tell code of 32 bits, whose calls have other numbers', () => {
    const sleep = registers({ orig_rax: 162, rax: RESTART_BLOCK, rip: 0x1000, cs: 0x23 });
    expect(describeRegisters(sleep, true)).toMatchObject({ mode: UserX86RegsMode.COMPAT, ax: 162n, ip: 0xffen });
    expect(register(restarted(sleep), 'rax')).toBe(0n);
    expect(abiOfImage(describeRegisters(sleep, true))).toBe(ABI_32);
    const native = registers({ orig_rax: SYS.nanosleep, rax: RESTART_BLOCK, rip: 0x1000, cs: 0x33 });
    expect(describeRegisters(native, true).mode).toBe(UserX86RegsMode.NATIVE);
    expect(register(restarted(native), 'rax')).toBe(BigInt(SYS.restart_syscall));
  });

  test('leave alone what only looks like an interrupted call', () => {
    const seen = registers({ rax: RESTART_SYS, rip: 0x1000 });
    expect(describeRegisters(seen, true).ip).toBe(register(seen, 'rip'));
  });
});
