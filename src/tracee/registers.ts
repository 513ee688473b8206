/** The general registers of a stopped thread: struct user_regs_struct of x86-64 (arch/x86/include/asm/user_64.h). */
import { ABI_32, ABI_64, type Abi } from '../agent/abi.ts';
import { ERESTART_RESTARTBLOCK, ERESTARTNOHAND, ERESTARTNOINTR, ERESTARTSYS } from '../linux/abi/errno.ts';
import {
  NT_X86_XSTATE,
  PTRACE_GETREGS,
  PTRACE_SETREGS,
  PTRACE_SETREGSET,
  USER_REGS,
  USER_REGS_BYTES,
} from '../linux/abi/ptrace.ts';
import { check } from '../linux/kernel.ts';
import { ptrace, ptraceRegset } from '../linux/syscalls/process.ts';

export type RegisterName = keyof typeof USER_REGS;

/** struct user_regs_struct as 27 words, in the kernel's order. */
export type Registers = BigUint64Array;

export function newRegisters(): Registers {
  return new BigUint64Array(USER_REGS_BYTES / 8);
}

/** One register's value. */
export function register(registers: Registers, name: RegisterName): bigint {
  return registers[USER_REGS[name]] ?? 0n;
}

export function setRegister(registers: Registers, name: RegisterName, value: number | bigint): void {
  registers[USER_REGS[name]] = BigInt(value); // modulo 2^64
}

/** Reads the general registers of a stopped thread. Throws SyscallError (ESRCH: it is gone). */
export function readRegisters(tid: number): Registers {
  const registers = newRegisters();
  check('ptrace', ptrace(PTRACE_GETREGS, tid, 0, registers), `GETREGS, ${tid}`);
  return registers;
}

export function writeRegisters(tid: number, registers: Registers): void {
  check('ptrace', ptrace(PTRACE_SETREGS, tid, 0, registers), `SETREGS, ${tid}`);
}

export function writeXstate(tid: number, bytes: Uint8Array): void {
  check('ptrace', ptraceRegset(PTRACE_SETREGSET, tid, NT_X86_XSTATE, bytes), `SETREGSET xstate, ${tid}`);
}

/** The kind of code that a thread executes. */
export function abiOf(registers: Registers): Abi {
  return register(registers, 'cs') === ABI_32.codeSegment ? ABI_32 : ABI_64;
}

/** Bytes of the instruction that makes a system call. */
const CALL_INSTRUCTION_BYTES = 2n;

/**
 * The registers with which the thread goes on by itself as if the kernel had restarted an interrupted system call, as
 * arch_do_signal_or_restart() does when no handler runs (arch/x86/kernel/signal.c). While the restart block of the
 * thread is intact, −ERESTART_RESTARTBLOCK becomes restart_syscall(2).
 */
export function restarted(registers: Registers): Registers {
  const result = registers.slice();
  const signed = new BigInt64Array(result.buffer);
  if ((signed[USER_REGS.orig_rax] ?? 0n) < 0n) return result;
  const error = -Number(signed[USER_REGS.rax]);
  if (error === ERESTARTSYS || error === ERESTARTNOINTR || error === ERESTARTNOHAND) {
    setRegister(result, 'rax', register(registers, 'orig_rax'));
  } else if (error === ERESTART_RESTARTBLOCK) {
    setRegister(result, 'rax', abiOf(registers).calls.restart_syscall);
  } else {
    return result;
  }
  setRegister(result, 'rip', register(registers, 'rip') - CALL_INSTRUCTION_BYTES);
  return result;
}
