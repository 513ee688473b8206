/**
 * Builds the tasks of a tree: stubs become tasks, parents before children, memory before forks.
 *
 * The order for each task, and why:
 * 1. clear the address space, map what the images say     the agent and the parked vdso stay
 * 2. fill the memory                                      before the forks, so that children share it copy-on-write
 * 3. fork the children, and become a session or group leader in between: births.ts
 * After all tasks exist the later stages run in all of them at once: see stages.ts.
 */
import { Program, type Result } from '../agent/program.ts';
import { CriuError } from '../base/errors.ts';
import type { TaskKobjIdsEntry } from '../image/gen/core.ts';
import type { AioRingEntry } from '../image/gen/mm.ts';
import type { VmaEntry } from '../image/gen/vma.ts';
import { ERRNO, errnoName } from '../linux/abi/errno.ts';
import { MADV_DONTNEED } from '../linux/abi/mman.ts';
import { PR_SET_CHILD_SUBREAPER } from '../linux/abi/prctl.ts';
import { CLONE_FILES, CLONE_FS, CLONE_PTRACE } from '../linux/abi/sched.ts';
import { SIGCHLD } from '../linux/abi/signal.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { __WALL } from '../linux/abi/wait.ts';
import { readFile } from '../linux/syscalls/fs.ts';
import { tryWait } from '../linux/syscalls/process.ts';
import { parseMaps } from '../proc/maps.ts';
import { checkVdso } from '../resources/mm/check-vdso.ts';
import { fillMemory, MappedFiles, planFilling } from '../resources/mm/fill-memory.ts';
import { type MemoryPlan, planMemory } from '../resources/mm/memory-plan.ts';
import { cut, type PageRun } from '../resources/mm/pages-image.ts';
import { restoreRing } from '../resources/mm/restore-aio.ts';
import { planMoveVdso, type VdsoPiece, vdsoPieces } from '../resources/mm/restore-vdso.ts';
import { planMappings, planUnmap } from '../resources/mm/restore-vmas.ts';
import { planAttachments } from '../resources/sysv/attach.ts';
import { CLONE_ARGS_BYTES, cloneArgs } from '../tracee/clone-agent.ts';
import type { HostTask } from '../tracee/host.ts';
import { ForcedMemory, readMemory } from '../tracee/memory.ts';
import { exchangeStub, pidTaken } from '../tracee/stub.ts';
import type { RestoreContext } from './context.ts';
import type { RestoreMember, RestoreTask, RestoreZombie } from './restore-tree.ts';

