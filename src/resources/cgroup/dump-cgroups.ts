/**
 * cgroup.img: which cgroups the threads of a tree are in, and these cgroups with everything below them, so that they can
 * be made again.
 *
 * Nothing is written when the whole tree is where criu is. Below the root of a hierarchy only those cgroups are taken that
 * somebody of the tree is in: the rest belongs to the machine. (CRIU takes all of them.)
 *
 * Lost: counters and statistics, and properties that nobody named (see properties.ts and --cgroup-props).
 */
import { CriuError, type CriuErrorFields } from '../../base/errors.ts';
import type { FrozenTree } from '../../dump/frozen-tree.ts';
import type { CgControllerEntry, CgroupDirEntry, CgroupEntry, CgroupPropEntry } from '../../image/gen/cgroup.ts';
import { ERRNO, errnoName } from '../../linux/abi/errno.ts';
import { S_IFDIR, S_IFMT } from '../../linux/abi/fcntl.ts';
import { CLONE_NEWCGROUP } from '../../linux/abi/sched.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { check, syscall } from '../../linux/kernel.ts';
import { close, open, readFile, type Stat, tryListDirectory, tryReadFile, tryStat } from '../../linux/syscalls/fs.ts';
import { type CgroupEntry as Membership, parseCgroup } from '../../proc/cgroup.ts';
import { type CgroupSet, CgroupSets, describeSet, hiddenPrefixes, OWN_SET } from './cgroup-sets.ts';
import { describeHierarchy, Hierarchy } from './hierarchy.ts';
import { imageValue, isVersion2, PropertyTable } from './properties.ts';
import { parsePropertySpec } from './property-spec.ts';

export interface CgroupDumpOptions {
  /** --manage-cgroups=ignore: as if there were none. */
  readonly isIgnored: boolean;
  /** --cgroup-root: where to begin instead of the cgroups of the tasks; no controller means all. */
  readonly roots: readonly { readonly controller: string | undefined; readonly path: string }[];
  readonly yard: string | undefined;
  readonly controllers: readonly string[];
  readonly properties: string | undefined;
  readonly propertiesFile: string | undefined;
  readonly ignoresDefaultProperties: boolean;
  /** --freeze-cgroup: its state was another than what its files say during the dump. */
  readonly freezer: { readonly path: string; readonly wasFrozen: boolean } | undefined;
}

export class DumpedCgroups {
  readonly #options: CgroupDumpOptions;
  readonly #table: PropertyTable;
  readonly #freezer: Stat | undefined;
  readonly #own: string;
  #cgroupSets: CgroupSets | undefined = undefined;
  /** By thread. */
  readonly #setOf = new Map<number, CgroupSet>();
  readonly #rootSet: CgroupSet | undefined;
  readonly #hasNamespace: boolean = false;
  readonly problems: CriuErrorFields[] = [];

  /** Reads where everybody is. Throws CriuError when the options make no sense. */
  constructor(tree: FrozenTree, options: CgroupDumpOptions) {
    this.#options = options;
    this.#table = readTable(options);
    const freezer = options.freezer === undefined ? undefined : tryStat(options.freezer.path);
    this.#freezer = typeof freezer === 'number' ? undefined : freezer;
    this.#own = readFile('/proc/self/cgroup');
    if (options.isIgnored) return;
    const { pid, pidfd, threads } = tree.root;
    const inside = seenFromInside(pid, pidfd);
    this.#hasNamespace = inside !== undefined;
    if (inside === undefined && this.#areAllWithUs(tree)) return;
    const prefixes = inside === undefined ? undefined : hiddenPrefixes(readCgroup(pid, threads[0]?.tid ?? pid), inside);
    const known = new Map<string, CgroupSet>();
    for (const task of tree.tasks) {
      for (const { tid, cgroup } of task.threads) {
        let set = known.get(cgroup);
        if (set === undefined) {
          set = this.#sets.add(parseCgroup(cgroup, cgroupFile(task.pid, tid)), prefixes);
          this.#findProblems(set, task.label);
          known.set(cgroup, set);
        }
        this.#setOf.set(tid, set);
      }
    }
    this.#rootSet = this.#setOf.get(pid);
  }

  get #sets(): CgroupSets {
    this.#cgroupSets ??= new CgroupSets(parseCgroup(this.#own), this.#options.controllers);
    return this.#cgroupSets;
  }

