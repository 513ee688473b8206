/** The general registers of a stopped thread: struct user_regs_struct of x86-64 (arch/x86/include/asm/user_64.h). */
import { ABI_32, ABI_64, type Abi } from '../agent/abi.ts';
import { ERESTART_RESTARTBLOCK, ERESTARTNOHAND, ERESTARTNOINTR, ERESTARTSYS } from '../linux/abi/errno.ts';
import { PTRACE_GETREGS, PTRACE_SETREGS, USER_REGS, USER_REGS_BYTES } from '../linux/abi/ptrace.ts';
import { check } from '../linux/kernel.ts';
import { ptrace } from '../linux/syscalls/process.ts';

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

/** The kind of code that a thread executes. */
export function abiOf(registers: Registers): Abi {
  return register(registers, 'cs') === ABI_32.codeSegment ? ABI_32 : ABI_64;
}

/** Bytes of the instruction that makes a system call. */
const CALL_INSTRUCTION_BYTES = 2;

/**
 * The registers with which the thread goes on by itself as if the kernel had restarted an interrupted system call, as
 * arch_do_signal_or_restart() does when no handler runs (arch/x86/kernel/signal.c). While the restart block of the
 * thread is intact, −ERESTART_RESTARTBLOCK becomes restart_syscall(2).
 */
export function restarted(registers: Registers): Registers {
  const result = registers.slice();
  restart(new Uint32Array(result.buffer));
  return result;
}

/** The same in place, in words of 32 bits: this is done for thousands of threads, and bigints are slow. */
export function restart(words: Uint32Array): void {
  const [rax, orig, rip] = [USER_REGS.rax * 2, USER_REGS.orig_rax * 2, USER_REGS.rip * 2];
  if (!isInterrupted(words)) return;
  const error = -((words[rax] as number) | 0);
  if (error === ERESTARTSYS || error === ERESTARTNOINTR || error === ERESTARTNOHAND) {
    words[rax] = words[orig] as number;
    words[rax + 1] = words[orig + 1] as number;
  } else if (error === ERESTART_RESTARTBLOCK) {
    words[rax] = (words[USER_REGS.cs * 2] === CS_32 ? ABI_32 : ABI_64).calls.restart_syscall;
    words[rax + 1] = 0;
  } else return;
  const low = words[rip] as number;
  words[rip] = low - CALL_INSTRUCTION_BYTES;
  if (low < CALL_INSTRUCTION_BYTES) words[rip + 1] = (words[rip + 1] as number) - 1;
}

const CS_32 = Number(ABI_32.codeSegment);

/** Whether the thread is in a system call that has given a small negative number. */
function isInterrupted(words: Uint32Array): boolean {
  const isCall = ((words[USER_REGS.orig_rax * 2 + 1] as number) | 0) >= 0;
  return isCall && ((words[USER_REGS.rax * 2 + 1] as number) | 0) === -1;
}

/** Whether only the kernel knows how an interrupted system call goes on. */
export function isRestartBlockCall(words: Uint32Array): boolean {
  return isInterrupted(words) && ((words[USER_REGS.rax * 2] as number) | 0) === -ERESTART_RESTARTBLOCK;
}
