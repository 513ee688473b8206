import { describe, expect, test } from 'bun:test';
import { newRegisters, setRegister } from '../../tracee/registers.ts';
import { findMixedCode } from './mixed-code.ts';

const CODE_64 = 0x33;
const CODE_32 = 0x23;
const LOW = { start: 0x5655_5000, end: 0xffff_d000 };
const HIGH = { start: 0x7fff_0000_0000, end: 0x7fff_0010_0000 };
const VSYSCALL = { start: 0xffff_ffff_ff60_0000, end: 0xffff_ffff_ff60_1000 };

function task(startstack: number, ...segments: number[]) {
  const threads = segments.map((cs, i) => {
    const registers = newRegisters();
    setRegister(registers, 'cs', cs);
    return { tid: 10 + i, registers };
  });
  return { pid: 10, label: "task 10 'x'", threads, stat: { startstack } };
}

const problems = (...of: Parameters<typeof findMixedCode>) =>
  findMixedCode(...of).map(({ object, action }) => `${object}: ${action}`);

describe('code of both kinds', () => {
  test('is not what most programs have', () => {
    expect(problems(task(HIGH.end, CODE_64, CODE_64), [LOW, HIGH, VSYSCALL])).toEqual([]);
    expect(problems(task(LOW.end, CODE_32, CODE_32), [LOW])).toEqual([]);
    expect(problems(task(LOW.end, CODE_32), [LOW, VSYSCALL])).toEqual([]);
  });

  test('is no longer to be seen in what a program has mapped, but in where its stack was', () => {
    expect(problems(task(HIGH.end, CODE_64), [LOW, VSYSCALL])).toEqual([]);
  });

  test('is refused where a thread of a 64-bit program executes 32-bit code', () => {
    expect(problems(task(HIGH.end, CODE_64, CODE_32), [LOW, HIGH])).toEqual([
      "thread 11 of task 10 'x': cannot be dumped: it executes 32-bit code in a 64-bit program",
    ]);
  });

  test('is refused where 64-bit code has addresses of 32 bits, as x32 has', () => {
    expect(problems(task(LOW.end, CODE_64), [LOW])).toEqual([
      "task 10 'x': cannot be dumped: it executes 64-bit code in an address space of 32 bits",
    ]);
  });
});
