/**
 * Assembles the machine code of the agent and of the ways back into a task, and writes it to src/agent/gen/machine-code.ts as
 * plain numbers: assembling it in each run would cost more than a dump has time for.
 *
 * Run `bun tools/generate-agent.ts` after a change; a test fails until then.
 */
import { writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import {
  KIND,
  OP_ARGS,
  OP_BYTES,
  OP_EXPECT,
  OP_FLAGS,
  OP_INDIRECT,
  OP_MUST,
  OP_NR,
  OP_RESULT,
} from '../src/agent/agent-code.ts';
import type { Resume } from '../src/agent/gen/machine-code.ts';
import { USER_REGS } from '../src/linux/abi/ptrace.ts';
import { Assembler, REGISTER, type Register } from './assembler.ts';

export const MACHINE_CODE = resolve(import.meta.dir, '../src/agent/gen/machine-code.ts');

const ARGUMENTS: readonly Register[] = ['rdi', 'rsi', 'rdx', 'r10', 'r8', 'r9'];

/** `onStop`: what is done by a program that stops; int3 unless stated. */
export function assembleAgent(onStop = (a: Assembler) => a.trap().jump('always', 'again')): Uint8Array {
  const a = new Assembler();
  a.label('loop').load32('r14', 'r15', OP_FLAGS);
  ARGUMENTS.forEach((register, i) => {
    a.load(register, 'r15', OP_ARGS + 8 * i);
    a.bytes(0x41, 0xf6, 0xc6, OP_INDIRECT(i)); // test r14b, 1 << i
    a.jump('z', `direct${i}`).load(register, register, 0).label(`direct${i}`);
  });
  a.bytes(0x41, 0x0f, 0xb6, 0x47, 0x01); // movzx eax, byte [r15 + 1]: the kind
  const dispatch = (kind: number, label: string) => a.bytes(0x3c, kind).jump('z', label); // cmp al, kind; je label
  dispatch(KIND.syscall, 'syscall');
  dispatch(KIND.clone, 'clone');
  dispatch(KIND.store64, 'store64');
  dispatch(KIND.store32, 'store32');
  dispatch(KIND.jump, 'jump');
  dispatch(KIND.leave, 'leave');
  dispatch(KIND.syscall32, 'syscall32');

  onStop(a.label('stop')); // KIND.stop, and everything unknown
  a.label('store64').store('rdi', 0, 'rsi').jump('always', 'next');
  a.label('store32').store32('rdi', 0, 'rsi').jump('always', 'next');
  a.label('jump').move('r15', 'rdi').jump('always', 'again');
  a.label('leave').bytes(0xff, 0xe7); // jmp rdi

  a.label('syscall32').bytes(0x89, 0xfb, 0x89, 0xf1); // mov ebx, edi; mov ecx, esi
  a.bytes(0x44, 0x89, 0xd6, 0x44, 0x89, 0xc7, 0x44, 0x89, 0xcd); // mov esi, r10d; mov edi, r8d; mov ebp, r9d
  a.load32('rax', 'r15', OP_NR).bytes(0xcd, 0x80).jump('always', 'result'); // int 0x80

  a.label('clone').load32('rax', 'r15', OP_NR).syscall();
  a.bytes(0x48, 0x85, 0xc0).jump('nz', 'result'); // test rax, rax: the child sees 0
  a.move('r15', 'r9').jump('always', 'again');

  a.label('syscall').load32('rax', 'r15', OP_NR).syscall();
  a.label('result').store('r15', OP_RESULT, 'rax');
  a.bytes(0x41, 0xf6, 0xc6, OP_MUST).jump('z', 'checked'); // test r14b, OP_MUST
  a.bytes(0x48, 0x3d, 0x01, 0xf0, 0xff, 0xff).jump('ae', 'stop'); // cmp rax, -4095 (unsigned)
  a.label('checked').bytes(0x41, 0xf6, 0xc6, OP_EXPECT).jump('z', 'next'); // test r14b, OP_EXPECT
  a.compareMemory('rax', 'r15', OP_ARGS + 8 * 5).jump('nz', 'stop');
  a.label('next').bytes(0x49, 0x83, 0xc7, OP_BYTES); // add r15, OP_BYTES
  a.label('again').bytes(0xe9); // jmp loop, 32-bit distance
  const distance = -(a.length + 4);
  a.bytes(distance & 0xff, (distance >> 8) & 0xff, (distance >> 16) & 0xff, (distance >> 24) & 0xff);
  return a.assemble();
}

const SIG_SETMASK = 2;
const NR_RT_SIGPROCMASK = 14;
const SIGSET_BYTES = 8;

function assembleResume(hasMask: boolean, hasScratch: boolean, is32: boolean): Resume {
  const a = new Assembler();
  const [indexes, places]: [number[], number[]] = [[], []];
  const put = (register: keyof typeof USER_REGS, at: number) => {
    indexes.push(USER_REGS[register]);
    places.push(at);
  };
  let [maskAt, scratchAt] = [0, 0];
  /** Sets a register to a value that is filled in later; returns the place of the value. */
  const later = (name: Register) => a.immediate(name, 0n).length - 8;
  if (hasMask) {
    a.immediate('rdi', SIG_SETMASK);
    maskAt = later('rsi');
    a.immediate('rdx', 0).immediate('r10', SIGSET_BYTES).immediate('rax', NR_RT_SIGPROCMASK).syscall();
  }
  if (hasScratch) {
    scratchAt = later('rsp');
    a.bytes(0x9d); // popfq
  }
  for (const name of Object.keys(REGISTER) as Register[]) {
    if (name !== 'rsp') put(name, later(name));
  }
  put('rsp', later('rsp')); // mov leaves the flags alone
  // jmp [rip + 0]. The far one reads 32 bits of address and the selector behind them; a stack is not needed.
  a.bytes(0xff, is32 ? 0x2d : 0x25, 0, 0, 0, 0).quad(0n);
  put('rip', a.length - 8);
  if (is32) put('cs', a.quad(0n).length - 12);
  return { code: [...a.assemble()], maskAt, scratchAt, indexes, places };
}

/** The content of the file. */
export function generateAgent(): string {
  const numbers = (values: Iterable<number>) => `[${[...values].join(', ')}]`;
  const resumes = [0, 1, 2, 3, 4, 5, 6, 7].map((bits) => {
    const { code, maskAt, scratchAt, indexes, places } = assembleResume((bits & 1) !== 0, (bits & 2) !== 0, bits > 3);
    const lists = `indexes: ${numbers(indexes)}, places: ${numbers(places)}, code: ${numbers(code)}`;
    return `  { maskAt: ${maskAt}, scratchAt: ${scratchAt}, ${lists} },\n`;
  });
  return `${HEAD}/** The agent. */
export const AGENT: readonly number[] = ${numbers(assembleAgent())};

/** By what they put back: bit 0 the mask, bit 1 the flags, bit 2 the code segment of a 32-bit task. */
export const RESUMES: readonly Resume[] = [
${resumes.join('')}];
`;
}

const HEAD = `// Generated by tools/generate-agent.ts. Do not edit.

/** Code of a way back, with zeros in place of the values, which differ from thread to thread. */
export interface Resume {
  /** Where the address of the mask, and that of the scratch memory, belong in the code. */
  readonly maskAt: number;
  readonly scratchAt: number;
  /** Registers by their indexes in struct user_regs_struct, and their places in the code. */
  readonly indexes: readonly number[];
  readonly places: readonly number[];
  readonly code: readonly number[];
}

`;

if (import.meta.main) {
  writeFileSync(MACHINE_CODE, generateAgent());
  console.log(`wrote ${MACHINE_CODE}`);
}
