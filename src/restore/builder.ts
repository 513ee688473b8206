/**
 * Builds the tasks of a tree: stubs become tasks, parents before children, memory before forks.
 *
 * The order for each task, and why:
 * 1. clear the address space, map what the images say     the agent and the parked vdso stay
 * 2. fill the memory                                      before the forks, so that children share it copy-on-write
 * 3. fork the children, and become a session or group leader in between: births.ts; first, if none are forked before
 * The tasks of a generation do these at the same time: a program is only started, and its end awaited when all others of
 * the generation have theirs. A fork copies page tables, which is most of the time that a tree with much memory takes.
 * After all tasks exist the later stages run in all of them at once: see stages.ts.
 */
import { Program, type Result } from '../agent/program.ts';
import { CriuError } from '../base/errors.ts';
import type { AioRingEntry } from '../image/gen/mm.ts';
import type { VmaEntry } from '../image/gen/vma.ts';
import { MADV_DONTNEED } from '../linux/abi/mman.ts';
import { PR_SET_CHILD_SUBREAPER } from '../linux/abi/prctl.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { __WALL } from '../linux/abi/wait.ts';
import { stopIfInterrupted } from '../linux/interrupts.ts';
import { readFile } from '../linux/syscalls/fs.ts';
import { checkVdso } from '../resources/mm/check-vdso.ts';
import { MappedFiles, planFilling } from '../resources/mm/fill-memory.ts';
import { type MemoryPlan, planMemory } from '../resources/mm/memory-plan.ts';
import { cut, type PageRun } from '../resources/mm/pages-image.ts';
import { copyToTasks, type TaskCopy } from '../resources/mm/remote-copy.ts';
import { restoreRing } from '../resources/mm/restore-aio.ts';
import { planMoveVdso, type VdsoPiece, vdsoPieces } from '../resources/mm/restore-vdso.ts';
import { planMappings, planUnmap } from '../resources/mm/restore-vmas.ts';
import { planAttachments } from '../resources/sysv/attach.ts';
import type { HostTask } from '../tracee/host.ts';
import { ForcedMemory, readMemory } from '../tracee/memory.ts';
import { exchangeStub } from '../tracee/stub.ts';
import type { Births } from './births.ts';
import type { RestoreContext } from './context.ts';
import { checkPid, planFork, planHelper } from './fork-ops.ts';
import type { RestoreMember, RestoreTask } from './restore-tree.ts';
import { endHelper, finishIn, named, runIn, withLabel } from './run-in.ts';

/** A task that is being built. */
export interface BuiltTask {
  readonly task: RestoreTask;
  readonly host: HostTask;
  /** The vdso group while it is parked, until its final place is free. */
  readonly parkedVdso: readonly VdsoPiece[];
  /** Mappings that still have PROT_WRITE for their content. */
  readonly writable: ReadonlySet<VmaEntry>;
}

/** A task whose address space is being made. */
interface Begun {
  readonly task: RestoreTask;
  readonly host: HostTask;
  readonly parkedVdso: readonly VdsoPiece[];
  readonly plan: MemoryPlan;
}

/** A task that forks its children, and what each op of its program returns when it is a pid. */
interface Forking {
  readonly built: BuiltTask;
  readonly births: Births;
  readonly forked: readonly (readonly [child: RestoreMember, result: Result])[];
  readonly helped: readonly (readonly [pid: number, result: Result])[];
}

export class TreeBuilder {
  readonly #context: RestoreContext;
  readonly #built: BuiltTask[] = [];
  readonly #files = new MappedFiles();
  readonly #pids: number[] = [];
  #bytesFilled = 0;
  #pagesCompared = 0;
  #pagesShared = 0;
  #pagesWritten = 0;

  constructor(context: RestoreContext) {
    this.#context = context;
  }

  /** Every process made so far, parents first. */
  get pids(): readonly number[] {
    return this.#pids;
  }

