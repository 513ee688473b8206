/**
 * Makes the cgroups of a tree again and puts its tasks into them.
 *
 * Order, and why:
 * 1. check      what the mode of --manage-cgroups forbids, before anything is made
 * 2. prepare    folders, and properties without which nobody can enter (properties.ts, isEarly)
 * 3. enter      each task before it gets memory and children, so that these belong to the right cgroup from the start;
 *               the root enters its cgroup namespace on the way
 * 4. threads    when they exist
 * 5. finish     limits: the restore itself must not hit them
 * 6. freeze     a tree that was frozen by its cgroup, when it has nothing to do any more
 *
 * criu writes everything itself, through a mount that nobody sees. A restore that fails removes the cgroups it made and
 * gives properties of others their old values back.
 */
import type { Program } from '../../agent/program.ts';
import { type CriuErrorFields, CriuErrors } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import type { CgroupEntry } from '../../image/gen/cgroup.ts';
import { CLONE_NEWCGROUP } from '../../linux/abi/sched.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import type { RestoreTask, RestoreTree } from '../../restore/restore-tree.ts';
import { CgroupFolders } from './cgroup-folders.ts';
import { type CgroupPlan, type NewRoot, type PlannedMember, planCgroups } from './cgroup-plan.ts';
import { isVersion2 } from './properties.ts';

/** What becomes of cgroups; 'soft' is what nobody asked for. */
export type CgroupMode = 'ignore' | 'none' | 'props' | 'soft' | 'full' | 'strict';

export interface CgroupRestoreOptions {
  readonly mode: CgroupMode;
  readonly newRoots: readonly NewRoot[];
  readonly yard: string | undefined;
}

export class RestoredCgroups {
  readonly #mode: CgroupMode;
  readonly #plan: CgroupPlan | undefined;
  readonly #folders: CgroupFolders;
  readonly #log: Logger;
  readonly #rootPid: number;
  /** The set that everybody is born into, and whether a namespace is wanted even where it hides nothing. */
  readonly #ownSet: number;
  readonly #wantsNamespace: boolean;
  /** By pid. */
  readonly #setNow = new Map<number, number>();

