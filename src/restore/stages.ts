/**
 * The stages that run in all tasks of a tree at once, after all tasks exist.
 *
 * groups    process groups: a leader was made with its task, the others join now
 * create    files are made by the first task that uses them
 * share     other tasks fetch what the first one made
 * final     everything else, in an order that finish-program.ts explains
 *
 * A tree that shares nothing needs one program per task for all of it.
 */
import { Program } from '../agent/program.ts';
import { CriuError } from '../base/errors.ts';
import { SIGSTOP } from '../linux/abi/signal.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { kill, tryWait } from '../linux/syscalls/process.ts';
import { detach, resume } from '../tracee/stop.ts';
import { type BuiltTask, planDeath } from './builder.ts';
import type { FileStage, RestoreContext } from './context.ts';
import { type FinalProgram, planFinal, planLate } from './final-program.ts';
import { findSyscall, unmapHome, writeThreadState } from './finish.ts';
import { TASK_STOPPED } from './load-tree.ts';
import { catchThreads } from './threads.ts';

/** Runs all stages. Afterwards every thread is stopped, complete but for its registers. */
export function runStages(context: RestoreContext, tasks: readonly BuiltTask[]): void {
  const before: FileStage[] =
    tasks.length === 1 ? [] : (['create', 'share'] as const).filter((s) => context.files.stages.includes(s));
  let pending = tasks.map((built) => beginProgram(built, context));
  for (const stage of before) {
    tasks.forEach(({ task }, i) => {
      context.files.addOps(stage, task.pid, programAt(pending, i));
    });
    runAll(tasks, pending);
    pending = tasks.map(() => new Program());
  }
  runZombies(context);
  const finals = tasks.map((built, i) => {
    const program = programAt(pending, i);
    if (before.length === 0) {
      for (const stage of ['create', 'share'] as const) context.files.addOps(stage, built.task.pid, program);
    }
    return planFinal(program, built, context);
  });
  runAll(
    tasks,
    finals.map(({ program }) => program),
  );
  tasks.forEach((built, i) => {
    const final = finals[i];
    if (final !== undefined) catchThreads(built, final, context);
  });
  const threaded = tasks.filter(({ task }) => task.threads.length > 1);
  runAll(
    threaded,
    threaded.map(({ task }) => {
      const program = new Program();
      planLate(program, task, context);
      return program;
    }),
  );
  context.finals.push(...finals);
}

function beginProgram({ task }: BuiltTask, context: RestoreContext): Program {
  const program = new Program();
  const joins = task.pgid !== task.pid && context.joinsGroup(task);
  if (joins) program.must(`join process group ${task.pgid}`, SYS.setpgid, 0, task.pgid);
  return program;
}

function programAt(programs: readonly Program[], index: number): Program {
  const program = programs[index];
  if (program === undefined) throw new RangeError(`there is a program for task number ${index}`);
  return program;
}

/** One program in each task, all at once. */
function runAll(tasks: readonly BuiltTask[], programs: readonly Program[]): void {
  tasks.forEach(({ host }, i) => {
    const program = programAt(programs, i);
    if (!program.isStopped) program.stop();
    host.start(program);
  });
  for (const { task, host } of tasks) {
    try {
      host.finish();
    } catch (error) {
      throw error instanceof CriuError ? new CriuError({ ...error.fields, object: task.label }) : error;
    }
  }
}

/** Zombies join their group or session and die, before their parents get their final signal state. */
function runZombies(context: RestoreContext): void {
  for (const { zombie, host } of context.zombies) {
    const program = new Program();
    if (zombie.sid === zombie.pid) program.must('become a session leader', SYS.setsid);
    else if (zombie.pgid === zombie.pid) program.must('lead a process group', SYS.setpgid, 0, 0);
    else if (context.joinsGroup(zombie)) program.must(`join group ${zombie.pgid}`, SYS.setpgid, 0, zombie.pgid);
    const comm = program.data(Buffer.from(`${zombie.core.tc?.comm ?? ''}\0`, 'latin1'));
    program.call(SYS.prctl, 15, comm);
    planDeath(program, zombie);
    host.start(program);
    for (;;) {
      const waited = tryWait(zombie.pid);
      if (waited === undefined || typeof waited === 'number' || (waited.status & 0xff) !== 0x7f) break;
      resume(zombie.pid, (waited.status >> 8) & 0xff);
    }
  }
}

/** Gives every thread its registers, removes the agent, and lets the tasks go. */
export function letRun(context: RestoreContext, tasks: readonly BuiltTask[], leaveStopped: boolean): void {
  tasks.forEach((built, i) => {
    const final = context.finals[i];
    if (final !== undefined) complete(built, final);
  });
  for (const { task } of tasks) {
    if (leaveStopped || task.core.tc?.task_state === TASK_STOPPED) kill(task.pid, SIGSTOP);
    for (const { tid } of task.threads) detach(tid);
  }
}

function complete({ task, host }: BuiltTask, { vdso }: FinalProgram): void {
  const syscallAt = findSyscall(task.pid, vdso);
  if (syscallAt === undefined) {
    throw new CriuError({
      object: task.label,
      action: 'cannot be completed: it has no vdso with a syscall instruction',
      why: 'the agent is unmapped through it',
    });
  }
  unmapHome(task.pid, syscallAt, host.home);
  for (const { tid, core } of task.threads) writeThreadState(tid, core);
}
