/**
 * The agent: about 200 bytes of position-independent machine code that executes a program, an array of system calls
 * which TypeScript has assembled (see program.ts for the format of an op).
 *
 * All state is in registers: r15 is the program counter (the address of the current op), r14 the current op's flags.
 * No stack is used, so the child of a clone op goes on with no stack of its own, and the stack pointer of a task that
 * the agent visits is never touched. FPU state is never touched either.
 */
import { setWord } from '../base/bytes.ts';
import { USER_REGS } from '../linux/abi/ptrace.ts';
import { ABI_32 } from './abi.ts';
import { Assembler, REGISTER, type Register } from './assembler.ts';

/** Layout of one op, in bytes. */
export const OP_BYTES = 64;
export const OP_FLAGS = 0; // u32: bits 0-5 indirect arguments, 6 must, 7 expect; bits 8-15 the kind
export const OP_NR = 4; // u32: system call number
export const OP_ARGS = 8; // u64[6]
export const OP_RESULT = 56; // i64

/** Argument i is the address of a word that holds the value. */
export const OP_INDIRECT = (i: number) => 1 << i;
/** A result of −4095…−1 stops the program (int3) at this op. */
export const OP_MUST = 0x40;
/** A result other than args[5] stops the program at this op. */
export const OP_EXPECT = 0x80;

/** Kinds of op. */
export const KIND = {
  /** System call `nr` with args. */
  syscall: 0,
  /** int3: the tracer takes over. Never in a task that must survive its tracer. */
  stop: 1,
  /** *(u64 *)args[0] = args[1]. */
  store64: 2,
  /** *(u32 *)args[0] = args[1]. */
  store32: 3,
  /** A system call that makes a child; the child goes on at the program args[5]. */
  clone: 4,
  /** Go on at the program args[0]. */
  jump: 5,
  /** Leave the agent: jump to the machine code at args[0]. */
  leave: 6,
  /** System call `nr` of 32-bit programs, with args of 32 bits; only in their tasks. */
  syscall32: 7,
} as const;

const ARGUMENTS: readonly Register[] = ['rdi', 'rsi', 'rdx', 'r10', 'r8', 'r9'];

function assembleAgent(): Uint8Array {
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

  a.label('stop').trap().jump('always', 'again'); // KIND.stop, and everything unknown
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

let code: Uint8Array | undefined;

/** The agent's machine code. Its entry is its first byte; r15 must hold the address of the first op. */
export function agentCode(): Uint8Array {
  code ??= assembleAgent();
  return code;
}

/** Room for one `resumeCode`, in bytes. */
export const RESUME_BYTES = 256;

export interface ResumeOptions {
  /** Address of a system call's saved signal mask (8 bytes) that the code puts back first. */
  readonly maskAddress?: number;
  /** Address of 8 writable bytes: a stack for the flags. Without it the flags stay as they are. */
  readonly scratch?: number;
}

const SIG_SETMASK = 2;
const NR_RT_SIGPROCMASK = 14;
const SIGSET_BYTES = 8;

/**
 * Code that puts the signal mask, all general registers and the flags back and goes on where the task was.
 * @param registers struct user_regs_struct, as words of 32 bits: thousands are made, and a bigint for each is slow
 */
export function resumeCode(registers: Uint32Array, options: ResumeOptions): Uint8Array {
  const code = new Uint8Array(RESUME_BYTES);
  const bytes = putResumeCode(code, new DataView(code.buffer), 0, registers, options);
  return code.subarray(0, bytes);
}

/** The same into memory that `view` is of, at `at`; returns how many bytes it has. */
export function putResumeCode(
  target: Uint8Array,
  view: DataView,
  at: number,
  registers: Uint32Array,
  { maskAddress, scratch }: ResumeOptions,
): number {
  const is32 = registers[USER_REGS.cs * 2] === Number(ABI_32.codeSegment);
  const template = resumeTemplate(maskAddress !== undefined, scratch !== undefined, is32);
  target.set(template.code, at);
  if (maskAddress !== undefined) setWord(view, at + template.maskAt, maskAddress);
  if (scratch !== undefined) setWord(view, at + template.scratchAt, scratch);
  const places = template.registers;
  for (let i = 0; i < places.length; i++) {
    const place = places[i] as RegisterPlace;
    view.setUint32(at + place.at, registers[place.index * 2] ?? 0, true);
    view.setUint32(at + place.at + 4, registers[place.index * 2 + 1] ?? 0, true);
  }
  return template.code.length;
}

interface RegisterPlace {
  /** In struct user_regs_struct. */
  readonly index: number;
  /** In the code. */
  readonly at: number;
}

/** The code with zeros in place of the values, which differ from thread to thread; and where they belong. */
interface ResumeTemplate {
  readonly code: Uint8Array;
  readonly maskAt: number;
  readonly scratchAt: number;
  readonly registers: readonly RegisterPlace[];
}

/** By what they put back: bit 0 the mask, bit 1 the flags, bit 2 the code segment of a 32-bit task. */
const templates: ResumeTemplate[] = [];

function resumeTemplate(hasMask: boolean, hasScratch: boolean, is32: boolean): ResumeTemplate {
  const index = (hasMask ? 1 : 0) + (hasScratch ? 2 : 0) + (is32 ? 4 : 0);
  const template = templates[index] ?? assembleResume(hasMask, hasScratch, is32);
  templates[index] = template;
  return template;
}

function assembleResume(hasMask: boolean, hasScratch: boolean, is32: boolean): ResumeTemplate {
  const a = new Assembler();
  const registers: RegisterPlace[] = [];
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
    if (name !== 'rsp') registers.push({ index: USER_REGS[name], at: later(name) });
  }
  registers.push({ index: USER_REGS.rsp, at: later('rsp') }); // mov leaves the flags alone
  // jmp [rip + 0]. The far one reads 32 bits of address and the selector behind them; a stack is not needed.
  a.bytes(0xff, is32 ? 0x2d : 0x25, 0, 0, 0, 0).quad(0n);
  registers.push({ index: USER_REGS.rip, at: a.length - 8 });
  if (is32) registers.push({ index: USER_REGS.cs, at: a.quad(0n).length - 12 });
  return { code: a.assemble(), maskAt, scratchAt, registers };
}
