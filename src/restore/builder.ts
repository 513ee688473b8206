/**
 * Builds the tasks of a tree: stubs become tasks, parents before children, memory before forks.
 *
 * The order for each task, and why:
 * 1. clear the address space, map what the images say     the agent and the parked vdso stay
 * 2. fill the memory                                      before the forks, so that children share it copy-on-write
 * 3. fork the children that keep the session the task was born in, then setsid, then fork the others
 * After all tasks exist the later stages run in all of them at once: see stages.ts.
 */
import { Program, type Result } from '../agent/program.ts';
import { assert, CriuError } from '../base/errors.ts';
import type { TaskKobjIdsEntry } from '../image/gen/core.ts';
import type { VmaEntry } from '../image/gen/vma.ts';
import { ERRNO } from '../linux/abi/errno.ts';
import { MADV_DONTNEED } from '../linux/abi/mman.ts';
import { CLONE_FILES, CLONE_FS, CLONE_PTRACE } from '../linux/abi/sched.ts';
import { SIGCHLD } from '../linux/abi/signal.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { fillMemory, MappedFile } from '../resources/mm/fill-memory.ts';
import { type MemoryPlan, planMemory, type TaskMemory } from '../resources/mm/memory-plan.ts';
import { pageRuns } from '../resources/mm/pages-image.ts';
import { planMoveVdso, type VdsoPiece } from '../resources/mm/restore-vdso.ts';
import { planMappings, planUnmap } from '../resources/mm/restore-vmas.ts';
import { CLONE_ARGS_BYTES, cloneArgs } from '../tracee/clone-agent.ts';
import type { HostTask } from '../tracee/host.ts';
import { ForcedMemory } from '../tracee/memory.ts';
import { pidTaken } from '../tracee/stub.ts';
import type { RestoreContext } from './context.ts';
import type { RestoreMember, RestoreTask, RestoreZombie } from './restore-tree.ts';

/** A task that is being built. */
export interface BuiltTask {
  readonly task: RestoreTask;
  readonly host: HostTask;
  /** Mappings that still have PROT_WRITE for their content. */
  readonly writable: ReadonlySet<VmaEntry>;
}

export class TreeBuilder {
  readonly #context: RestoreContext;
  readonly #built: BuiltTask[] = [];
  readonly #children = new Map<number, RestoreMember[]>();
  readonly #pages = new Map<number, MappedFile>();
  readonly #pids: number[] = [];
  #pagesCompared = 0;
  #pagesShared = 0;
  #pagesWritten = 0;

