/**
 * Plans how the descriptors of a tree are restored.
 *
 * Each open file description has a home: the first table (in tree order) that uses it, or, for descriptions made
 * together (both ends of a pipe), the first that uses any of them; or the one of the task that made it, where that can be
 * seen (choose-home.ts). The task that owns the table makes it there. Other
 * tables fetch it with pidfd_getfd(2), once all homes are complete. What only others use is parked at home meanwhile.
 */
import { assert, type CriuErrorFields, CriuErrors } from '../../../base/errors.ts';
import { type FdinfoEntry, FdTypes, type FileEntry } from '../../../image/gen/fdinfo.ts';
import type { FileLockEntry } from '../../../image/gen/file-lock.ts';
import type { ImageDir } from '../../../image/image-dir.ts';
import { FD_CLOEXEC, O_CLOEXEC } from '../../../linux/abi/fcntl.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import type { RestoreTree } from '../../../restore/restore-tree.ts';
import type { FileKind, RestoreContext, RestoreFilesOptions, RestoreHome, RestoreSystem } from '../file-kind.ts';
import { checkLock, isLease, planLease, planLock } from '../file-lock/file-lock.ts';
import { FILE_KINDS } from '../registry.ts';
import { inheritedFd } from '../regular-file/check.ts';
import { NameHolders } from '../regular-file/name-holders.ts';
import { remapOf } from '../regular-file/remap-restore.ts';
import type { LaterNumber, StepArg } from '../step.ts';
import { madeElsewhere, makerOf } from './choose-home.ts';
import { type Description, slotsIn, type Table } from './description.ts';
import { FdTablePlan, type Placement, type Slot } from './fd-table-plan.ts';
import { planOwner } from './owner.ts';
import { PlannedFiles } from './planned-files.ts';

export interface PlanFilesInput {
  readonly tree: RestoreTree;
  readonly images: ImageDir;
  readonly options: RestoreFilesOptions;
  /** The pid of criu as the tasks see it. */
  readonly controllerPid: number;
  readonly system: RestoreSystem;
  /** Told what will be different after the restore. */
  readonly warn: (text: string) => void;
}

/**
 * Plans everything that is open. Throws CriuErrors with all that speaks against it: files that are missing or differ,
 * kinds that cannot be restored, damaged images. The kernel is asked through `system` only.
 */
export function planFiles(input: PlanFilesInput): PlannedFiles {
  return new FilesPlanner(input).plan();
}

class FilesPlanner {
  readonly #input: PlanFilesInput;
  readonly #problems: CriuErrorFields[] = [];
  readonly #byPid = new Map<number, Table>();
  /** The same, with the tasks that only share a table. */
  readonly #sharers = new Map<number, Table>();
  readonly #locks = new Map<Table, FileLockEntry[]>();
  readonly #tables: Table[] = [];
  readonly #descriptions = new Map<number, Description>();
  readonly #kinds = new Map(FILE_KINDS.map((kind) => [kind.type as number, kind]));
  readonly #holders: NameHolders;
  readonly #context: RestoreContext;

  constructor(input: PlanFilesInput) {
    this.#input = input;
    this.#holders = new NameHolders(input.controllerPid);
    this.#context = this.#makeContext();
  }

