/**
 * Sets of cgroups, as the image numbers them: a thread is in one cgroup of each hierarchy, and threads with the same ones
 * share a set. criu's own set comes first, since the inventory tells it: a tree that lives where criu lives needs no image.
 */
import type { CgSetEntry } from '../../image/gen/cgroup.ts';
import type { CgroupEntry } from '../../proc/cgroup.ts';

/** Number of criu's own set. */
export const OWN_SET = 1;

/** One membership: the hierarchy as /proc/PID/cgroup names it, and the path. */
export interface Member {
  readonly name: string;
  readonly path: string;
  /** Length of the part of the path that the tree's cgroup namespace hides. */
  readonly prefix: number;
}

export interface CgroupSet {
  readonly id: number;
  readonly members: readonly Member[];
}

const hierarchyName = ({ controllers }: CgroupEntry) => controllers.join(',');

export class CgroupSets {
  readonly #byKey = new Map<string, CgroupSet>();
  readonly #own: ReadonlyMap<string, string>;
  readonly #controllers: ReadonlySet<string>;

  /** `own`: where criu is. `controllers`: hierarchies to keep, by name; empty means all. */
  constructor(own: readonly CgroupEntry[], controllers: readonly string[]) {
    this.#controllers = new Set(controllers);
    this.#own = new Map(own.map((entry) => [hierarchyName(entry), entry.path]));
    this.add(own, undefined);
  }

  /** The hierarchies that are kept, in the kernel's order. */
  get names(): string[] {
    return [...this.#own.keys()].filter((name) => this.#isKept(name));
  }

  get all(): CgroupSet[] {
    return [...this.#byKey.values()];
  }

  /**
   * The set of a thread; a new one gets the next number. `prefixes`: what the cgroup namespace of the tree hides, by
   * hierarchy.
   *
   * Everybody is in every hierarchy. One that only the later of two reads shows has been mounted in between, so nobody
   * has left its root yet: it does not make a difference.
   */
  add(entries: readonly CgroupEntry[], prefixes: ReadonlyMap<string, string> | undefined): CgroupSet {
    const paths = new Map(entries.map((entry) => [hierarchyName(entry), entry.path]));
    const members = this.names.sort().map((name): Member => {
      const path = paths.get(name) ?? '/';
      const hidden = prefixes?.get(name) ?? '';
      const isBelow = path === hidden || path.startsWith(`${hidden}/`);
      return { name, path, prefix: isBelow ? hidden.length : 0 };
    });
    const key = members.map(({ name, path, prefix }) => `${name}\0${path}\0${prefix}`).join('\0');
    const known = this.#byKey.get(key);
    if (known !== undefined) return known;
    const set = { id: OWN_SET + this.#byKey.size, members };
    this.#byKey.set(key, set);
    return set;
  }

  #isKept(name: string): boolean {
    return this.#controllers.size === 0 || this.#controllers.has(name);
  }
}

/**
 * What the cgroup namespace hides of each path: `outside` is as criu sees the task, `inside` as it sees itself. Undefined
 * for a path that is no continuation, which means that its cgroup is outside of the namespace.
 */
export function hiddenPrefixes(outside: readonly CgroupEntry[], inside: readonly CgroupEntry[]) {
  const prefixes = new Map<string, string>();
  const own = new Map(inside.map((entry) => [hierarchyName(entry), entry.path]));
  for (const entry of outside) {
    const { path } = entry;
    const visible = own.get(hierarchyName(entry)) ?? path;
    const tail = visible === '/' ? '' : visible;
    if (path !== '/' && path.endsWith(tail))
      prefixes.set(hierarchyName(entry), path.slice(0, path.length - tail.length));
  }
  return prefixes;
}

export function describeSet({ id, members }: CgroupSet): CgSetEntry {
  return {
    id,
    ctls: members.map(({ name, path, prefix }) => ({ name, path, ...(prefix === 0 ? {} : { cgns_prefix: prefix }) })),
  };
}
