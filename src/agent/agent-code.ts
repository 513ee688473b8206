/**
 * The agent: about 200 bytes of position-independent machine code that executes a program, an array of system calls
 * which TypeScript has assembled (see program.ts for the format of an op). The code itself is assembled beforehand, by
 * tools/generate-agent.ts.
 *
 * All state is in registers: r15 is the program counter (the address of the current op), r14 the current op's flags.
 * No stack is used, so the child of a clone op goes on with no stack of its own, and the stack pointer of a task that
 * the agent visits is never touched. FPU state is never touched either.
 */

import { setWord } from '../base/bytes.ts';
import { once } from '../base/per-run.ts';
import { USER_REGS } from '../linux/abi/ptrace.ts';
import { ABI_32 } from './abi.ts';
import { AGENT, RESUMES, type Resume } from './gen/machine-code.ts';

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

/** The agent's machine code. Its entry is its first byte; r15 must hold the address of the first op. */
export const agentCode = once(() => new Uint8Array(AGENT));

/** Room for one `resumeCode`, in bytes. */
export const RESUME_BYTES = 256;

export interface ResumeOptions {
  /** Address of a system call's saved signal mask (8 bytes) that the code puts back first. */
  readonly maskAddress?: number;
  /** Address of 8 writable bytes: a stack for the flags. Without it the flags stay as they are. */
  readonly scratch?: number;
}

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
  const { code, maskAt, scratchAt, places, indexes } = resumeFor(
    maskAddress !== undefined,
    scratch !== undefined,
    is32,
  );
  target.set(code, at);
  if (maskAddress !== undefined) setWord(view, at + maskAt, maskAddress);
  if (scratch !== undefined) setWord(view, at + scratchAt, scratch);
  for (let i = 0; i < places.length; i++) {
    const place = at + (places[i] ?? 0);
    const index = (indexes[i] ?? 0) * 2;
    view.setUint32(place, registers[index] ?? 0, true);
    view.setUint32(place + 4, registers[index + 1] ?? 0, true);
  }
  return code.length;
}

/** Bit 0: it puts back the mask; bit 1: the flags; bit 2: the code segment of a 32-bit task. */
function resumeFor(hasMask: boolean, hasScratch: boolean, is32: boolean): Resume {
  return RESUMES[(hasMask ? 1 : 0) + (hasScratch ? 2 : 0) + (is32 ? 4 : 0)] as Resume;
}