/** A task that is being built. */
export interface BuiltTask {
  readonly task: RestoreTask;
  readonly host: HostTask;
  /** The vdso group while it is parked, until its final place is free. */
  readonly parkedVdso: readonly VdsoPiece[];
  /** Mappings that still have PROT_WRITE for their content. */
  readonly writable: ReadonlySet<VmaEntry>;
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
    this.#buildInStub(this.#context.tree.root, root, program);
    return this.#built;
  }

  /** The task's host is a stub: nothing of its memory is there, and the vdso is where the kernel put it. */
  #buildInStub(task: RestoreTask, host: HostTask, program: Program): void {
    const { parking, home } = this.#context;
    const vdso = vdsoPieces(parseMaps(readFile(`/proc/${host.pid}/maps`)));
    if (task.abi.bits === 32) this.#checkVdso32(host, vdso);
    const parkedVdso = planMoveVdso(program, vdso, parking.start);
    planUnmap(program, [{ start: parking.start, end: home.address + home.bytes }], task.abi);
    this.#buildTask(task, host, program, parkedVdso, undefined);
  }

  #isVdso32Checked = false;

  /** Only a 32-bit process has the vdso of such tasks, so here is the first chance to look at it. */
  #checkVdso32({ pid }: HostTask, pieces: readonly VdsoPiece[]): void {
    if (this.#isVdso32Checked) return;
    this.#isVdso32Checked = true;
    const code = pieces.find(({ name }) => name === '[vdso]');
    if (code === undefined) return;
    const tasks = this.#context.tree.tasks.filter(({ abi }) => abi.bits === 32);
    checkVdso(tasks, readMemory(pid, code.start, code.end - code.start));
  }

  [Symbol.dispose](): void {
    this.#files[Symbol.dispose]();
  }

  #buildTask(
    task: RestoreTask,
    host: HostTask,
    program: Program,
    parkedVdso: readonly VdsoPiece[],
    parent: BuiltTask | undefined,
  ): void {
    const plan = planMemory(
      memoryOf(task),
      parent && { ...memoryOf(parent.task), writable: parent.writable },
      (own, theirs) => this.#equal(own, theirs),
    );
    this.#planMemory(program, task, plan, parent);
    program.stop();
    const { later, births } = this.#context;
    withLabel(task, () => host.start(program));
    // While the task makes its mappings.
    const write = later === undefined ? plan.write : later.choose(task, plan.write, births.get(task.pid));
    const filling = planFilling(write, this.#files);
    withLabel(task, () => host.finish());
    fillMemory(task.pid, filling, (bytes) => this.#tell(bytes));
    this.#overwrite(task.pid, plan, write);
    for (const ring of task.mm.aios) this.#restoreRing(task, host, ring);
    const built = { task, host, parkedVdso, writable: plan.writable };
    this.#built.push(built);
    this.#forkChildren(built);
  }

  #tell(bytes: number): void {
    this.#bytesFilled += bytes;
    this.#context.onProgress?.(this.#bytesFilled);
  }

  #run(host: HostTask, task: RestoreTask, program: Program): void {
    withLabel(task, () => host.run(program));
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
    planAttachments(program, task.mm.vmas, taken, segments.sizeOf, task.abi);
  }

  #restoreRing(task: RestoreTask, host: HostTask, ring: AioRingEntry): void {
    const { id, ring_len } = ring;
    const [run, ...others] = cut(task.runs, id, ring_len) ?? [];
    if (run === undefined || others.length > 0) {
      const action = `has a ring of asynchronous I/O at ${id.toString(16)}, but the images do not have its content`;
      throw new CriuError({ object: task.label, action });
    }
    withLabel(task, () => restoreRing(host, ring, this.#files.view(run), task.abi));
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

  /** Forks the children, in the order of births.ts. */
  #forkChildren(parent: BuiltTask): void {
    const { task, host } = parent;
    const births = this.#context.births.get(task.pid);
    const leadsSession = task.sid === task.pid;
    const leadsGroup = task.pgid === task.pid;
    if (births === undefined) return;
    const { early, late, sessions, groups } = births;
    if (early.length + late.length + sessions.length + groups.length === 0 && !leadsGroup) return;
    const program = new Program();
    const bear = (child: RestoreMember) => [child, planFork(program, task, child)] as const;
    const forked = early.map(bear);
    if (leadsSession) {
      program.must('become a session leader', SYS.setsid);
      this.#context.files.terminals.addControl(program, task.pid);
    } else if (leadsGroup) program.must('lead a process group', SYS.setpgid, 0, 0);
    forked.push(...late.map(bear));
    if (sessions.length > 0) program.must('adopt orphans', SYS.prctl, PR_SET_CHILD_SUBREAPER, 1);
    const helpers = [...sessions.map(({ pid }) => pid), ...groups];
    const helped = helpers.map((pid) => [pid, planHelper(program, pid)] as const);
    program.stop();
    this.#run(host, task, program);
    for (const [child, result] of forked) this.#adopt(child, host, result, parent);
    for (const [pid, result] of helped) this.#startHelper(parent, pid, host.result(result));
    if (sessions.length > 0)
      this.#reap(
        host,
        task,
        sessions.map(({ pid }) => pid),
      );
  }

  /** A helper does its work at once; a session helper is dead when this returns. */
  #startHelper(parent: BuiltTask, pid: number, made: number): void {
    const { task, host } = parent;
    this.#checkPid(made, pid, `helper ${pid} of ${task.label}`);
    const helper = host.adopt(pid);
    const session = this.#context.births.get(task.pid)?.sessions.find((candidate) => candidate.pid === pid);
    const program = new Program();
    if (session === undefined) {
      program.must('lead a process group', SYS.setpgid, 0, 0);
      program.stop();
      this.#run(helper, task, program);
      this.#context.groupHelpers.push({ host: helper, parent: host });
      return;
    }
    program.must('become a session leader', SYS.setsid);
    const forked = session.members.map((child) => [child, planFork(program, task, child)] as const);
    program.stop();
    this.#run(helper, task, program);
    for (const [child, result] of forked) this.#adopt(child, helper, result, parent);
    endHelper(helper);
  }

  /** The task takes leave of its dead helpers. */
  #reap(host: HostTask, task: RestoreTask, pids: readonly number[]): void {
    const program = new Program();
    for (const pid of pids) program.must(`reap helper ${pid}`, SYS.wait4, pid, 0, __WALL, 0);
    program.must('adopt no more orphans', SYS.prctl, PR_SET_CHILD_SUBREAPER, 0);
    program.stop();
    this.#run(host, task, program);
  }

  #adopt(child: RestoreMember, host: HostTask, result: Result, parent: BuiltTask): void {
    this.#checkPid(host.result(result), child.pid, child.label);
    const childHost = host.adopt(child.pid);
    if (child.kind === 'task') {
      this.#context.cgroups.enter(child);
      if (child.abi === parent.task.abi) {
        this.#buildTask(child, childHost, new Program(), parent.parkedVdso, parent);
        return;
      }
      exchangeStub(childHost, child.abi);
      this.#buildInStub(child, childHost, new Program());
      return;
    }
    const program = new Program();
    if (child.sid === child.pid) program.must('become a session leader', SYS.setsid);
    else if (child.pgid === child.pid) program.must('lead a process group', SYS.setpgid, 0, 0);
    program.stop();
    childHost.run(program);
    this.#context.zombies.push({ zombie: child, host: childHost });
  }

  #checkPid(made: number, wanted: number, label: string): void {
    if (made > 0) this.#pids.push(made);
    if (made === -ERRNO.EEXIST) throw pidTaken(wanted);
    if (made !== wanted) {
      const how = made < 0 ? errnoName(-made) : `pid ${made}`;
      throw new CriuError({ object: label, action: `cannot be created (clone3: ${how})` });
    }
  }
}