  plan(): PlannedFiles {
    this.#checkEntries();
    this.#collect();
    this.#collectLocks();
    if (this.#problems.length > 0) throw new CriuErrors('open files cannot be restored', this.#problems);
    this.#chooseHomes();
    for (const table of this.#tables) this.#planCreate(table);
    for (const table of this.#tables) this.#planShare(table);
    for (const table of this.#tables) this.#planFinish(table);
    return new PlannedFiles(this.#byPid, this.#context, this.#holders);
  }

  #makeContext(): RestoreContext {
    const { tree, images, options, system, controllerPid, warn } = this.#input;
    const states = new Map<string, unknown>();
    const inherited = new Map(options.inheritFds.map(({ fd, key }) => [key, fd]));
    return {
      tree,
      images,
      options,
      system,
      controllerPid,
      warn,
      inherited: (key) => inherited.get(key),
      pathOf: (fileId) => this.#pathOf(fileId),
      holderOf: (fileId) => ({ later: () => this.#holders.fdOf(fileId) }),
      state<T>(key: string, make: () => T): T {
        const known = states.get(key);
        if (known !== undefined) return known as T;
        const value = make();
        states.set(key, value);
        return value;
      },
    };
  }

  #pathOf(fileId: number): StepArg {
    const reg = this.#input.tree.files.get(fileId)?.reg;
    assert(reg !== undefined, `file ${fileId} is a regular file`);
    const inherited = reg.ext === true ? inheritedFd(reg, this.#context) : undefined;
    if (inherited !== undefined) return { text: `/proc/${this.#input.controllerPid}/fd/${inherited}` };
    const { kind } = remapOf(fileId, this.#context);
    if (kind === 'none' || kind === 'process') return { text: reg.name };
    return { path: () => this.#holders.pathOf(fileId) };
  }

  /** Each file on its own. */
  #checkEntries(): void {
    const files = this.#input.tree.files.values();
    const paths = new Set<number>();
    for (const entry of this.#input.tree.files.values()) {
      const id = this.#kinds.get(entry.type)?.pathEntry?.(entry);
      if (id !== undefined) paths.add(id);
    }
    for (const entry of files) {
      if (paths.has(entry.id)) continue;
      const problems = this.#kinds.get(entry.type)?.check?.(entry, this.#context);
      if (problems !== undefined && problems.length > 0) this.#problems.push(...problems);
    }
  }

  /** Who uses what. */
  #collect(): void {
    const { tree } = this.#input;
    const byFilesId = new Map<number, Table>();
    for (const task of tree.tasks) {
      const known = byFilesId.get(task.ids.files_id);
      if (known !== undefined) {
        this.#sharers.set(task.pid, known);
        continue;
      }
      const highest = task.fds.reduce((max, { fd }) => Math.max(max, fd), -1);
      const table: Table = {
        order: this.#tables.length,
        owner: task,
        plan: new FdTablePlan(highest),
        steps: { create: [], share: [], finish: [] },
      };
      byFilesId.set(task.ids.files_id, table);
      this.#tables.push(table);
      this.#byPid.set(task.pid, table);
      this.#sharers.set(task.pid, table);
      const seen = new Set<number>();
      for (const fdinfo of ascending(task.fds)) this.#addDescriptor(table, fdinfo, seen);
    }
    for (const description of this.#descriptions.values()) this.#addNeeded(description);
  }

  /** Files in flight, which perhaps no descriptor refers to. */
  #addNeeded({ kind, entry, table }: Description): void {
    if (kind.needs === undefined && kind.needsAtLast === undefined) return;
    const ids = [...(kind.needs?.(entry, this.#context) ?? []), ...(kind.needsAtLast?.(entry) ?? [])];
    for (const id of ids) {
      if (this.#descriptions.has(id)) continue;
      const needed = this.#input.tree.files.get(id);
      const neededKind = needed === undefined ? undefined : this.#kinds.get(needed.type);
      if (needed === undefined || neededKind === undefined) {
        const why =
          needed === undefined
            ? 'it is not in files.img'
            : `files of kind ${kindName(needed.type)} are not supported yet`;
        this.#problems.push({ object: `file ${id}, which is in flight`, action: 'cannot be restored', why });
        continue;
      }
      this.#addDescription(needed, neededKind, table, []);
    }
  }

  #addDescription(entry: FileEntry, kind: FileKind, table: Table, slots: Slot[]): void {
    const description = { entry, kind, table, slots, others: undefined, home: table, homeFd: -1, isCloexec: false };
    this.#descriptions.set(entry.id, description);
  }

  #collectLocks(): void {
    for (const entry of this.#input.images.tryRead('filelocks') ?? []) {
      const table = this.#sharers.get(entry.pid);
      const problem = checkLock(entry, table?.owner.fds.some(({ fd }) => fd === entry.fd) ?? false);
      if (problem !== undefined) this.#problems.push(problem);
      if (table === undefined) continue;
      const locks = this.#locks.get(table);
      if (locks === undefined) this.#locks.set(table, [entry]);
      else locks.push(entry);
    }
  }

  #addDescriptor(table: Table, { id, fd, flags, type }: FdinfoEntry, seen: Set<number>): void {
    const entry = this.#input.tree.files.get(id);
    const kind = this.#kinds.get(type);
    if (entry === undefined || entry.type !== type || seen.has(fd) || fd > FD_MAX) {
      const why = seen.has(fd) ? 'it is twice in the image' : `file ${id} of that kind is not in files.img`;
      const object = `fd ${fd} of ${table.owner.label}`;
      this.#problems.push({ object, action: 'cannot be restored', why: fd > FD_MAX ? 'there is no such number' : why });
      return;
    }
    if (kind === undefined) {
      const object = `fd ${fd} of ${table.owner.label}`;
      const why = `files of kind ${kindName(type)} are not supported yet`;
      this.#problems.push({ object, action: 'cannot be restored', why });
      return;
    }
    seen.add(fd);
    const slot = { fd, isCloexec: (flags & FD_CLOEXEC) !== 0 };
    const description = this.#descriptions.get(id);
    if (description === undefined) {
      this.#addDescription(entry, kind, table, [slot]);
    } else addSlot(description, table, slot);
  }

  /** Groups by home, each with its members. */
  readonly #groups = new Map<Table, Description[][]>();

  #chooseHomes(): void {
    const groups = this.#formGroups();
    for (const group of groups) setHome(group, makerOf(group, this.#byPid) ?? firstOf(group.map(({ table }) => table)));
    this.#joinNeeded(groups);
    for (const group of groups) if (group[0] !== undefined) this.#addGroup(group[0].home, group);
    for (const group of groups) {
      const text = madeElsewhere(group, this.#sharers);
      if (text !== undefined) this.#input.warn(text);
    }
  }

  #formGroups(): Description[][] {
    const groups: Description[][] = [];
    const byKey = new Map<string, Description[]>();
    for (const description of this.#descriptions.values()) {
      const { kind, entry } = description;
      const key = kind.groupKey === undefined ? undefined : `${entry.type} ${kind.groupKey(entry, this.#context)}`;
      const known = key === undefined ? undefined : byKey.get(key);
      if (known !== undefined) {
        known.push(description);
        continue;
      }
      const group = [description];
      groups.push(group);
      if (key !== undefined) byKey.set(key, group);
    }
    return groups;
  }

  /** For each group of which files in flight are known: the groups of these. */
  readonly #needed = new Map<Description[], Description[][]>();

  /** What is sent to somebody is made where that one is, and so is what is watched. */
  #joinNeeded(groups: readonly Description[][]): void {
    const context = this.#context;
    const idsOf = (group: Description[], when: 'needs' | 'needsAtLast') =>
      group.flatMap(({ kind, entry }) => kind[when]?.(entry, context) ?? []);
    const needing = groups
      .filter(([first]) => first?.kind.needs !== undefined || first?.kind.needsAtLast !== undefined)
      .map((group) => ({ group, before: idsOf(group, 'needs'), atLast: idsOf(group, 'needsAtLast') }))
      .filter(({ before, atLast }) => before.length + atLast.length > 0);
    if (needing.length === 0) return;
    const byId = new Map(groups.flatMap((group) => group.map(({ entry }) => [entry.id, group] as const)));
    const joined = needing.map(({ group, before, atLast }) => {
      const others = (ids: number[]) => {
        const found = new Set<Description[]>();
        for (const id of ids) found.add(byId.get(id) ?? group);
        found.delete(group);
        return [...found];
      };
      this.#needed.set(group, others(before));
      return [group, ...others([...before, ...atLast])];
    });
    for (let isSettled = false; !isSettled; ) {
      isSettled = true;
      for (const all of joined) {
        const home = firstOf(all.flatMap(([first]) => first?.home ?? []));
        for (const member of all) {
          if (member[0]?.home === home) continue;
          setHome(member, home);
          isSettled = false;
        }
      }
    }
  }

  /** The same groups, each behind those it needs. */
  #neededFirst(groups: readonly Description[][]): Iterable<Description[]> {
    if (this.#needed.size === 0) return groups;
    const ordered = new Set<Description[]>();
    const visited = new Set<Description[]>();
    const visit = (group: Description[]) => {
      if (visited.has(group)) return;
      visited.add(group);
      for (const other of this.#needed.get(group) ?? []) visit(other);
      ordered.add(group);
    };
    for (const group of groups) visit(group);
    return ordered;
  }

  #addGroup(home: Table, group: Description[]): void {
    const list = this.#groups.get(home);
    if (list === undefined) this.#groups.set(home, [group]);
    else list.push(group);
  }

  #planCreate(table: Table): void {
    const { plan } = table;
    const groups = this.#groups.get(table) ?? [];
    groups.sort((a, b) => lowestSlot(a, table) - lowestSlot(b, table));
    const pulls = new PeerDescriptors(plan, this.#input.controllerPid, 'criu itself');
    const home = this.#home(table, pulls);
    for (const group of this.#neededFirst(groups)) this.#createGroup(group, table, home);
    pulls.close();
    table.steps.create = plan.take();
  }

  #createGroup(group: readonly Description[], table: Table, home: RestoreHome): void {
    for (const description of group) description.homeFd = -1;
    group[0]?.kind.create(
      group.map(({ entry }) => entry),
      home,
    );
    const placements: Placement[] = group.map((description) => {
      assert(description.homeFd >= 0, `file ${description.entry.id} was made`);
      return { from: description.homeFd, isCloexec: description.isCloexec, slots: slotsIn(description, table) };
    });
    const fds = table.plan.place(placements);
    group.forEach((description, i) => {
      description.homeFd = fds[i] ?? -1;
    });
  }

  #home(table: Table, pulls: PeerDescriptors): RestoreHome {
    const describe = (fileId: number): Description => {
      const description = this.#descriptions.get(fileId);
      assert(description !== undefined, `a descriptor refers to file ${fileId}`);
      return description;
    };
    return {
      task: table.owner,
      table: table.plan,
      context: this.#context,
      pull: (fd) => pulls.fetch(fd),
      fdOf: (fileId) => describe(fileId).homeFd,
      // The flag of the lowest descriptor, which it mostly gets at once; a parked one has it.
      cloexec: (fileId) => ((slotsIn(describe(fileId), table)[0]?.isCloexec ?? true) ? O_CLOEXEC : 0),
      made(fileId, fd, isCloexec) {
        const description = describe(fileId);
        description.homeFd = fd;
        description.isCloexec = isCloexec;
      },
    };
  }

  /** Fetches what was made elsewhere, in ascending order of the numbers wanted. */
  #planShare(table: Table): void {
    const foreign = [...this.#descriptions.values()].filter(
      (description) => description.home !== table && slotsIn(description, table).length > 0,
    );
    foreign.sort((a, b) => lowestSlot([a], table) - lowestSlot([b], table));
    const peers = new Map<Table, PeerDescriptors>();
    for (const description of foreign) {
      const { home, homeFd } = description;
      const peer = peers.get(home) ?? new PeerDescriptors(table.plan, home.owner.pid, home.owner.label);
      peers.set(home, peer);
      const from = peer.fetch(homeFd);
      table.plan.place([{ from, isCloexec: true, slots: slotsIn(description, table) }]);
    }
    for (const peer of peers.values()) peer.close();
    table.steps.share = table.plan.take();
  }

  #planFinish(table: Table): void {
    const { plan } = table;
    const pulls = new PeerDescriptors(plan, this.#input.controllerPid, 'criu itself');
    const home = this.#home(table, pulls);
    const descriptions = (this.#groups.get(table) ?? []).flat();
    for (const description of descriptions) {
      const { entry, kind, homeFd } = description;
      kind.finish?.(entry, homeFd, home);
      this.#planLeases(table, slotsIn(description, table), entry);
      const fown = kind.fown(entry, this.#input.tree);
      if (fown !== undefined) planOwner(plan, homeFd, fown, kind.statusFlags?.(entry) ?? entry.reg?.flags ?? 0);
    }
    // What is parked may be needed by any of them.
    for (const { homeFd } of descriptions) if (homeFd >= plan.parkingStart) plan.close(homeFd);
    pulls.close();
    for (const lock of this.#locks.get(table) ?? []) if (!isLease(lock)) planLock(plan, lock);
    table.steps.finish = plan.take();
  }

  /** Before the owner, who would get a signal when a lease is broken. */
  #planLeases(table: Table, slots: readonly Slot[], entry: FileEntry): void {
    for (const lock of this.#locks.get(table) ?? []) {
      if (!isLease(lock) || entry.reg === undefined || !slots.some(({ fd }) => fd === lock.fd)) continue;
      planLease(table.plan, lock, entry.reg.flags, this.#context.pathOf(entry.id));
    }
  }
}

const FD_MAX = 0x7fff_fffe;

function firstOf(tables: readonly Table[]): Table {
  return tables.reduce((first, table) => (table.order < first.order ? table : first));
}

function setHome(group: readonly Description[], home: Table): void {
  for (const description of group) description.home = home;
}

/** Tables are dumped in ascending order, but nobody promised it. */
function ascending(fds: readonly FdinfoEntry[]): readonly FdinfoEntry[] {
  const isSorted = fds.every(({ fd }, i) => i === 0 || fd >= (fds[i - 1]?.fd ?? 0));
  return isSorted ? fds : [...fds].sort((a, b) => a.fd - b.fd);
}

/** Slots ascend. */
function lowestSlot(group: readonly Description[], table: Table): number {
  let lowest = Number.POSITIVE_INFINITY;
  for (const description of group) lowest = Math.min(lowest, slotsIn(description, table)[0]?.fd ?? lowest);
  return lowest;
}

function addSlot(description: Description, table: Table, slot: Slot): void {
  if (table === description.table) {
    description.slots.push(slot);
    return;
  }
  description.others ??= new Map();
  const slots = description.others.get(table);
  if (slots === undefined) description.others.set(table, [slot]);
  else slots.push(slot);
}

/** Fetching descriptors of another process. Its pidfd is opened at the first one and parked. */
class PeerDescriptors {
  readonly #plan: FdTablePlan;
  readonly #pid: number;
  readonly #label: string;
  #pidfd: number | undefined;

  constructor(plan: FdTablePlan, pid: number, label: string) {
    this.#plan = plan;
    this.#pid = pid;
    this.#label = label;
  }

  fetch(fd: number | LaterNumber): number {
    const plan = this.#plan;
    this.#pidfd ??= plan.park(plan.open(`refer to ${this.#label}`, SYS.pidfd_open, this.#pid, 0));
    const which = typeof fd === 'number' ? `descriptor ${fd}` : 'a descriptor';
    return plan.open(`fetch ${which} of ${this.#label}`, SYS.pidfd_getfd, this.#pidfd, fd, 0);
  }

  close(): void {
    if (this.#pidfd !== undefined) this.#plan.close(this.#pidfd);
    this.#pidfd = undefined;
  }
}

function kindName(type: number): string {
  return Object.entries(FdTypes).find(([, value]) => value === type)?.[0] ?? String(type);
}
