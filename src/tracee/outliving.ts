/**
 * A program of ours that is done to its end, also when we are killed meanwhile: for what must not be left half done. A
 * child that shares our memory and descriptors, but not our fate, executes it (clone-agent.ts).
 *
 * Nor do tasks run that stand still because we trace them: the child traces us, so that a dying criu stops before it lets go
 * of them (PTRACE_EVENT_EXIT comes before exit_notify(), kernel/exit.c, do_exit()), until the child has ended. Where it may
 * not, because somebody else traces us, they may run a moment earlier.
 */
import { Program } from '../agent/program.ts';
import { PTRACE_O_TRACEEXIT, PTRACE_SEIZE } from '../linux/abi/ptrace.ts';
import { CLONE_FILES, CLONE_FS, CLONE_VFORK, CLONE_VM } from '../linux/abi/sched.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { check, syscall } from '../linux/kernel.ts';
import { tryWait } from '../linux/syscalls/process.ts';
import type { CallTable } from './call-table.ts';
import { OwnProgram } from './clone-agent.ts';

/** Returns when all that `add` adds is done. Throws SyscallError when there can't be a child. */
export function runOutliving(add: (program: Program) => void): void {
  const program = new Program();
  program.call(SYS.ptrace, PTRACE_SEIZE, syscall(SYS.gettid), 0, PTRACE_O_TRACEEXIT);
  add(program);
  program.call(SYS.exit, 0);
  const own = new OwnProgram(program);
  const flags = CLONE_VM | CLONE_FILES | CLONE_FS | CLONE_VFORK;
  tryWait(check('clone3', own.clone({ flags, exitSignal: 0 })));
}

/** The same for rows of a table that ends in 'exit'. */
export function runTableOutliving(table: CallTable, rows: number): void {
  runOutliving((program) => void program.jump(table.enter(rows)));
}