  constructor(context: RestoreContext) {
    this.#context = context;
    for (const member of context.tree.members) {
      const siblings = this.#children.get(member.ppid);
      if (siblings === undefined) this.#children.set(member.ppid, [member]);
      else siblings.push(member);
    }
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
  build(root: HostTask, vdso: readonly VdsoPiece[]): readonly BuiltTask[] {
    const parking = this.#context.parking;
    this.#pids.push(root.pid);
    const program = new Program();
    program.must('close what the stub inherited', SYS.close_range, 0, 0xffff_ffff, 0);
    planMoveVdso(program, vdso, parking.start);
    planUnmap(program, [{ start: parking.start, end: root.home.address + root.home.bytes }]);
    this.#buildTask(this.#context.tree.root, root, program, undefined);
    return this.#built;
  }

  [Symbol.dispose](): void {
    for (const file of this.#pages.values()) file[Symbol.dispose]();
  }

  #buildTask(
    task: RestoreTask,
    host: HostTask,
    program: Program,
    parent: { memory: TaskMemory; pages: MappedFile } | undefined,
  ): void {
    const pages = this.#pagesOf(task);
    const memory = { vmas: task.mm.vmas, runs: pageRuns(task.pagemap, `pagemap-${task.pid}.img`) };
    const plan = planMemory(memory, parent?.memory, (own, theirs) => this.#equal(pages, own, parent?.pages, theirs));
    this.#planMemory(program, task, plan, parent?.memory);
    program.stop();
    this.#run(host, task, program);
    fillMemory(task.pid, plan.write, pages);
    this.#overwrite(task.pid, plan, pages);
    this.#built.push({ task, host, writable: plan.writable });
    this.#forkChildren(task, host, { memory, pages });
  }

  #run(host: HostTask, task: RestoreTask, program: Program): void {
    try {
      host.run(program);
    } catch (error) {
      throw named(error, task.label);
    }
  }

  #planMemory(program: Program, task: RestoreTask, plan: MemoryPlan, parent: TaskMemory | undefined): void {
    const { files, sharedMemory, parking } = this.#context;
    if (parent !== undefined) {
      const keep = [...plan.inherited].map(({ start, end }) => ({ start, end }));
      planUnmap(
        program,
        mergeRanges([...keep, { start: parking.start, end: this.#context.home.address + this.#context.home.bytes }]),
      );
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
  }

  #pagesOf(task: RestoreTask): MappedFile {
    const id = task.pagemap.head.pages_id;
    let file = this.#pages.get(id);
    if (file === undefined) {
      file = new MappedFile(this.#context.images.imagePath('pages', id));
      this.#pages.set(id, file);
    }
    return file;
  }

  #equal(own: MappedFile, offset: number, parent: MappedFile | undefined, parentOffset: number): boolean {
    assert(parent !== undefined, 'inherited pages have a parent');
    this.#pagesCompared++;
    const equal = Buffer.compare(own.view(offset, 4096), parent.view(parentOffset, 4096)) === 0;
    if (equal) this.#pagesShared++;
    return equal;
  }

  #overwrite(pid: number, plan: MemoryPlan, pages: MappedFile): void {
    const count = (runs: readonly { bytes: number }[]) => runs.reduce((sum, { bytes }) => sum + bytes / 4096, 0);
    this.#pagesWritten += count(plan.write) + count(plan.overwrite);
    if (plan.overwrite.length === 0) return;
    using memory = new ForcedMemory(pid);
    for (const { address, bytes, offset } of plan.overwrite) memory.write(address, pages.view(offset, bytes));
  }

  /**
   * A child is born into its parent's session. So children with another session than the parent's own final one, who do
   * not lead a session themselves, are forked before the parent calls setsid.
   */
  #forkChildren(task: RestoreTask, host: HostTask, parent: { memory: TaskMemory; pages: MappedFile }): void {
    const children = this.#children.get(task.pid) ?? [];
    const leads = task.sid === task.pid;
    const early = leads ? children.filter((child) => child.sid !== task.pid && child.sid !== child.pid) : [];
    const late = children.filter((child) => !early.includes(child));
    if (children.length === 0 && !leads) return;
    const program = new Program();
    const bear = (child: RestoreMember) => [child, planFork(program, task, child)] as const;
    const forked = early.map(bear);
    if (leads) program.must('become a session leader', SYS.setsid);
    else if (task.pgid === task.pid) program.must('lead a process group', SYS.setpgid, 0, 0);
    forked.push(...late.map(bear));
    program.stop();
    this.#run(host, task, program);
    for (const [child, result] of forked) this.#adopt(child, host, result, parent);
  }

  #adopt(
    child: RestoreMember,
    host: HostTask,
    result: Result,
    parent: { memory: TaskMemory; pages: MappedFile },
  ): void {
    const pid = host.result(result);
    if (pid > 0) this.#pids.push(pid);
    if (pid === -ERRNO.EEXIST) throw pidTaken(child.pid);
    if (pid !== child.pid)
      throw new CriuError({ object: child.label, action: `cannot be created (clone3: errno ${-pid})` });
    const childHost = host.adopt(pid);
    if (child.kind === 'zombie') {
      this.#context.zombies.push({ zombie: child, host: childHost });
      return;
    }
    this.#buildTask(child, childHost, new Program(), parent);
  }
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
function named(error: unknown, label: string): unknown {
  return error instanceof CriuError ? new CriuError({ ...error.fields, object: label }) : error;
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
