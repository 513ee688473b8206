/**
 * The stages that run in all tasks of a tree at once, after all tasks exist.
 *
 * groups    process groups: a leader was made with its task, the others join now
 * create    files are made by the first task that uses them
 * share     other tasks fetch what the first one made
 * final     everything else, in an order that final-program.ts explains
 *
 * A tree that shares nothing needs one program per task for all of it.
 */
import { Program } from '../agent/program.ts';
import { assert, CriuError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { TASK_STOPPED } from '../image/task-state.ts';
import { PROT_EXEC } from '../linux/abi/mman.ts';
import { SIGSTOP } from '../linux/abi/signal.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { __WALL } from '../linux/abi/wait.ts';
import { kill, tgkill, tryWait } from '../linux/syscalls/process.ts';
import { reenterCall, SCRATCH_BYTES } from '../resources/interrupted-call/reenter-call.ts';
import { isSpecial } from '../resources/mm/restore-vmas.ts';
import { signalsToSend } from '../resources/signals/signal-queues.ts';
import { writeProcAttributes } from '../resources/task/proc-attributes.ts';
import { writeSyscallDispatch } from '../resources/task/syscall-dispatch.ts';
import { detachAll } from '../tracee/many-threads.ts';
import { type Steps, together } from '../tracee/steps.ts';
import { resume, waitForJobStop } from '../tracee/stop.ts';
import type { BuiltTask } from './builder.ts';
import type { FileStage, RestoreContext } from './context.ts';
import { type FinalProgram, planFinal, planLate } from './final-program.ts';
import { findSyscall, lendFpu, unmapHome, writeThreadStates } from './finish.ts';
import { planDeath } from './fork-ops.ts';
import type { RestoreTask } from './restore-tree.ts';
import { endHelper, finishIn, runIn, withLabel } from './run-in.ts';
import { catchThreads } from './threads.ts';

/** A task that is complete but for its registers. */
export interface FinishedTask extends BuiltTask {
  readonly final: FinalProgram;
}

/** Runs all stages. Afterwards every thread is stopped, complete but for its registers. */
export function runStages(context: RestoreContext, tasks: readonly BuiltTask[]): FinishedTask[] {
  joinGroups(context, tasks);
  setForeground(context, tasks);
  // One task shares with nobody: its files are part of its final program.
  const separate = tasks.length === 1 ? [] : FILE_STAGES.filter((stage) => context.files.stages.includes(stage));
  for (const stage of separate) {
    runAll(tasks, ({ task }, program) => context.files.addOps(stage, task.pid, program));
  }
  runZombies(context);
  for (const { task } of tasks) if (task.threads.length > 1) lendFpu(task);
  const finals = new Map<BuiltTask, FinalProgram>();
  const addRest = separate.length > 0 ? undefined : startFiles(context, tasks);
  runAll(tasks, (built, program) => {
    addRest?.(program);
    finals.set(built, planFinal(program, built, context));
  });
  const finished = [...finals].map(([built, final]) => ({ ...built, final }));
  for (const task of finished) {
    catchThreads(task, task.final, context);
    context.cgroups.enterThreads(task.task);
  }
  const threaded = tasks.filter(({ task }) => task.threads.length > 1);
  runAll(threaded, ({ task }, program) => planLate(program, task, context));
  return finished;
}

/** Makes the files of the only task, as long as there are so many that it can begin before all are ready. Adds the rest. */
function startFiles({ files }: RestoreContext, [built]: readonly BuiltTask[]): (program: Program) => void {
  if (built === undefined) return () => {};
  const { task, host } = built;
  const parts = files.parts('create', task.pid);
  for (let i = 0; i < parts.length - 1; i++) {
    const program = new Program();
    parts[i]?.(program);
    program.stop();
    withLabel(task.label, () => host.start(program));
  }
  return (program) => {
    parts.at(-1)?.(program);
    files.addOps('share', task.pid, program);
  };
}

const FILE_STAGES: readonly FileStage[] = ['create', 'share'];

/** Everybody who was born into another process group joins its own; then helpers that led one die. */
function joinGroups(context: RestoreContext, tasks: readonly BuiltTask[]): void {
  const members = [
    ...tasks.map(({ task, host }) => ({ member: task, host })),
    ...context.zombies.map(({ zombie, host }) => ({ member: zombie, host })),
  ].filter(({ member }) => context.joins.has(member));
  for (const { member, host } of members) {
    const program = new Program();
    program.must(`join process group ${member.pgid}`, SYS.setpgid, 0, member.pgid);
    program.stop();
    runIn(host, member.label, program);
  }
  for (const { host, parent } of context.groupHelpers) {
    endHelper(host);
    const program = new Program();
    program.must(`reap helper ${host.pid}`, SYS.wait4, host.pid, 0, __WALL, 0);
    program.stop();
    parent.run(program);
  }
}

/** Every terminal gets its foreground group, which is its session leader's so far. */
function setForeground({ files, tree: { root } }: RestoreContext, tasks: readonly BuiltTask[]): void {
  for (const { task, host } of tasks) {
    const program = new Program();
    if (task.sid !== task.pid || !files.terminals.addForegroundGroup(program, task.pid, task.pgid)) continue;
    program.stop();
    runIn(host, task.label, program);
  }
  if (root.sid !== root.pid && root.pgid === root.pid) files.terminals.bringToForeground(root.pgid);
}

/** One program in each task, all at once. */
function runAll(tasks: readonly BuiltTask[], plan: (built: BuiltTask, program: Program) => void): void {
  for (const built of tasks) {
    const program = new Program();
    plan(built, program);
    if (!program.isStopped) program.stop();
    withLabel(built.task.label, () => built.host.start(program));
  }
  for (const { task, host } of tasks) finishIn(host, task.label);
}

/** Zombies die, before their parents get their final signal state. */
function runZombies(context: RestoreContext): void {
  for (const { zombie, host } of context.zombies) {
    const program = new Program();
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
export function letRun(context: RestoreContext, tasks: readonly FinishedTask[], leaveStopped: boolean): void {
  const lasts = tasks.map(complete);
  for (const step of together(lasts.map(({ steps }) => steps))) step();
  writeThreadStates(tasks.map(({ task }) => task));
  for (const { task } of tasks) setFromOutside(task, context.log);
  for (const { goOn } of lasts) goOn();
  context.cgroups.freeze();
  // What would stop or start a task comes last, when it is complete.
  for (const { task } of tasks) sendLast(task, leaveStopped);
  detachAll(tasks.flatMap(({ task }) => task.threads.map(({ tid }) => tid)));
  if (leaveStopped) waitForJobStop(tasks.map(({ task }) => task.pid));
}

/** Signals that can't wait in a queue. */
function sendLast(task: RestoreTask, leaveStopped: boolean): void {
  const { tc } = task.core;
  for (const signal of signalsToSend(tc?.signals_s)) kill(task.pid, signal);
  for (const { tid, core } of task.threads) {
    for (const signal of signalsToSend(core.thread_core?.signals_p)) tgkill(task.pid, tid, signal);
  }
  if (tc?.task_state === TASK_STOPPED) kill(task.pid, tc.stop_signo ?? SIGSTOP);
  else if (leaveStopped) kill(task.pid, SIGSTOP);
}

/** The last steps of a task, and what to do when its threads have their registers. */
function complete({ task, host, final: { vdso } }: FinishedTask): { steps: Steps; goOn: () => void } {
  const executable = task.special.filter(
    (vma) => !isSpecial(vma) && (vma.prot & PROT_EXEC) !== 0 && vma.prot !== PROT_EXEC,
  );
  const syscallAt = findSyscall(task.pid, vdso === undefined ? executable : [vdso], task.abi);
  if (syscallAt === undefined) {
    throw new CriuError({
      object: task.label,
      action: 'cannot be completed: there is no instruction for system calls in its vdso or its code',
      why: 'the agent is unmapped through it',
    });
  }
  const { address, bytes } = host.home;
  const scratchAt = host.scratchAddress;
  assert(scratchAt + task.threads.length * SCRATCH_BYTES <= address + bytes, 'the home has scratch for all threads');
  const calls: NonNullable<ReturnType<typeof reenterCall>>[] = [];
  task.threads.forEach(({ tid, core }, i) => {
    const call = reenterCall({ pid: task.pid, tid, core }, syscallAt, scratchAt + i * SCRATCH_BYTES);
    if (call !== undefined) calls.push(call);
  });
  const goOn = () => {
    for (const call of calls) call.goOn();
  };
  const steps = [...together(calls.map((call) => call.steps)), ...unmapHome(task.pid, syscallAt, host.home, task.abi)];
  return { steps, goOn };
}

/** What may not be set while an agent runs in the threads. */
function setFromOutside(task: RestoreTask, log: Logger): void {
  const { tc } = task.core;
  const attributes = { oomScoreAdj: tc?.oom_score_adj, coredumpFilter: tc?.coredump_filter_ext };
  for (const warning of writeProcAttributes(task.pid, attributes)) log.warn(`${task.label}: ${warning}`);
  for (const { tid, core } of task.threads) {
    const dispatch = core.thread_core?.syscall_dispatch_ext;
    if (dispatch !== undefined) writeSyscallDispatch(tid, dispatch);
  }
}