  /** Throws CriuErrors when the image contradicts itself, or the options forbid what it needs. */
  constructor(entry: CgroupEntry | undefined, tree: RestoreTree, options: CgroupRestoreOptions, log: Logger) {
    this.#mode = options.mode;
    this.#log = log;
    this.#rootPid = tree.root.pid;
    this.#folders = new CgroupFolders(options.mode, options.yard, log);
    this.#ownSet = tree.inventory.root_cg_set ?? 0;
    const { ids } = tree.root;
    this.#wantsNamespace = ids.cgroup_ns_id !== undefined && ids.cgroup_ns_id !== tree.inventory.root_ids?.cgroup_ns_id;
    if (options.mode === 'ignore') {
      if (this.#wantsNamespace) log.warn('the cgroup namespace is not restored, because of --manage-cgroups=ignore');
      return;
    }
    if (entry === undefined || entry.sets.length === 0) return;
    const plan = planCgroups(entry, options.newRoots);
    const problems = [...plan.problems, ...missingSets(tree, plan, this.#ownSet)];
    if (problems.length > 0) throw new CriuErrors('the cgroups in the images are broken', problems);
    this.#plan = plan;
  }

  /** Opens the hierarchies and looks. Throws CriuErrors with everything that the mode forbids. */
  check(): void {
    if (this.#plan === undefined) return;
    const problems = this.#plan.hierarchies.flatMap((hierarchy) => this.#folders.check(hierarchy));
    for (const members of this.#plan.sets.values()) problems.push(...this.#folders.checkMembers(members));
    if (problems.length > 0) throw new CriuErrors('the cgroups of the tree cannot be restored', unique(problems));
  }

  prepare(): void {
    if (this.#plan === undefined) return;
    this.#log.info(`Preparing cgroups yard (cgroups restore mode ${this.#mode})`);
    for (const hierarchy of this.#plan.hierarchies) this.#folders.make(hierarchy);
    for (const members of this.#plan.sets.values()) this.#folders.makeMembers(members);
  }

  /**
   * Puts a task that has no memory and no children yet into its cgroups. `run` executes a program in the root, which
   * enters the namespace for all.
   */
  enter(task: RestoreTask, run?: (plan: (program: Program) => void) => void): void {
    if (this.#mode === 'ignore') return;
    const inherited = task.pid === this.#rootPid ? this.#ownSet : (this.#setNow.get(task.ppid) ?? this.#ownSet);
    const wanted = setOf(task) || inherited;
    this.#setNow.set(task.pid, wanted);
    const members = wanted === inherited ? [] : this.#members(wanted);
    if (task.pid === this.#rootPid && this.#enterNamespace(task, members)) {
      run?.((program) => program.must('enter a cgroup namespace', SYS.unshare, CLONE_NEWCGROUP));
    }
    for (const { hierarchy, path } of members) {
      this.#folders.move(task.pid, hierarchy.controllers, path, 'cgroup.procs', task.label);
    }
  }

  /** Threads that are in other cgroups than their task's leader. */
  enterThreads(task: RestoreTask): void {
    const own = this.#setNow.get(task.pid);
    if (own === undefined) return;
    const ownPaths = new Map(this.#members(own).map(({ hierarchy, path }) => [hierarchy, path]));
    for (const { tid, core } of task.threads.slice(1)) {
      const set: number = core.thread_core?.cg_set ?? own;
      if (set === own || set === 0) continue;
      for (const { hierarchy, path } of this.#members(set)) {
        if (ownPaths.get(hierarchy) === path || !hierarchy.isThreaded) continue;
        const file = isVersion2(hierarchy.controllers) ? 'cgroup.threads' : 'tasks';
        this.#folders.move(tid, hierarchy.controllers, path, file, `thread ${tid} of ${task.label}`);
      }
    }
  }

  /** Limits. */
  finish(): void {
    this.#folders.setLate();
  }

  /** When nothing runs inside of the tasks any more. What fails here is only told. */
  freeze(): void {
    this.#folders.freeze();
  }

  /** The tree is complete: its cgroups stay. */
  commit(): void {
    this.#folders.commit();
  }

  /** After a failure, when no process of the tree is left. */
  [Symbol.dispose](): void {
    this.#folders[Symbol.dispose]();
  }

  #members(set: number): readonly PlannedMember[] {
    return this.#plan?.sets.get(set) ?? [];
  }

  /** The root of a cgroup namespace is where its first member is when it is made (man 7 cgroup_namespaces). */
  #enterNamespace(task: RestoreTask, members: readonly PlannedMember[]): boolean {
    let isNeeded = this.#wantsNamespace;
    for (const { hierarchy, namespaceRoot } of members) {
      if (namespaceRoot === undefined) continue;
      isNeeded = true;
      this.#folders.move(task.pid, hierarchy.controllers, namespaceRoot, 'cgroup.procs', task.label);
    }
    return isNeeded;
  }
}

/** The set of a task's leader; 0 when the image has none. */
const setOf = ({ core }: RestoreTask): number => core.thread_core?.cg_set ?? core.tc?.cg_set ?? 0;

/** Every set that somebody is in must be there, but for the one that is inherited from criu. */
function missingSets({ root, tasks }: RestoreTree, { sets }: CgroupPlan, ownSet: number): CriuErrorFields[] {
  const mayInherit = setOf(root) === ownSet || setOf(root) === 0;
  const problems: CriuErrorFields[] = [];
  for (const { label, threads } of tasks) {
    for (const { tid, core } of threads) {
      const set = core.thread_core?.cg_set ?? core.tc?.cg_set ?? 0;
      if (set === 0 || sets.has(set) || (set === ownSet && mayInherit)) continue;
      problems.push({ object: `thread ${tid} of ${label}`, action: `is in cgroup set ${set}, which cgroup.img lacks` });
    }
  }
  return problems;
}

function unique(problems: readonly CriuErrorFields[]): CriuErrorFields[] {
  const seen = new Set<string>();
  return problems.filter(({ object = '', action }) => {
    const key = `${object}\0${action}`;
    const isNew = !seen.has(key);
    seen.add(key);
    return isNew;
  });
}