  /** Statistics of the memory, in pages. */
  get statistics() {
    return { compared: this.#pagesCompared, shared: this.#pagesShared, written: this.#pagesWritten };
  }

  /** Builds all tasks from the root's stub. */
  build(root: HostTask): readonly BuiltTask[] {
    this.#pids.push(root.pid);
    const program = new Program();
    program.must('close what the stub inherited', SYS.close_range, 0, 0xffff_ffff, 0);
    let begun = [this.#beginInStub(this.#context.tree.root, root, program)];
    const forking: Forking[] = [];
    try {
      while (begun.length > 0) {
        for (const built of this.#fill(begun)) {
          this.#built.push(built);
          const parent = this.#fork(built);
          if (parent !== undefined) forking.push(parent);
        }
        begun = [];
        for (let parent = forking.shift(); parent !== undefined; parent = forking.shift()) {
          begun.push(...this.#adoptChildren(parent));
        }
      }
    } catch (error) {
      // They may have children by now, whom nobody knows yet.
      for (const { built, forked, helped } of forking) this.#awaitForks(built.host, [...forked, ...helped]);
      throw error;
    }
    return this.#built;
  }

  /** The task's host is a stub: nothing of its memory is there, and the vdso is where the kernel put it. */
  #beginInStub(task: RestoreTask, host: HostTask, program: Program): Begun {
    const { parking, home } = this.#context;
    const vdso = vdsoPieces(readFile(`/proc/${host.pid}/maps`));
    if (task.abi.bits === 32) this.#checkVdso32(host, vdso);
    const parkedVdso = planMoveVdso(program, vdso, parking.start);
    planUnmap(program, [{ start: parking.start, end: home.address + home.bytes }], task.abi);
    return this.#begin(task, host, program, parkedVdso, undefined);
  }

  #isVdso32Checked = false;

  /** Only a 32-bit process has the vdso of such tasks, so here is the first chance to look at it. */
  #checkVdso32({ pid }: HostTask, pieces: readonly VdsoPiece[]): void {
    if (this.#isVdso32Checked) return;
    this.#isVdso32Checked = true;
    const code = pieces.find(({ name }) => name === '[vdso]');
    if (code === undefined) return;
    const tasks = this.#context.tree.tasks.filter(({ abi }) => abi.bits === 32);
    checkVdso(tasks, () => readMemory(pid, code.start, code.end - code.start));
  }

  [Symbol.dispose](): void {
    this.#files[Symbol.dispose]();
  }

  /** Starts to make the address space. */
  #begin(
    task: RestoreTask,
    host: HostTask,
    program: Program,
    parkedVdso: readonly VdsoPiece[],
    parent: BuiltTask | undefined,
  ): Begun {
    const plan = planMemory(
      memoryOf(task),
      parent && { ...memoryOf(parent.task), writable: parent.writable },
      (own, theirs) => this.#equal(own, theirs),
    );
    this.#planMemory(program, task, plan, parent);
    // Who has no children to fork before does it at once: each program of its own takes a tenth of a millisecond.
    if (this.#context.births.get(task.pid)?.early.length === 0) this.#planLeading(program, task);
    program.stop();
    host.start(program);
    return { task, host, parkedVdso, plan };
  }

  /** When the address spaces are there, they get their content. */
  #fill(begun: readonly Begun[]): BuiltTask[] {
    const { later, births } = this.#context;
    const copies: TaskCopy[] = [];
    const written = begun.map(({ task, host, plan }) => {
      // While the task makes its mappings.
      const write = later === undefined ? plan.write : later.choose(task, plan.write, births.get(task.pid));
      copies.push(...planFilling(task.pid, write, this.#files));
      finishIn(host, task.label);
      return write;
    });
    stopIfInterrupted();
    copyToTasks(copies, (bytes) => this.#tell(bytes));
    return begun.map(({ task, host, parkedVdso, plan }, i) => {
      this.#overwrite(task.pid, plan, written[i] ?? []);
      for (const ring of task.mm.aios) this.#restoreRing(task, host, ring);
      return { task, host, parkedVdso, writable: plan.writable };
    });
  }

  #tell(bytes: number): void {
    this.#bytesFilled += bytes;
    this.#context.onProgress?.(this.#bytesFilled);
  }

  #planMemory(program: Program, task: RestoreTask, plan: MemoryPlan, parent: BuiltTask | undefined): void {
    const { files, sharedMemory, segments, parking, home } = this.#context;
    if (parent !== undefined) {
      const keep = [...plan.inherited].map(({ start, end }) => ({ start, end }));
      planUnmap(program, mergeRanges([...keep, { start: parking.start, end: home.address + home.bytes }]), task.abi);
    }
    for (const { start, end } of plan.drop) {
      program.must('drop inherited pages', SYS.madvise, start, end - start, MADV_DONTNEED);
    }
    planMappings(
      program,
      plan.fresh,
      plan.writable,
      (p, id, flags) => files.openForMapping(p, task.pid, id, flags),
      (p, vma, prot) => sharedMemory.planMap(p, vma, prot),
    );
    const taken = [{ start: parking.start, end: home.address + home.bytes }];
    planAttachments(program, task, taken, segments.sizeOf, task.abi);
  }

  #restoreRing(task: RestoreTask, host: HostTask, ring: AioRingEntry): void {
    const { id, ring_len } = ring;
    const [run, ...others] = cut(task.runs, id, ring_len) ?? [];
    if (run === undefined || others.length > 0) {
      const action = `has a ring of asynchronous I/O at ${id.toString(16)}, but the images do not have its content`;
      throw new CriuError({ object: task.label, action });
    }
    withLabel(task.label, () => restoreRing(host, ring, this.#files.view(run), task.abi));
  }

  #equal(own: PageRun, theirs: PageRun): boolean {
    this.#pagesCompared++;
    return Buffer.compare(this.#files.view(own), this.#files.view(theirs)) === 0;
  }

  #overwrite(pid: number, plan: MemoryPlan, written: readonly PageRun[]): void {
    const count = (runs: readonly { bytes: number }[]) => runs.reduce((sum, { bytes }) => sum + bytes / 4096, 0);
    this.#pagesShared += plan.sharedPages;
    this.#pagesWritten += count(written) + count(plan.overwrite);
    if (plan.overwrite.length === 0) return;
    using memory = new ForcedMemory(pid);
    for (const run of plan.overwrite) memory.write(run.address, this.#files.view(run));
  }

  /** Starts to fork the children, in the order of births.ts. Undefined when there is nothing to do. */
  #fork(built: BuiltTask): Forking | undefined {
    const { task, host } = built;
    const births = this.#context.births.get(task.pid);
    if (births === undefined) return undefined;
    const { early, late, sessions, groups } = births;
    if (early.length + late.length + sessions.length + groups.length === 0) return undefined;
    const program = new Program();
    const bear = (child: RestoreMember) => [child, planFork(program, task, child)] as const;
    const forked = early.map(bear);
    if (early.length > 0) this.#planLeading(program, task);
    forked.push(...late.map(bear));
    if (sessions.length > 0) program.must('adopt orphans', SYS.prctl, PR_SET_CHILD_SUBREAPER, 1);
    const helpers = [...sessions.map(({ pid }) => pid), ...groups];
    const helped = helpers.map((pid) => [pid, planHelper(program, pid)] as const);
    program.stop();
    host.start(program);
    return { built, births, forked, helped };
  }

  /** A leader of a session or group becomes one. */
  #planLeading(program: Program, { pid, sid, pgid }: RestoreTask): void {
    if (sid === pid) {
      program.must('become a session leader', SYS.setsid);
      this.#context.files.terminals.addControl(program, pid);
    } else if (pgid === pid) program.must('lead a process group', SYS.setpgid, 0, 0);
  }

  /** When they are there, each starts to make its address space. */
  #adoptChildren({ built, births, forked, helped }: Forking): Begun[] {
    const { task, host } = built;
    const begun: Begun[] = [];
    const failure = this.#awaitForks(host, [...forked, ...helped]);
    if (failure !== undefined) throw named(failure, task.label);
    for (const [child, result] of forked) begun.push(...this.#adopt(child, host, result, built));
    for (const [pid, result] of helped) begun.push(...this.#startHelper(built, pid, host.result(result)));
    if (births.sessions.length > 0)
      this.#reap(
        host,
        task,
        births.sessions.map(({ pid }) => pid),
      );
    return begun;
  }

  /** Takes note of all children that a program has forked, even when it has failed: why is returned. */
  #awaitForks(host: HostTask, made: readonly (readonly [who: unknown, result: Result])[]): unknown {
    try {
      host.finish();
    } catch (error) {
      if (!host.isThere) return error;
      this.#notePids(host, made);
      return error;
    }
    this.#notePids(host, made);
    return undefined;
  }

