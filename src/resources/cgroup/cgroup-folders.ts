/**
 * The folders of cgroups while a tree is restored: looks for them, makes them, writes their properties, moves tasks into
 * them, and takes all of it back when the restore fails.
 */
import { CriuError, type CriuErrorFields } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import type { CgroupPerms, CgroupPropEntry } from '../../image/gen/cgroup.ts';
import { ERRNO, errnoName } from '../../linux/abi/errno.ts';
import { O_WRONLY } from '../../linux/abi/fcntl.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { syscall } from '../../linux/kernel.ts';
import { tryReadFile, tryStat, tryWriteFile } from '../../linux/syscalls/fs.ts';
import { tryChmod, tryLchown, tryMkdir, tryRmdir } from '../../linux/syscalls/names.ts';
import type { PlannedHierarchy, PlannedMember } from './cgroup-plan.ts';
import { type FrozenCgroup, findFrozen, hasMembers, trySetFrozen } from './frozen-cgroups.ts';
import { describeHierarchy, Hierarchy } from './hierarchy.ts';
import { imageValue, isEarly, isFreezer, isMemberList, type PropertyWrite, planWrites } from './properties.ts';
import type { CgroupMode } from './restore-cgroups.ts';

const IGNORE = 'use another mode of --manage-cgroups, or leave cgroups alone with --manage-cgroups=ignore';

/** A property that is not written yet. */
interface Pending {
  readonly controllers: readonly string[];
  readonly path: string;
  readonly property: CgroupPropEntry;
  /** It is one of a cgroup that we made: there is no old value to give back. */
  readonly isNew: boolean;
}

export class CgroupFolders {
  readonly #mode: CgroupMode;
  readonly #yard: string | undefined;
  readonly #log: Logger;
  /** By names of controllers. */
  readonly #open = new Map<string, Hierarchy>();
  /** Folders that we made, parents first. */
  readonly #made = new Set<string>();
  /** What gives the properties of other cgroups their old values. */
  #changed: (() => void)[] = [];
  readonly #late: Pending[] = [];
  readonly #freezing: Pending[] = [];
  /** Empty cgroups that were frozen: thawed until the tree is in them. */
  #thawed: FrozenCgroup[] = [];

  constructor(mode: CgroupMode, yard: string | undefined, log: Logger) {
    this.#mode = mode;
    this.#yard = yard;
    this.#log = log;
  }