  /** The usual case: there is nothing to say. */
  #areAllWithUs({ tasks }: FrozenTree): boolean {
    return (
      !this.#own.includes('/..') && tasks.every(({ threads }) => threads.every(({ cgroup }) => cgroup === this.#own))
    );
  }

  /** cg_set of a thread. */
  numberOf(tid: number): number {
    return this.#setOf.get(tid)?.id ?? OWN_SET;
  }

  /** The image; undefined when there is nothing to say. Throws CriuError when a hierarchy cannot be opened or read. */
  describe(): CgroupEntry | undefined {
    const isOwn = this.#rootSet?.id === OWN_SET;
    const used = [...new Set(this.#setOf.values())].filter(({ id }) => id !== OWN_SET || !isOwn);
    if (used.length === 0) return undefined;
    used.sort((a, b) => a.id - b.id);
    const controllers = this.#orderedNames(used).map((name) => this.#describeController(name.split(','), used));
    return { sets: used.map(describeSet), controllers };
  }

  /** True when the tree has a cgroup namespace of its own. */
  get hasNamespace(): boolean {
    return this.#hasNamespace;
  }

  /** Hierarchies with controllers first, in the kernel's order; those that have a name only follow, as CRIU has them. */
  #orderedNames(used: readonly CgroupSet[]): string[] {
    const isNamed = (name: string) => name.startsWith('name=');
    const { names } = this.#sets;
    const named = used.flatMap(({ members }) => members.map(({ name }) => name)).filter(isNamed);
    return [...names.filter((name) => !isNamed(name)), ...new Set(named)];
  }

  #describeController(cnames: readonly string[], used: readonly CgroupSet[]): CgControllerEntry {
    using hierarchy = new Hierarchy(cnames, this.#options.yard);
    const name = cnames.join(',');
    const forest = new Forest();
    for (const { members } of used) {
      const path = members.find((member) => member.name === name)?.path ?? '/';
      const from = this.#rootFor(name, hierarchy);
      this.#walk(forest, hierarchy.root, from ?? path, cnames, from !== undefined || path !== '/');
    }
    this.#addFreezerState(forest, cnames);
    const isThreaded = forest.some(({ properties }) =>
      properties.some((p) => p.name === 'tasks' || (p.name === 'cgroup.type' && p.value === 'threaded')),
    );
    return { cnames: [...cnames], dirs: forest.heads, is_threaded: isThreaded };
  }

  /** Where --cgroup-root wants to begin. What it says of all hierarchies need not be there in each of them. */
  #rootFor(name: string, { root }: Hierarchy): string | undefined {
    const { roots } = this.#options;
    const own = roots.findLast(({ controller }) => controller === name);
    if (own !== undefined) return own.path;
    const path = roots.findLast(({ controller }) => controller === undefined)?.path;
    return path === undefined || typeof tryStat(root + path) === 'number' ? undefined : path;
  }

  #walk(forest: Forest, root: string, path: string, cnames: readonly string[], isDeep: boolean): void {
    if (forest.has(path)) return;
    const folder = root + (path === '/' ? '' : path);
    const stat = tryStat(folder);
    if (typeof stat === 'number') throw unreadable(cnames, path, stat);
    const properties = this.#readProperties(folder, cnames, stat, path);
    forest.add(path, { dir_name: '', children: [], properties, dir_perms: permsOf(stat) }, stat.st_ino);
    // A folder of kernfs has a link for each child (fs/kernfs/dir.c).
    if (!isDeep || stat.st_nlink === 2) return;
    const names = tryListDirectory(folder);
    if (typeof names === 'number') throw unreadable(cnames, path, names);
    for (const name of names.sort()) {
      const child = tryStat(`${folder}/${name}`);
      if (typeof child === 'number' || (child.st_mode & S_IFMT) !== S_IFDIR) continue;
      this.#walk(forest, root, `${path === '/' ? '' : path}/${name}`, cnames, true);
    }
  }

  #readProperties(folder: string, cnames: readonly string[], stat: Stat, path: string): CgroupPropEntry[] {
    const properties: CgroupPropEntry[] = [];
    for (const { name, unset } of this.#table.of(cnames)) {
      const file = tryStat(`${folder}/${name}`);
      if (file === -ERRNO.ENOENT) continue; // not on this kernel, or not in the root
      if (typeof file === 'number') throw unreadable(cnames, `${path}/${name}`, file);
      let value = '';
      if (imageValue(name, '-') !== '') {
        const text = tryReadFile(`${folder}/${name}`);
        if (typeof text === 'number') throw unreadable(cnames, `${path}/${name}`, text);
        value = imageValue(name, text);
      }
      if (name === 'cgroup.freeze' && this.#isFreezer(stat) && this.#options.freezer?.wasFrozen === true) value = '1';
      if (value !== unset) properties.push({ name, value, perms: permsOf(file) });
    }
    return properties;
  }

  #isFreezer(stat: Stat): boolean {
    return this.#freezer?.st_dev === stat.st_dev && this.#freezer.st_ino === stat.st_ino;
  }

  /** The freezer of version 1 has its state in the image only when it is known not to be criu's doing. */
  #addFreezerState(forest: Forest, cnames: readonly string[]): void {
    const { freezer } = this.#options;
    if (freezer === undefined || !cnames.includes('freezer')) return;
    const property = { name: 'freezer.state', value: freezer.wasFrozen ? 'FROZEN' : 'THAWED' };
    const its = forest.find(this.#freezer?.st_ino);
    // When it is above them, the cgroups of the tasks stand for it.
    for (const dir of its === undefined ? forest.heads : [its]) dir.properties.push({ ...property });
  }

  #findProblems({ members }: CgroupSet, label: string): void {
    const outside = members.find(({ path }) => path.startsWith('/..'));
    if (outside === undefined) return;
    this.problems.push({
      object: label,
      action: `cannot be dumped: its cgroup ${outside.path} (${describeHierarchy(outside.name.split(','))}) is out of sight`,
      why: 'criu is in a cgroup namespace below it',
      remedy: "run criu in the host's cgroup namespace, or leave cgroups alone with --manage-cgroups=ignore",
    });
  }
}

