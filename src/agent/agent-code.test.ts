import { describe, expect, test } from 'bun:test';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { USER_REGS, USER_REGS_BYTES } from '../linux/abi/ptrace.ts';
import { agentCode, RESUME_BYTES, resumeCode } from './agent-code.ts';

const objdump = Bun.which('objdump');

/** Mnemonics and operands as objdump decodes them. */
function disassemble(code: Uint8Array): string[] {
  const folder = mkdtempSync(join(tmpdir(), 'criu-agent-'));
  try {
    const file = join(folder, 'code');
    writeFileSync(file, code);
    const args = ['-D', '-b', 'binary', '-m', 'i386:x86-64', '-M', 'intel', '--no-show-raw-insn', file];
    const { stdout } = Bun.spawnSync([objdump ?? 'objdump', ...args]);
    const lines = stdout.toString().split('\n');
    return lines.flatMap((line) => /^\s*[0-9a-f]+:\s+(.*)$/.exec(line)?.[1]?.replace(/\s+/g, ' ').trim() ?? []);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** struct user_regs_struct with values that are easy to find. */
function registers(others: Partial<typeof REGISTERS> = {}): Uint32Array {
  const words = new BigUint64Array(USER_REGS_BYTES / 8);
  for (const [name, value] of Object.entries({ ...REGISTERS, ...others }))
    words[USER_REGS[name as RegisterName]] = value;
  return new Uint32Array(words.buffer);
}

type RegisterName = keyof typeof USER_REGS;

const GENERAL = [
  'rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15',
] as const; // biome-ignore format: a table

const REGISTERS = Object.fromEntries(
  [...GENERAL, 'rip', 'eflags', 'cs'].map((name, i) => [name, BigInt(i + 0x1000)]),
) as Record<(typeof GENERAL)[number] | 'rip' | 'eflags' | 'cs', bigint>;

describe.skipIf(objdump === null)('the machine code, decoded by objdump (skipped where binutils are missing)', () => {
  test('of the agent loads six arguments, each direct or indirect, and makes the system call', () => {
    const lines = disassemble(agentCode());
    expect(lines[0]).toBe('mov r14d,DWORD PTR [r15+0x0]');
    ['rdi', 'rsi', 'rdx', 'r10', 'r8', 'r9'].forEach((register, i) => {
      expect(lines[1 + 4 * i]).toBe(`mov ${register},QWORD PTR [r15+0x${(8 + 8 * i).toString(16)}]`);
      expect(lines[2 + 4 * i]).toBe(`test r14b,0x${(1 << i).toString(16)}`);
      expect(lines[4 + 4 * i]).toBe(`mov ${register},QWORD PTR [${register}+0x0]`);
    });
    expect(lines.filter((line) => line === 'syscall')).toHaveLength(2);
    expect(lines.filter((line) => line === 'int3')).toHaveLength(1);
    expect(lines.at(-1)).toBe('jmp 0x0');
    const gate = lines.indexOf('int 0x80');
    expect(lines.slice(gate - 6, gate)).toEqual([
      'mov ebx,edi',
      'mov ecx,esi',
      'mov esi,r10d',
      'mov edi,r8d',
      'mov ebp,r9d',
      'mov eax,DWORD PTR [r15+0x4]',
    ]);
    expect(lines.some((line) => line.includes('(bad)'))).toBe(false);
  });

  test('of the way back restores the mask, the flags, all registers, and the stack pointer last', () => {
    const lines = disassemble(resumeCode(registers(), { maskAddress: 0x5000, scratch: 0x6000 }));
    expect(lines.indexOf('syscall')).toBe(5);
    expect(lines[6]).toBe('movabs rsp,0x6000');
    expect(lines[7]).toBe('popf');
    for (const [name, value] of Object.entries(REGISTERS).slice(0, 16)) {
      expect(lines).toContain(`movabs ${name},0x${value.toString(16)}`);
    }
    const stack = lines.lastIndexOf(`movabs rsp,0x${REGISTERS.rsp.toString(16)}`);
    expect(lines[stack + 1]).toStartWith('jmp QWORD PTR [rip+0x0]');
  });

  test('of the way back to 32-bit code ends in a far jump to its address and segment', () => {
    const words = registers({ rip: 0xf7f2_65e9n, cs: 0x23n });
    const code = resumeCode(words, { maskAddress: 0x5000, scratch: 0x6000 });
    expect(code.length).toBeLessThanOrEqual(RESUME_BYTES);
    const lines = disassemble(code.subarray(0, code.length - 16));
    expect(lines.at(-1)).toStartWith('jmp FWORD PTR [rip+0x0]');
    const target = new DataView(code.buffer, code.length - 16);
    expect([target.getUint32(0, true), target.getUint16(4, true)]).toEqual([0xf7f2_65e9, 0x23]);
  });
});

test('the way back fits its room', () => {
  expect(resumeCode(registers(), { maskAddress: 1, scratch: 2 }).length).toBeLessThanOrEqual(RESUME_BYTES);
});