const memoryOf = ({ mm, runs }: RestoreTask) => ({ vmas: mm.vmas, runs });

/** Lets a helper die; its parent can reap it then. */
export function endHelper(helper: HostTask): void {
  const program = new Program();
  program.call(SYS.exit_group, 0);
  program.stop();
  helper.start(program);
  tryWait(helper.pid);
}

/** A clone op for a helper: its death makes no signal. */
function planHelper(program: Program, pid: number): Result {
  const setTid = program.data(new Uint8Array(Int32Array.of(pid).buffer));
  const args = program.words(...cloneArgs({ flags: CLONE_PTRACE, exitSignal: 0, setTidCount: 1 }));
  program.store64(program.at(args, 64), setTid);
  return program.fork(SYS.clone3, args, CLONE_ARGS_BYTES);
}

/** A clone op for a child. It stops before its first instruction: CLONE_PTRACE makes it our tracee. */
function planFork(program: Program, parent: RestoreTask, child: RestoreMember): Result {
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

/** The same error with the task's name instead of its number. */
/** Errors name the task as people know it. */
function withLabel({ label }: RestoreTask, work: () => void): void {
  try {
    work();
  } catch (error) {
    throw error instanceof CriuError ? new CriuError({ ...error.fields, object: label }) : error;
  }
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
