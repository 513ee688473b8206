/** The finished plan of what is open, as the restore uses it; plan-files.ts makes it. */
import { ABI_32, ABI_64, type Abi } from '../../../agent/abi.ts';
import type { Program, ProgramArg } from '../../../agent/program.ts';
import { assert } from '../../../base/errors.ts';
import { AT_FDCWD, O_CLOEXEC } from '../../../linux/abi/fcntl.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import type { FileStage, FilesPlan, TerminalsPlan } from '../../../restore/context.ts';
import type { RestoreContext } from '../file-kind.ts';
import { openMemfdForMapping } from '../memfd/memfd.ts';
import { memfdObjects } from '../memfd/memfd-objects.ts';
import { FILE_KINDS } from '../registry.ts';
import { openFlags } from '../regular-file/create-files.ts';
import { DeadProcesses } from '../regular-file/dead-processes.ts';
import type { NameHolders } from '../regular-file/name-holders.ts';
import type { Step } from '../step.ts';
import { planTerminals } from '../tty/session.ts';
import type { Table } from './description.ts';

const STAGES: readonly FileStage[] = ['create', 'share', 'finish'];

/** So many steps take a task a millisecond or more. */
const PART_STEPS = 1000;

/** The plan, and the controller's side of it. Dispose it after the restore, successful or not. */
export class PlannedFiles implements FilesPlan {
  readonly stages: readonly FileStage[];
  readonly terminals: TerminalsPlan;
  readonly #tables: ReadonlyMap<number, Table>;
  readonly #context: RestoreContext;
  readonly #holders: NameHolders;
  readonly #abi: Abi;
  readonly #deadProcesses = new DeadProcesses();

  constructor(tables: ReadonlyMap<number, Table>, context: RestoreContext, holders: NameHolders) {
    this.#tables = tables;
    this.#context = context;
    this.terminals = planTerminals(context);
    this.#holders = holders;
    this.#abi = context.tree.tasks.some(({ abi }) => abi.bits === 32) ? ABI_32 : ABI_64;
    this.stages = STAGES.filter((stage) => [...tables.values()].some(({ steps }) => steps[stage].length > 0));
  }

  /** Makes deleted files again, for tasks to open. To be called once, before any op is added to a program. */
  prepare(): void {
    this.#holders.prepare(this.#context);
    this.#deadProcesses.start(this.#context);
    for (const kind of FILE_KINDS) kind.prepare?.(this.#context);
  }

  /** Adds the steps of a stage; tasks that share another one's table get none. */
  addOps(stage: FileStage, pid: number, program: Program): void {
    this.#tables.get(pid)?.steps[stage].addTo(program, this.#abi);
  }

  /** The same in parts, for programs that run one after the other. */
  parts(stage: FileStage, pid: number): readonly ((program: Program) => void)[] {
    const steps = this.#tables.get(pid)?.steps[stage];
    if (steps === undefined) return [];
    const parts: ((program: Program) => void)[] = [];
    for (let start = 0; start < steps.length; ) {
      const first = start;
      const isLast = start + 2 * PART_STEPS > steps.length;
      const end = isLast ? steps.length : steps.cutAt(start + PART_STEPS);
      parts.push((program) => steps.addTo(program, this.#abi, first, end));
      start = end;
    }
    return parts;
  }

  /** The same as data, for tests and for people. */
  steps(stage: FileStage, pid: number): Step[] {
    return this.#tables.get(pid)?.steps[stage].toSteps() ?? [];
  }

  /** How much room (bytes) the steps of all stages of a task take in a program, at most. */
  programBytes(pid: number): number {
    const steps = this.#tables.get(pid)?.steps;
    return steps === undefined ? 0 : STAGES.reduce((sum, stage) => sum + steps[stage].programBytes, 0);
  }

  /** The RLIMIT_NOFILE that a task needs while it is restored; it may be higher than the one it gets in the end. */
  neededLimit(pid: number): number {
    return this.#tables.get(pid)?.plan.neededLimit ?? 0;
  }

  openForMapping(program: Program, _pid: number, fileId: number, fdflags: number): ProgramArg {
    const { reg, memfd } = this.#context.tree.files.get(fileId) ?? {};
    if (memfd !== undefined) return openMemfdForMapping(program, memfd, fdflags, this.#context);
    assert(reg !== undefined, `file ${fileId} is a regular file`);
    const path = this.#context.pathOf(fileId);
    const because = `open ${reg.name} for a mapping`;
    const text = typeof path === 'object' && 'path' in path ? path.path() : reg.name;
    return program.must(because, SYS.openat, AT_FDCWD, program.string(text), openFlags(fdflags) | O_CLOEXEC);
  }

  /** Seals memfds; nothing may be mapped any more. */
  seal(): void {
    memfdObjects(this.#context).seal();
  }

  /** When all tasks are complete and none of them runs yet: ends what only the restore needed. */
  settle(): void {
    this.#deadProcesses.end();
    for (const kind of FILE_KINDS) kind.settle?.(this.#context);
  }

  /** The last thing before the tasks run: what was said to others cannot be taken back. */
  resume(): void {
    for (const kind of FILE_KINDS) kind.resume?.(this.#context);
  }

  /** After a successful restore: removes the names that --link-remap made at the dump. */
  commit(): void {
    this.#holders.commit(this.#context);
    for (const kind of FILE_KINDS) kind.release?.(this.#context);
  }

  [Symbol.dispose](): void {
    this.#deadProcesses.end();
    for (const kind of FILE_KINDS) kind.release?.(this.#context);
    this.#holders[Symbol.dispose]();
  }
}