/** Folders as trees: heads have whole paths as names, the others the last part. */
class Forest {
  readonly heads: CgroupDirEntry[] = [];
  readonly #byPath = new Map<string, CgroupDirEntry>();
  readonly #byInode = new Map<number, CgroupDirEntry>();

  has(path: string): boolean {
    return this.#byPath.has(path);
  }

  find(inode: number | undefined): CgroupDirEntry | undefined {
    return inode === undefined ? undefined : this.#byInode.get(inode);
  }

  some(test: (dir: CgroupDirEntry) => boolean): boolean {
    return [...this.#byPath.values()].some(test);
  }

  add(path: string, dir: CgroupDirEntry, inode: number): void {
    this.#byPath.set(path, dir);
    this.#byInode.set(inode, dir);
    const slash = path.lastIndexOf('/');
    const parent = path === '/' ? undefined : this.#byPath.get(slash === 0 ? '/' : path.slice(0, slash));
    dir.dir_name = path.slice(parent === undefined ? 1 : slash + 1);
    (parent?.children ?? this.heads).push(dir);
  }
}

const permsOf = ({ st_mode, st_uid, st_gid }: Stat) => ({ mode: st_mode, uid: st_uid, gid: st_gid });

const cgroupFile = (pid: number, tid: number) => `/proc/${pid}/task/${tid}/cgroup`;

function readCgroup(pid: number, tid: number): Membership[] {
  return parseCgroup(readFile(cgroupFile(pid, tid)), cgroupFile(pid, tid));
}

/** The cgroups of a task as it sees them itself; undefined when it is in criu's cgroup namespace. */
function seenFromInside(pid: number, pidfd: number): Membership[] | undefined {
  const namespaceOf = (who: string) => tryStat(`/proc/${who}/ns/cgroup`);
  const [own, theirs] = [namespaceOf('self'), namespaceOf(String(pid))];
  if (typeof own === 'number' || typeof theirs === 'number' || own.st_ino === theirs.st_ino) return undefined;
  const home = open('/proc/self/ns/cgroup', 0);
  try {
    // A thread of ours may enter alone, and what it reads there is relative to that namespace.
    check('setns', syscall(SYS.setns, pidfd, CLONE_NEWCGROUP), `cgroup namespace of ${pid}`);
    return readCgroup(pid, pid);
  } finally {
    check('setns', syscall(SYS.setns, home, CLONE_NEWCGROUP), 'back');
    close(home);
  }
}

function readTable({ properties, propertiesFile, ignoresDefaultProperties }: CgroupDumpOptions): PropertyTable {
  const rules = properties === undefined ? [] : parsePropertySpec(properties, '--cgroup-props');
  if (propertiesFile !== undefined) {
    const text = tryReadFile(propertiesFile);
    const object = `--cgroup-props-file ${propertiesFile}`;
    if (typeof text === 'number') throw new CriuError({ object, action: `cannot be read: ${errnoName(-text)}` });
    rules.push(...parsePropertySpec(text, object));
  }
  return new PropertyTable(rules, ignoresDefaultProperties);
}

function unreadable(cnames: readonly string[], path: string, result: number): CriuError {
  return new CriuError({
    object: `cgroup ${path} (${describeHierarchy(cnames)})`,
    action: `cannot be read: ${errnoName(-result)}`,
    remedy: isVersion2(cnames)
      ? 'use --manage-cgroups=ignore'
      : 'leave the controller out with --cgroup-dump-controller',
  });
}
