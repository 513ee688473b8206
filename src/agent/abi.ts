/**
 * The two kinds of task that an x86-64 kernel runs: programs of 64 bits, and those of 32 bits (CONFIG_IA32_EMULATION).
 * What differs between them is described here, and nowhere else is there a number of the other kind.
 *
 * The agent is 64-bit code in both. A 32-bit task enters it when its code segment is changed, and leaves it by a far
 * jump; what it registers with the kernel by calls of its own kind (`mustAs`) the kernel keeps apart.
 */
import { ADDR_LIMIT_3GB } from '../linux/abi/personality.ts';
import type { USER_REGS } from '../linux/abi/ptrace.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { SYS_32 } from '../linux/abi/syscall-numbers-32.ts';

type RegisterName = keyof typeof USER_REGS;

/** Calls that are made as the task itself makes them. */
export type AbiCall =
  | 'restart_syscall'
  | 'mmap'
  | 'munmap'
  | 'rt_sigaction'
  | 'openat'
  | 'io_setup'
  | 'get_robust_list'
  | 'set_robust_list';

export interface Abi {
  readonly bits: 64 | 32;
  /** Selector of its code segment (arch/x86/include/asm/segment.h). */
  readonly codeSegment: bigint;
  /** End of its address space (TASK_SIZE, arch/x86/include/asm/page_64_types.h). */
  readonly taskSize: number;
  /** Flags of personality(2) that it had when it was executed, since they decide where its mappings are. */
  readonly personality: number;
  /** The instruction that makes a system call, two bytes in both. */
  readonly callInstruction: readonly [number, number];
  readonly calls: Readonly<Record<AbiCall, number>>;
  /** The registers with the arguments of a call, in order. */
  readonly argumentRegisters: readonly [
    RegisterName,
    RegisterName,
    RegisterName,
    RegisterName,
    RegisterName,
    RegisterName,
  ];
}

/** Without the last page below 2^47, and with four-level page tables. */
const TASK_SIZE_64 = 0x7fff_ffff_f000;
/** Without the last two pages. */
const TASK_SIZE_32 = 0xffff_e000;
const TASK_SIZE_3GB = 0xc000_0000;

export const ABI_64: Abi = {
  bits: 64,
  codeSegment: 0x33n,
  taskSize: TASK_SIZE_64,
  personality: 0,
  callInstruction: [0x0f, 0x05], // syscall
  calls: SYS,
  argumentRegisters: ['rdi', 'rsi', 'rdx', 'r10', 'r8', 'r9'],
};

export const ABI_32: Abi = {
  bits: 32,
  codeSegment: 0x23n,
  taskSize: TASK_SIZE_32,
  personality: 0,
  callInstruction: [0xcd, 0x80], // int 0x80
  // The offset of mmap2 counts pages; here it is always 0.
  calls: { ...SYS_32, mmap: SYS_32.mmap2 },
  argumentRegisters: ['rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rbp'],
};

/** A 32-bit task with ADDR_LIMIT_3GB (man 2 personality). Only a restore tells it from others. */
export const ABI_32_3GB: Abi = { ...ABI_32, taskSize: TASK_SIZE_3GB, personality: ADDR_LIMIT_3GB };
