/**
 * Who forks whom, and when, so that every task gets its session and process group. Pure.
 *
 * A task is born into the session and group of its parent (man 2 setsid, setpgid) and can leave them only for its own
 * session, or for a group of its session. So children who keep the session their parent was born in are forked before
 * the parent calls setsid. Where the leader of a session or group is dead and gone, a helper takes its pid for a moment:
 * a session helper forks the orphans of its session and dies, which hands them to the task that is their parent now; a
 * group helper lives until the others have joined its group.
 */
import { CriuError, type CriuErrorFields, CriuErrors } from '../base/errors.ts';
import type { RestoreMember, RestoreTask, RestoreTree } from './restore-tree.ts';

/** A dead session leader who is needed once more, and whom it forks. */
export interface SessionHelper {
  readonly pid: number;
  readonly members: RestoreMember[];
}

/** What one task forks. */
export interface Births {
  /** Before it becomes a session or group leader itself. */
  readonly early: RestoreMember[];
  readonly late: RestoreMember[];
  readonly sessions: SessionHelper[];
  /** Pids of group helpers. */
  readonly groups: number[];
}

export interface BirthPlan {
  /** By pid of the task. */
  readonly births: ReadonlyMap<number, Births>;
  /** Who has to join a process group after birth. */
  readonly joins: ReadonlySet<RestoreMember>;
}

/** Session and group of the tree's surroundings (a shell job), which the root inherits from criu. */
interface Place {
  readonly session: number;
  readonly group: number;
}

/** Throws CriuError when the root was in a session of somebody else, and is not to be restored as a shell job. */
export function checkShellJob({ root }: RestoreTree, isShellJob: boolean): void {
  if (isShellJob || root.sid === root.pid) return;
  throw new CriuError({
    object: root.label,
    action: `cannot be restored: its session ${root.sid} is not part of the tree`,
    why: 'it was started from a shell',
    remedy: 'use --shell-job: it becomes part of the session of criu',
  });
}

/** Throws CriuErrors when a task can't be born where it was. */
export function planBirths(tree: RestoreTree): BirthPlan {
  return new Planner(tree).plan();
}

class Planner {
  readonly #tree: RestoreTree;
  readonly #children = new Map<number, RestoreMember[]>();
  readonly #pids: ReadonlySet<number>;
  readonly #births = new Map<number, Births>();
  readonly #joins = new Set<RestoreMember>();
  readonly #problems: CriuErrorFields[] = [];

  constructor(tree: RestoreTree) {
    this.#tree = tree;
    this.#pids = new Set(tree.members.map(({ pid }) => pid));
    for (const member of tree.members) {
      const siblings = this.#children.get(member.ppid);
      if (siblings === undefined) this.#children.set(member.ppid, [member]);
      else siblings.push(member);
    }
  }

  plan(): BirthPlan {
    const { root } = this.#tree;
    // Ids that nobody in the tree has are those of the surroundings: they become criu's.
    this.#visit(root, { session: root.sid, group: this.#pids.has(root.pgid) ? 0 : root.pgid });
    this.#addGroupHelpers();
    if (this.#problems.length > 0)
      throw new CriuErrors('the sessions of the tree cannot be made again', this.#problems);
    return { births: this.#births, joins: this.#joins };
  }

  #visit(member: RestoreMember, born: Place): void {
    if (member.pgid !== member.pid && member.sid !== member.pid && member.pgid !== born.group) this.#joins.add(member);
    if (member.kind === 'zombie') return;
    const births: Births = { early: [], late: [], sessions: [], groups: [] };
    this.#births.set(member.pid, births);
    const leadsSession = member.sid === member.pid;
    const group = leadsSession || member.pgid === member.pid ? member.pid : born.group;
    for (const child of this.#children.get(member.pid) ?? []) {
      if (child.sid === child.pid || child.sid === member.sid) {
        births.late.push(child);
        this.#visit(child, { session: member.sid, group });
      } else if (leadsSession && child.sid === born.session) {
        births.early.push(child);
        this.#visit(child, born);
      } else if (!this.#pids.has(child.sid)) {
        this.#addToSession(births, child);
      } else {
        this.#problems.push({
          object: child.label,
          action: `cannot be put into session ${child.sid}`,
          why: 'its leader lives, but is not its parent',
        });
      }
    }
  }

  #addToSession(births: Births, child: RestoreMember): void {
    let helper = births.sessions.find(({ pid }) => pid === child.sid);
    if (helper === undefined) {
      helper = { pid: child.sid, members: [] };
      births.sessions.push(helper);
    }
    helper.members.push(child);
    this.#visit(child, { session: child.sid, group: child.sid });
  }

  /** Groups whose leader is gone, but that somebody has to join. */
  #addGroupHelpers(): void {
    const made = new Set<number>();
    for (const joiner of this.#joins) {
      const { pgid } = joiner;
      if (this.#pids.has(pgid) || made.has(pgid) || this.#isInherited(pgid)) continue;
      const parent = this.#taskOfSession(joiner.sid);
      const births = parent === undefined ? undefined : this.#births.get(parent.pid);
      if (births === undefined) {
        this.#problems.push({ object: joiner.label, action: `cannot be put into process group ${pgid}` });
        continue;
      }
      made.add(pgid);
      births.groups.push(pgid);
    }
  }

  /** True when somebody is born into the group, so that it exists. */
  #isInherited(pgid: number): boolean {
    return this.#tree.members.some((member) => member.pgid === pgid && !this.#joins.has(member));
  }

  #taskOfSession(sid: number): RestoreTask | undefined {
    return this.#tree.tasks.find((task) => task.sid === sid);
  }
}
