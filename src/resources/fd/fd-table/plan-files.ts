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
import { isPaired, type OpenFiles } from '../../../image/open-files.ts';
import { FD_CLOEXEC, O_CLOEXEC } from '../../../linux/abi/fcntl.ts';
import type { RestoreTree } from '../../../restore/restore-tree.ts';
import type { FileKind, RestoreContext, RestoreFilesOptions, RestoreHome, RestoreSystem } from '../file-kind.ts';
import { checkLock, isLease, planLease, planLock } from '../file-lock/file-lock.ts';
import { FILE_KINDS } from '../registry.ts';
import { inheritedFd } from '../regular-file/check.ts';
import { NameHolders } from '../regular-file/name-holders.ts';
import { allRemaps, remapOf } from '../regular-file/remap-restore.ts';
import { StepList } from '../step.ts';
import type { StepArg } from '../step-args.ts';
import { checkEntries } from './check-entries.ts';
import { madeElsewhere } from './choose-home.ts';
import { choosePairs } from './choose-pairs.ts';
import { addSlot, areInPlace, type Description, NO_NUMBER, slotsIn, type Table } from './description.ts';
import { FdTablePlan, type Placement, type Slot } from './fd-table-plan.ts';
import { formGroups, joinNeeded, lowestSlot, type NeededGroups, neededFirst, sortByNumber } from './groups.ts';
import { planOwner } from './owner.ts';
import { PairDescriptors } from './pair-descriptors.ts';
import { PeerDescriptors } from './peer-descriptors.ts';
import { PlainDescriptors } from './plain-descriptors.ts';
import { PlannedFiles } from './planned-files.ts';
import { RowDescriptors } from './row-descriptors.ts';

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
  readonly #context: RestoreContext & { tree: RestoreTree };
  #rows = new RowDescriptors(undefined, undefined);

  constructor(input: PlanFilesInput) {
    this.#input = input;
    this.#holders = new NameHolders(input.controllerPid);
    this.#context = this.#makeContext();
  }

  plan(): PlannedFiles {
    this.#makeTables();
    this.#rows = this.#chooseRows();
    this.#problems.push(...checkEntries(this.#context));
    this.#collect();
    this.#collectLocks();
    if (this.#problems.length > 0) throw new CriuErrors('open files cannot be restored', this.#problems);
    this.#chooseHomes();
    for (const table of this.#tables) this.#planCreate(table);
    for (const table of this.#tables) this.#planShare(table);
    for (const table of this.#tables) this.#planFinish(table);
    return new PlannedFiles(this.#byPid, this.#context, this.#holders);
  }

  #makeContext(): RestoreContext & { tree: RestoreTree } {
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
    const reg = this.#files.get(fileId)?.reg;
    assert(reg !== undefined, 'only regular files have a path');
    const inherited = reg.ext === true ? inheritedFd(reg, this.#context) : undefined;
    if (inherited !== undefined) return { text: `/proc/${this.#input.controllerPid}/fd/${inherited}` };
    const { kind } = remapOf(fileId, this.#context);
    if (kind === 'none' || kind === 'process') return { text: reg.name };
    return { path: () => this.#holders.pathOf(fileId) };
  }

  /** Each descriptor table once. */
  #makeTables(): void {
    const byFilesId = new Map<number, Table>();
    for (const task of this.#input.tree.tasks) {
      const known = byFilesId.get(task.ids.files_id);
      const table: Table = known ?? {
        order: this.#tables.length,
        owner: task,
        plan: new FdTablePlan(task.fds.at(-1)?.fd ?? -1),
        steps: { create: NO_STEPS, share: NO_STEPS, finish: NO_STEPS },
      };
      this.#sharers.set(task.pid, table);
      if (known !== undefined) continue;
      byFilesId.set(task.ids.files_id, table);
      this.#tables.push(table);
      this.#byPid.set(task.pid, table);
    }
  }

  /** Files that are rows, before anybody asks for entries. */
  #chooseRows(): RowDescriptors {
    const { tree, options } = this.#input;
    const kindOf = (type: FdTypes) => this.#kinds.get(type);
    const chosen = choosePairs(this.#tables, kindOf, this.#context);
    if (chosen !== undefined) this.#context.tree = { ...tree, files: chosen.files };
    for (const kind of chosen?.withOtherData ?? []) kind.readOthers(this.#context);
    const pairs = chosen && new PairDescriptors(chosen, this.#tables, kindOf, this.#context);
    const { plain } = this.#files;
    // Descriptors of the controller may be meant by any path.
    if (plain === undefined || options.inheritFds.length > 0) return new RowDescriptors(undefined, pairs);
    const remaps = allRemaps(this.#context);
    return new RowDescriptors(new PlainDescriptors(plain, (id) => remaps.has(id)), pairs);
  }

  get #files(): OpenFiles {
    return this.#context.tree.files;
  }

  /** Who uses what. */
  #collect(): void {
    for (const table of this.#tables) {
      let before = -1;
      for (const fdinfo of table.owner.fds) {
        this.#addDescriptor(table, fdinfo, fdinfo.fd === before);
        before = fdinfo.fd;
      }
    }
    for (const description of this.#descriptions.values()) this.#addNeeded(description);
  }

  /** The description of a file, if there is one or its descriptor was one of the plain ones until now. */
  #described(id: number): Description | undefined {
    const known = this.#descriptions.get(id);
    const plain = known === undefined ? this.#rows.plain?.release(id) : undefined;
    if (plain === undefined) return known;
    const entry = this.#files.get(id);
    const kind = this.#kinds.get(FdTypes.REG);
    assert(entry !== undefined && kind !== undefined, 'a plain file has an entry');
    this.#addDescription(entry, kind, plain.table, [plain.slot]);
    return this.#descriptions.get(id);
  }

  /** Files in flight, which perhaps no descriptor refers to. */
  #addNeeded({ kind, entry, table }: Description): void {
    if (kind.needs === undefined && kind.needsAtLast === undefined) return;
    const ids = [...(kind.needs?.(entry, this.#context) ?? []), ...(kind.needsAtLast?.(entry) ?? [])];
    for (const id of ids) {
      if (this.#described(id) !== undefined) continue;
      const needed = this.#files.get(id);
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
      if (isLease(entry)) for (const { fd, id } of table.owner.fds) if (fd === entry.fd) this.#described(id);
      const locks = this.#locks.get(table);
      if (locks === undefined) this.#locks.set(table, [entry]);
      else locks.push(entry);
    }
  }

  #addDescriptor(table: Table, { id, fd, flags, type }: FdinfoEntry, isTwice: boolean): void {
    if (isPaired(this.#files, id)) return;
    const isPlain = type === FdTypes.REG && !isTwice && fd <= FD_MAX;
    if (isPlain && this.#rows.plain?.tryAdd(table, id, fd, (flags & FD_CLOEXEC) !== 0) === true) return;
    const entry = this.#files.get(id);
    const kind = this.#kinds.get(type);
    if (entry === undefined || entry.type !== type || isTwice || fd > FD_MAX) {
      const why = isTwice ? 'it is twice in the image' : `file ${id} of that kind is not in files.img`;
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
    const slot = { fd, isCloexec: (flags & FD_CLOEXEC) !== 0 };
    const description = this.#described(id);
    if (description === undefined) this.#addDescription(entry, kind, table, [slot]);
    else addSlot(description, table, slot);
  }

  /** For each group of which files in flight are known: the groups of these. */
  #needed: NeededGroups = new Map();
  /** Groups by home, each with its members. */
  readonly #groups = new Map<Table, Description[][]>();

  #chooseHomes(): void {
    const groups = formGroups(this.#descriptions.values(), this.#byPid, this.#context);
    this.#needed = joinNeeded(groups, this.#context);
    let list: Description[][] = [];
    let home: Table | undefined;
    for (const group of groups) {
      if (group[0] !== undefined && group[0].home !== home) {
        home = group[0].home;
        list = this.#groups.get(home) ?? [];
        this.#groups.set(home, list);
      }
      list.push(group);
    }
    for (const text of madeElsewhere(groups, this.#sharers)) this.#input.warn(text);
  }

  #planCreate(table: Table): void {
    const { plan } = table;
    const groups = this.#groups.get(table) ?? [];
    sortByNumber(groups, table);
    const pulls = new PeerDescriptors(plan, this.#input.controllerPid, 'criu itself');
    const home = this.#home(table, pulls);
    for (const group of neededFirst(groups, this.#needed)) {
      const lowest = this.#rows.areNone ? NO_NUMBER : lowestSlot(group, table);
      // What nobody has a number of is made at any time.
      if (lowest !== NO_NUMBER) this.#rows.planUntil(table, lowest);
      this.#createGroup(group, table, home);
    }
    this.#rows.planUntil(table, NO_NUMBER);
    pulls.close();
    table.steps.create = plan.take();
  }

  #createGroup(group: readonly Description[], table: Table, home: RestoreHome): void {
    const [first] = group;
    if (first === undefined) return;
    if (group.length === 1) {
      first.homeFd = -1;
      first.kind.create([first.entry], home);
      assert(first.homeFd >= 0, 'the file was made');
      first.homeFd = table.plan.settle(first.homeFd, first.isCloexec, slotsIn(first, table));
      return;
    }
    for (const description of group) description.homeFd = -1;
    const entries: FileEntry[] = [];
    for (const { entry } of group) entries.push(entry);
    first.kind.create(entries, home);
    if (areInPlace(group, table)) return;
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
    let last: Description | undefined;
    const describe = (fileId: number): Description => {
      if (last?.entry.id === fileId) return last;
      const description = this.#descriptions.get(fileId);
      last = description;
      assert(description !== undefined, 'a descriptor refers to the file');
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
    const foreign: Description[][] = [];
    for (const description of this.#descriptions.values()) {
      if (description.home !== table && slotsIn(description, table).length > 0) foreign.push([description]);
    }
    sortByNumber(foreign, table);
    const peers = new Map<Table, PeerDescriptors>();
    for (const [description] of foreign) {
      if (description === undefined) continue;
      const { home, homeFd } = description;
      const peer = peers.get(home) ?? new PeerDescriptors(table.plan, home.owner.pid, home.owner.label);
      peers.set(home, peer);
      table.plan.settle(peer.fetch(homeFd), true, slotsIn(description, table));
    }
    for (const peer of peers.values()) peer.close();
    table.steps.share = table.plan.take();
  }

  #planFinish(table: Table): void {
    const { plan } = table;
    const pulls = new PeerDescriptors(plan, this.#input.controllerPid, 'criu itself');
    const home = this.#home(table, pulls);
    const locks = this.#locks.get(table) ?? [];
    const leases = locks.filter(isLease);
    const parked: number[] = [];
    for (const group of this.#groups.get(table) ?? []) {
      for (const description of group) {
        const { entry, kind, homeFd } = description;
        kind.finish?.(entry, homeFd, home);
        if (leases.length > 0) this.#planLeases(table, leases, slotsIn(description, table), entry);
        const fown = kind.fown(entry, this.#input.tree);
        if (fown !== undefined) planOwner(plan, homeFd, fown, kind.statusFlags?.(entry) ?? entry.reg?.flags ?? 0);
        if (homeFd >= plan.parkingStart) parked.push(homeFd);
      }
    }
    // What is parked may be needed by any of them.
    for (const fd of parked) plan.close(fd);
    pulls.close();
    for (const lock of locks) if (!isLease(lock)) planLock(plan, lock);
    table.steps.finish = plan.take();
  }

  /** Before the owner, who would get a signal when a lease is broken. */
  #planLeases(table: Table, leases: readonly FileLockEntry[], slots: readonly Slot[], entry: FileEntry): void {
    for (const lock of leases) {
      if (entry.reg === undefined || !slots.some(({ fd }) => fd === lock.fd)) continue;
      planLease(table.plan, lock, entry.reg.flags, this.#context.pathOf(entry.id));
    }
  }
}

const NO_STEPS = new StepList();
const FD_MAX = 0x7fff_fffe;

function kindName(type: number): string {
  return Object.entries(FdTypes).find(([, value]) => value === type)?.[0] ?? String(type);
}