  #notePids(host: HostTask, made: readonly (readonly [who: unknown, result: Result])[]): void {
    for (const [, result] of made) {
      const pid = host.result(result);
      if (pid > 0) this.#pids.push(pid);
    }
  }

  /** A helper does its work at once; a session helper is dead when this returns. The children of its session begin. */
  #startHelper(parent: BuiltTask, pid: number, made: number): Begun[] {
    const { task, host } = parent;
    checkPid(made, pid, `helper ${pid} of ${task.label}`);
    const helper = host.adopt(pid);
    const session = this.#context.births.get(task.pid)?.sessions.find((candidate) => candidate.pid === pid);
    const program = new Program();
    if (session === undefined) {
      program.must('lead a process group', SYS.setpgid, 0, 0);
      program.stop();
      runIn(helper, task.label, program);
      this.#context.groupHelpers.push({ host: helper, parent: host });
      return [];
    }
    program.must('become a session leader', SYS.setsid);
    const forked = session.members.map((child) => [child, planFork(program, task, child)] as const);
    program.stop();
    helper.start(program);
    const failure = this.#awaitForks(helper, forked);
    if (failure !== undefined) throw named(failure, task.label);
    const begun = forked.flatMap(([child, result]) => this.#adopt(child, helper, result, parent));
    endHelper(helper);
    return begun;
  }

  /** The task takes leave of its dead helpers. */
  #reap(host: HostTask, task: RestoreTask, pids: readonly number[]): void {
    const program = new Program();
    for (const pid of pids) program.must(`reap helper ${pid}`, SYS.wait4, pid, 0, __WALL, 0);
    program.must('adopt no more orphans', SYS.prctl, PR_SET_CHILD_SUBREAPER, 0);
    program.stop();
    runIn(host, task.label, program);
  }

  /** A task begins; a zombie is as it is to be. */
  #adopt(child: RestoreMember, host: HostTask, result: Result, parent: BuiltTask): Begun[] {
    checkPid(host.result(result), child.pid, child.label);
    const childHost = host.adopt(child.pid);
    if (child.kind === 'task') {
      this.#context.cgroups.enter(child);
      if (child.abi === parent.task.abi)
        return [this.#begin(child, childHost, new Program(), parent.parkedVdso, parent)];
      exchangeStub(childHost, child.abi);
      return [this.#beginInStub(child, childHost, new Program())];
    }
    const program = new Program();
    if (child.sid === child.pid) program.must('become a session leader', SYS.setsid);
    else if (child.pgid === child.pid) program.must('lead a process group', SYS.setpgid, 0, 0);
    program.stop();
    childHost.run(program);
    this.#context.zombies.push({ zombie: child, host: childHost });
    return [];
  }
}

const memoryOf = ({ mm, runs }: RestoreTask) => ({ vmas: mm.vmas, runs });

/** Adjacent ranges as one. */
function mergeRanges(ranges: readonly { start: number; end: number }[]): { start: number; end: number }[] {
  const merged: { start: number; end: number }[] = [];
  for (const range of [...ranges].sort((a, b) => a.start - b.start)) {
    const last = merged.at(-1);
    if (last !== undefined && last.end === range.start) last.end = range.end;
    else merged.push({ ...range });
  }
  return merged;
}
