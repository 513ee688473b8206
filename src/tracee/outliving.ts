/**
 * A program of ours that is done to its end, also when we are killed meanwhile: for what must not be left half done. A
 * child that shares our memory and descriptors, but not our fate, executes it (clone-agent.ts).
 */
import { type Place, Program, type Result } from '../agent/program.ts';
import { CLONE_FILES, CLONE_FS, CLONE_VFORK, CLONE_VM } from '../linux/abi/sched.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { check } from '../linux/kernel.ts';
import { tryWait } from '../linux/syscalls/process.ts';
import type { CallTable } from './call-table.ts';
import { OwnProgram } from './clone-agent.ts';

/** What the ops of a program have done. */
export interface Outcome {
  result(of: Result): number;
  bytes(of: Place): Uint8Array;
}

/** The same for rows of a table that ends in 'exit'. */
export function runTableOutliving(table: CallTable, rows: number): void {
  const program = new Program();
  program.jump(table.enter(rows));
  runOutliving(program);
}

/** Returns when it is done. Throws SyscallError when there can't be a child. */
export function runOutliving(program: Program): Outcome {
  program.call(SYS.exit, 0);
  const own = new OwnProgram(program);
  const flags = CLONE_VM | CLONE_FILES | CLONE_FS | CLONE_VFORK;
  tryWait(check('clone3', own.clone({ flags, exitSignal: 0 })));
  return own;
}
