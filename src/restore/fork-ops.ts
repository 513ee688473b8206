/** Ops of programs by which tasks, zombies and helpers are born and die. */
import type { Program, Result } from '../agent/program.ts';
import { CriuError } from '../base/errors.ts';
import type { TaskKobjIdsEntry } from '../image/gen/core.ts';
import { ERRNO, errnoName } from '../linux/abi/errno.ts';
import { CLONE_FILES, CLONE_FS, CLONE_PTRACE } from '../linux/abi/sched.ts';
import { SIGCHLD } from '../linux/abi/signal.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { CLONE_ARGS_BYTES, cloneArgs } from '../tracee/clone-agent.ts';
import { pidTaken } from '../tracee/stub.ts';
import type { RestoreMember, RestoreTask, RestoreZombie } from './restore-tree.ts';

/** A clone op for a helper: its death makes no signal. */
export function planHelper(program: Program, pid: number): Result {
  const setTid = program.data(new Uint8Array(Int32Array.of(pid).buffer));
  const args = program.words(...cloneArgs({ flags: CLONE_PTRACE, exitSignal: 0, setTidCount: 1 }));
  program.store64(program.at(args, 64), setTid);
  return program.fork(SYS.clone3, args, CLONE_ARGS_BYTES);
}

/** A clone op for a child. It stops before its first instruction: CLONE_PTRACE makes it our tracee. */
export function planFork(program: Program, parent: RestoreTask, child: RestoreMember): Result {
  const shared = child.kind === 'task' ? sharedFlags(parent.ids, child.ids) : 0;
  const setTid = program.data(new Uint8Array(Int32Array.of(child.pid).buffer));
  const args = program.words(...cloneArgs({ flags: CLONE_PTRACE | shared, exitSignal: SIGCHLD, setTidCount: 1 }));
  program.store64(program.at(args, 64), setTid);
  return program.fork(SYS.clone3, args, CLONE_ARGS_BYTES);
}

/** What parent and child share besides copies. */
function sharedFlags(parent: TaskKobjIdsEntry, child: TaskKobjIdsEntry): number {
  return (parent.files_id === child.files_id ? CLONE_FILES : 0) | (parent.fs_id === child.fs_id ? CLONE_FS : 0);
}

/** Throws CriuError when a fork has not made the process that it should. */
export function checkPid(made: number, wanted: number, label: string): void {
  if (made === wanted) return;
  if (made === -ERRNO.EEXIST) throw pidTaken(wanted);
  const how = made < 0 ? errnoName(-made) : `pid ${made}`;
  throw new CriuError({ object: label, action: `cannot be created (clone3: ${how})` });
}

/** Lets a zombie die the way it died before; the tracer reaps it first, then it is its parent's. */
export function planDeath(program: Program, zombie: RestoreZombie): void {
  const status = zombie.core.tc?.exit_code ?? 0;
  const signal = status & 0x7f;
  if (signal === 0) {
    program.call(SYS.exit_group, (status >> 8) & 0xff);
    return;
  }
  const unblocked = program.words(~(1n << BigInt(signal - 1)) & 0xffff_ffff_ffff_ffffn);
  program.call(SYS.rt_sigprocmask, 2, unblocked, 0, 8);
  program.call(SYS.kill, zombie.pid, signal);
  program.stop();
}
