/**
 * Threads of a restored task. They are made by clone ops of the leader's last program, run their own part of it all at
 * once and untraced, and end in pause(2). Then each is seized, checked, and waits for its registers.
 */
import { OP_BYTES } from '../agent/agent-code.ts';
import { Program } from '../agent/program.ts';
import { CriuError } from '../base/errors.ts';
import { errnoName } from '../linux/abi/errno.ts';
import { PTRACE_O_EXITKILL, PTRACE_O_SUSPEND_SECCOMP } from '../linux/abi/ptrace.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { syscall } from '../linux/kernel.ts';
import { hasSeccomp } from '../resources/seccomp/restore-seccomp.ts';
import { HostTask } from '../tracee/host.ts';
import { readRegisterOfAll, seizeAll, waitForAll } from '../tracee/many-threads.ts';
import { readMemory } from '../tracee/memory.ts';
import { readRegisters, register } from '../tracee/registers.ts';
import { interrupt, passOn, resume, waitForTrap } from '../tracee/stop.ts';
import type { BuiltTask } from './builder.ts';
import type { RestoreContext } from './context.ts';
import type { FinalProgram } from './final-program.ts';
import { planThreadConfinement } from './thread-parts.ts';

/** Seizes all threads but the leader, when they have done their part of the program. */
export function catchThreads(built: BuiltTask, final: FinalProgram, context: RestoreContext): void {
  const { task, host } = built;
  if (final.threads.length === 0) return;
  const assertThere = (tid: number, isThere: boolean) => {
    if (isThere) return;
    throw new CriuError({ object: `thread ${tid} of ${task.label}`, action: 'died while it was restored' });
  };
  const isStopped = (tid: number, status: number) => {
    const stop = passOn(tid, status);
    assertThere(tid, stop !== 'gone');
    return stop !== undefined;
  };
  const tids = final.threads.map(({ tid }) => tid);
  const options = PTRACE_O_EXITKILL | PTRACE_O_SUSPEND_SECCOMP;
  seizeAll(tids, (i, result) => assertThere(tids[i] ?? 0, result === 0), options);
  waitForAll(tids, (i, status) => isStopped(tids[i] ?? 0, status));
  const places = readRegisterOfAll(tids, 'r15');
  final.threads.forEach(({ tid, end }, i) => {
    const address = host.programAddress + end * OP_BYTES;
    for (let at = places[i]; at !== address; at = Number(register(readRegisters(tid), 'r15'))) {
      // It has not got to its end yet.
      resume(tid);
      syscall(SYS.sched_yield);
      interrupt(tid);
      assertThere(tid, waitForTrap(tid) !== 'gone');
    }
  });
  checkParts(built, final);
  for (const thread of task.threads.slice(1)) {
    if (thread.core.thread_core === undefined || !hasSeccomp(thread.core.thread_core)) continue;
    const program = new Program();
    planThreadConfinement(program, thread, context);
    program.stopBySignal(task.pid, thread.tid);
    new HostTask(thread.tid, host.home).run(program);
  }
}

/** What the agent could not check itself, for nobody traced the threads. */
function checkParts({ task, host }: BuiltTask, final: FinalProgram): void {
  const block = readMemory(task.pid, host.programAddress, final.program.byteLength);
  for (const { index, nr, because, result } of final.program.failures(block)) {
    const thread = final.threads.find(({ start, end }) => index >= start && index <= end);
    throw new CriuError({
      object: `thread ${thread?.tid ?? task.pid} of ${task.label}`,
      action: `cannot ${because} (system call ${nr}: ${errnoName(-result)})`,
    });
  }
}