  /** What the mode forbids about the cgroups of a hierarchy. */
  check({ controllers, cgroups }: PlannedHierarchy): CriuErrorFields[] {
    return cgroups.flatMap(({ path }) => {
      const isThere = this.#exists(controllers, path);
      if (isThere && this.#mode === 'strict') return [problem(controllers, path, 'exists already, mode strict')];
      if (isThere || this.#makes) return [];
      return [problem(controllers, path, `does not exist, mode ${this.#mode}`)];
    });
  }

  /** A cgroup that somebody is in, but that the image does not describe, is made as it comes. */
  checkMembers(members: readonly PlannedMember[]): CriuErrorFields[] {
    return members.flatMap(({ hierarchy: { controllers }, path }) => {
      const frozen = findFrozen(this.#folder(controllers, '/'), controllers, path)
        .filter(({ folder }) => hasMembers(folder))
        .map((cgroup) => ({
          ...problem(controllers, cgroup.path, 'is frozen, so nobody can be restored into it'),
          why: 'it is not thawed for the restore, because other processes are in it',
        }));
      if (this.#makes || this.#exists(controllers, path)) return frozen;
      return [problem(controllers, path, `does not exist, mode ${this.#mode}`)];
    });
  }

  /** Makes what is missing, and writes the early properties. */
  make({ controllers, cgroups }: PlannedHierarchy): void {
    for (const { path, entry } of cgroups) {
      this.#makePath(controllers, path);
      const folder = this.#folder(controllers, path);
      const isNew = this.#made.has(folder);
      if (!isNew && !this.#changesOthers) {
        this.#log.info(`Skip restoring properties on cgroup dir ${path} (${controllers.join(',')})`);
        continue;
      }
      this.#setPerms(controllers, path, folder, entry.dir_perms, isNew);
      for (const property of entry.properties) {
        const pending = { controllers, path, property, isNew };
        if (isFreezer(property.name)) this.#freezing.push(pending);
        else if (isEarly(property.name)) this.#set(pending);
        else this.#late.push(pending);
      }
    }
  }

  makeMembers(members: readonly PlannedMember[]): void {
    for (const { hierarchy, path, namespaceRoot } of members) {
      const { controllers } = hierarchy;
      this.#makePath(controllers, path);
      if (namespaceRoot !== undefined) this.#makePath(controllers, namespaceRoot);
      for (const frozen of findFrozen(this.#folder(controllers, '/'), controllers, path)) {
        trySetFrozen(frozen, false);
        this.#thawed.push(frozen);
      }
    }
  }

  /** Limits may depend on each other, such as memory with and without swap: what fails is tried again after the others. */
  setLate(): void {
    const again = this.#late.splice(0).filter((pending) => {
      try {
        this.#set(pending);
        return false;
      } catch (error) {
        if (!(error instanceof CriuError)) throw error;
        return true;
      }
    });
    for (const pending of again) this.#set(pending);
  }

  /** Freezes what was frozen; a failure is told, for the tree is complete. */
  freeze(): void {
    for (const frozen of this.#thawed.splice(0)) trySetFrozen(frozen, true);
    for (const pending of this.#freezing.splice(0)) {
      try {
        this.#set(pending);
      } catch (error) {
        if (!(error instanceof CriuError)) throw error;
        this.#log.warn(error.message);
      }
    }
  }

  /** Moves a process (cgroup.procs) or a thread. */
  move(id: number, controllers: readonly string[], path: string, file: string, label: string): void {
    this.#log.debug(`  \`-> ${controllers.join(',')}${path} gets ${id}`);
    const result = tryWriteFile(`${this.#folder(controllers, path)}/${file}`, String(id), O_WRONLY);
    if (result >= 0) return;
    throw new CriuError({
      object: label,
      action: `cannot be moved into cgroup ${path} (${describeHierarchy(controllers)}, ${file}: ${errnoName(-result)})`,
      ...(WHY_NOT[-result] === undefined ? {} : { why: WHY_NOT[-result] }),
      remedy: IGNORE,
      crErrno: -result,
    });
  }

  /** What was made and changed stays. */
  commit(): void {
    this.#made.clear();
    this.#changed = [];
  }

  [Symbol.dispose](): void {
    for (const frozen of this.#thawed.splice(0)) trySetFrozen(frozen, true);
    for (const giveBack of this.#changed.splice(0).reverse()) giveBack();
    for (const folder of [...this.#made].reverse()) {
      const result = removeWhenEmpty(folder);
      if (result < 0) this.#log.warn(`cannot remove ${folder} after the failure: ${errnoName(-result)}`);
    }
    this.#made.clear();
    for (const hierarchy of this.#open.values()) hierarchy[Symbol.dispose]();
    this.#open.clear();
  }

  get #makes(): boolean {
    return this.#mode !== 'none' && this.#mode !== 'props';
  }

  /** Whether cgroups that were there before get the properties of the image. */
  get #changesOthers(): boolean {
    return this.#mode === 'props' || this.#mode === 'full' || this.#mode === 'strict';
  }

  #folder(controllers: readonly string[], path: string): string {
    const name = controllers.join(',');
    let hierarchy = this.#open.get(name);
    if (hierarchy === undefined) {
      hierarchy = new Hierarchy(controllers, this.#yard);
      this.#open.set(name, hierarchy);
    }
    return hierarchy.root + (path === '/' ? '' : path);
  }

  #exists(controllers: readonly string[], path: string): boolean {
    return typeof tryStat(this.#folder(controllers, path)) !== 'number';
  }

  /** Makes a cgroup and those above it, unless they are there. */
  #makePath(controllers: readonly string[], path: string): void {
    if (path === '/' || this.#exists(controllers, path)) return;
    const parent = path.slice(0, path.lastIndexOf('/')) || '/';
    this.#makePath(controllers, parent);
    const folder = this.#folder(controllers, path);
    const result = tryMkdir(folder, 0o755);
    if (result < 0) throw failed(controllers, path, `cannot be made (mkdir: ${errnoName(-result)})`, result);
    this.#made.add(folder);
    this.#log.info(`Created cgroup dir ${path} (${controllers.join(',')})`);
    if (controllers.includes('cpuset')) this.#inheritCpuset(folder, this.#folder(controllers, parent));
  }

  /** A new cpuset of version 1 has no CPUs and no memory, and nobody can enter it (man 7 cpuset). */
  #inheritCpuset(folder: string, parent: string): void {
    for (const name of ['cpuset.cpus', 'cpuset.mems']) {
      const value = tryReadFile(`${parent}/${name}`);
      if (typeof value === 'string') tryWriteFile(`${folder}/${name}`, value.trimEnd(), O_WRONLY);
    }
  }

  #set({ controllers, path, property, isNew }: Pending): void {
    const { name, value, perms } = property;
    const folder = this.#folder(controllers, path);
    const file = `${folder}/${name}`;
    let now = '';
    if (!isMemberList(name)) {
      const text = tryReadFile(file);
      if (typeof text === 'number') throw missing(controllers, path, name, text);
      now = imageValue(name, text);
    }
    // CRIU leaves those of the freezer to chance.
    if (name !== 'freezer.state') this.#setPerms(controllers, `${path}/${name}`, file, perms, isNew);
    for (const write of planWrites(name, value, now)) this.#write(controllers, path, folder, write);
    if (isNew || now === value) return;
    this.#changed.push(() => {
      for (const write of planWrites(name, now, value)) tryWriteFile(`${folder}/${write.file}`, write.text, O_WRONLY);
    });
  }

  #write(controllers: readonly string[], path: string, folder: string, { file, text, mayFail }: PropertyWrite): void {
    this.#log.info(`Restoring cgroup property value [${text}] to [${controllers.join(',')}${path}/${file}]`);
    const result = tryWriteFile(`${folder}/${file}`, text, O_WRONLY);
    if (result >= 0) return;
    const error = failed(controllers, path, `cannot set ${file} to "${text}" (write: ${errnoName(-result)})`, result);
    if (mayFail !== true) throw error;
    this.#log.warn(error.message);
  }

  #setPerms(
    controllers: readonly string[],
    path: string,
    file: string,
    perms: CgroupPerms | undefined,
    isNew: boolean,
  ): void {
    if (perms === undefined) return;
    const there = tryStat(file);
    if (typeof there === 'number') throw missing(controllers, path, '', there);
    const { st_uid, st_gid, st_mode } = there;
    if (st_uid === perms.uid && st_gid === perms.gid && ((st_mode ^ perms.mode) & 0o7777) === 0) return;
    const owner = tryLchown(file, perms.uid, perms.gid);
    const result = owner < 0 ? owner : tryChmod(file, perms.mode);
    if (result < 0) throw failed(controllers, path, `cannot get its owner and mode: ${errnoName(-result)}`, result);
    if (isNew) return;
    this.#changed.push(() => {
      tryLchown(file, st_uid, st_gid);
      tryChmod(file, st_mode);
    });
  }
}

