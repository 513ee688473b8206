/** The general registers of a stopped thread: struct user_regs_struct of x86-64 (arch/x86/include/asm/user_64.h). */
import type { GeneralRegisters } from '../agent/agent-code.ts';
import { ERESTART_RESTARTBLOCK, ERESTARTNOHAND, ERESTARTNOINTR, ERESTARTSYS } from '../linux/abi/errno.ts';
import { NT_PRSTATUS, NT_X86_XSTATE, PTRACE_GETREGSET, PTRACE_SETREGSET, USER_REGS } from '../linux/abi/ptrace.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { check } from '../linux/kernel.ts';
import { ptraceRegset } from '../linux/syscalls/process.ts';

export type RegisterName = (typeof USER_REGS)[number];

/** Index of a register in user_regs_struct. */
export const INDEX = Object.fromEntries(USER_REGS.map((name, i) => [name, i])) as Record<RegisterName, number>;

/** struct user_regs_struct as 27 words, in the kernel's order. */
export type Registers = BigUint64Array;

export function newRegisters(): Registers {
  return new BigUint64Array(USER_REGS.length);
}

/** One register's value. */
export function register(registers: Registers, name: RegisterName): bigint {
  return registers[INDEX[name]] ?? 0n;
}

export function setRegister(registers: Registers, name: RegisterName, value: number | bigint): void {
  registers[INDEX[name]] = BigInt.asUintN(64, BigInt(value));
}

const bytesOf = (registers: Registers) => new Uint8Array(registers.buffer, registers.byteOffset, registers.byteLength);

/** Reads the general registers of a stopped thread. Throws SyscallError (ESRCH: it is gone). */
export function readRegisters(tid: number): Registers {
  const registers = newRegisters();
  check('ptrace', ptraceRegset(PTRACE_GETREGSET, tid, NT_PRSTATUS, bytesOf(registers)), `GETREGSET, ${tid}`);
  return registers;
}

export function writeRegisters(tid: number, registers: Registers): void {
  check('ptrace', ptraceRegset(PTRACE_SETREGSET, tid, NT_PRSTATUS, bytesOf(registers)), `SETREGSET, ${tid}`);
}

/** Larger than any XSAVE area so far (11,008 bytes with AMX). */
const XSTATE_BYTES_MAX = 32 * 1024;
const xstate = new Uint8Array(XSTATE_BYTES_MAX);

/** The XSAVE area of a stopped thread, in the standard (not compacted) format. A copy. */
export function readXstate(tid: number): Uint8Array {
  const bytes = check('ptrace', ptraceRegset(PTRACE_GETREGSET, tid, NT_X86_XSTATE, xstate), `GETREGSET xstate, ${tid}`);
  return xstate.slice(0, bytes);
}

export function writeXstate(tid: number, bytes: Uint8Array): void {
  check('ptrace', ptraceRegset(PTRACE_SETREGSET, tid, NT_X86_XSTATE, bytes), `SETREGSET xstate, ${tid}`);
}

/** Bytes of the `syscall` instruction. */
const SYSCALL_INSTRUCTION_BYTES = 2n;

/**
 * The registers with which the thread goes on by itself as if the kernel had restarted an interrupted system call, as
 * arch_do_signal_or_restart() does when no handler runs (arch/x86/kernel/signal.c). While the restart block of the
 * thread is intact, −ERESTART_RESTARTBLOCK becomes restart_syscall(2).
 */
export function restarted(registers: Registers): Registers {
  const result = registers.slice();
  if (BigInt.asIntN(64, register(registers, 'orig_rax')) < 0n) return result;
  const error = -Number(BigInt.asIntN(64, register(registers, 'rax')));
  if (error === ERESTARTSYS || error === ERESTARTNOINTR || error === ERESTARTNOHAND) {
    setRegister(result, 'rax', register(registers, 'orig_rax'));
  } else if (error === ERESTART_RESTARTBLOCK) {
    setRegister(result, 'rax', SYS.restart_syscall);
  } else {
    return result;
  }
  setRegister(result, 'rip', register(registers, 'rip') - SYSCALL_INSTRUCTION_BYTES);
  return result;
}

/** The same registers under the names of the instruction set, for agent code. */
export function generalRegisters(registers: Registers): GeneralRegisters {
  const names = USER_REGS.filter((name) => !['orig_rax', 'cs', 'ss', 'ds', 'es', 'fs', 'gs'].includes(name));
  return Object.fromEntries(names.map((name) => [name, register(registers, name)])) as GeneralRegisters;
}
