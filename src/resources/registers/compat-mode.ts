/**
 * Threads that execute 32-bit code (CONFIG_IA32_EMULATION). Such a thread is refused: it would take an agent that goes
 * back into that mode, signal actions and robust lists of the other system call interface, and another vdso.
 */
import type { CriuErrorFields } from '../../base/errors.ts';
import type { FrozenTask } from '../../dump/frozen-tree.ts';
import { register } from '../../tracee/registers.ts';

export function findCompatProblems(tasks: readonly FrozenTask[]): CriuErrorFields[] {
  return tasks.flatMap(({ pid, label, threads }) =>
    threads.filter(isCompat).map(({ tid }) => ({
      object: tid === pid ? label : `thread ${tid} of ${label}`,
      action: 'cannot be dumped: it executes 32-bit code',
      why: 'programs of 32 bits are not supported by this criu',
      remedy: 'use a build of the program for x86-64',
    })),
  );
}

/** Segment selector of 32-bit code (arch/x86/include/asm/segment.h). */
const USER32_CS = 0x23n;

/** PTRACE_GETREGS gives a tracer of 64 bits all registers of such a thread too, which PTRACE_GETREGSET does not. */
const isCompat = ({ registers }: FrozenTask['leader']) => register(registers, 'cs') === USER32_CS;