const REMOVE_TRIES = 50;
const REMOVE_PAUSE_NS = 1_000_000n;

/** The kernel takes a moment to see that dead tasks have left a cgroup. Returns 0 or −errno. */
function removeWhenEmpty(folder: string): number {
  let result = tryRmdir(folder);
  for (let tries = 1; result === -ERRNO.EBUSY && tries < REMOVE_TRIES; tries++) {
    syscall(SYS.nanosleep, BigUint64Array.of(0n, REMOVE_PAUSE_NS), 0);
    result = tryRmdir(folder);
  }
  return result;
}

/** Why the kernel keeps a task out (kernel/cgroup/cgroup.c, cgroup-v1.c; cpuset.c; sched/core.c). */
const WHY_NOT: Readonly<Record<number, string>> = {
  [ERRNO.ENOSPC]: 'its cpuset has no CPUs or no memory',
  [ERRNO.EBUSY]: 'in version 2 a cgroup with controllers for its children has no members itself',
  [ERRNO.EOPNOTSUPP]: 'in version 2 it is not a domain, or not a threaded cgroup of the same domain',
  [ERRNO.EINVAL]: 'a real-time task cannot enter a cgroup without cpu.rt_runtime_us',
  [ERRNO.EAGAIN]: 'a limit of it is reached',
  [ERRNO.ENOENT]: 'it has gone since',
};

function problem(controllers: readonly string[], path: string, action: string): CriuErrorFields {
  return { object: `cgroup ${path} (${describeHierarchy(controllers)})`, action, remedy: IGNORE };
}

function failed(controllers: readonly string[], path: string, action: string, result: number): CriuError {
  return new CriuError({ ...problem(controllers, path, action), crErrno: -result });
}

function missing(controllers: readonly string[], path: string, name: string, result: number): CriuError {
  const what = name === '' ? 'cannot be looked at' : `has no property ${name}`;
  return new CriuError({
    ...problem(controllers, path, `${what} (${errnoName(-result)})`),
    why: 'this kernel does not have it, or the cgroup above does not hand the controller on',
    crErrno: -result,
  });
}
