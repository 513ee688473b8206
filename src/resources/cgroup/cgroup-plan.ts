/**
 * From the image to what a restore has to do: the cgroups to make, in order, and where each set of the image is. This is
 * where --cgroup-root moves them. Pure.
 */
import type { CriuErrorFields } from '../../base/errors.ts';
import type { CgControllerEntry, CgMemberEntry, CgroupDirEntry, CgroupEntry } from '../../image/gen/cgroup.ts';

/** --cgroup-root; no controller means all that have none of their own. */
export interface NewRoot {
  readonly controller: string | undefined;
  readonly path: string;
}

/** A cgroup to make, or to find. Paths begin with a slash. */
export interface PlannedCgroup {
  readonly path: string;
  readonly entry: CgroupDirEntry;
}

export interface PlannedHierarchy {
  readonly controllers: readonly string[];
  /** Each thread of a task may have a cgroup of its own. */
  readonly isThreaded: boolean;
  /** Parents before children; the root of the hierarchy is not among them. */
  readonly cgroups: readonly PlannedCgroup[];
}

/** One membership of a set. */
export interface PlannedMember {
  readonly hierarchy: PlannedHierarchy;
  readonly path: string;
  /** The root of the tree's cgroup namespace; undefined when it has none in this hierarchy. */
  readonly namespaceRoot: string | undefined;
}

export interface CgroupPlan {
  readonly hierarchies: readonly PlannedHierarchy[];
  /** By number of the set. */
  readonly sets: ReadonlyMap<number, readonly PlannedMember[]>;
  readonly problems: readonly CriuErrorFields[];
}

export function planCgroups({ sets, controllers }: CgroupEntry, newRoots: readonly NewRoot[]): CgroupPlan {
  const problems = controllers.flatMap(findControllerProblems);
  const plans = controllers.map((controller) => ({ controller, ...planHierarchy(controller, sets, newRoots) }));
  const planned = new Map<number, readonly PlannedMember[]>();
  for (const { id, ctls } of sets) {
    if (planned.has(id)) problems.push({ object: IMAGE, action: `has two sets with number ${id}` });
    const members = ctls.flatMap((member): PlannedMember[] => {
      const plan = plans.find(({ controller }) => belongsTo(member, controller));
      const problem = findMemberProblem(member, plan !== undefined);
      if (problem !== undefined) problems.push({ object: `${IMAGE}: set ${id}`, action: problem });
      if (plan === undefined || problem !== undefined) return [];
      return [{ hierarchy: plan.hierarchy, ...plan.place(member) }];
    });
    planned.set(id, members);
  }
  return { hierarchies: plans.map(({ hierarchy }) => hierarchy), sets: planned, problems };
}

const IMAGE = 'cgroup.img';

/** "cpu,cpuacct" belongs to the hierarchy of these controllers, in whatever order they are. */
function belongsTo({ name }: CgMemberEntry, { cnames }: CgControllerEntry): boolean {
  const words = name.split(',');
  return cnames.length > 0 && cnames.every((controller) => words.includes(controller));
}

function planHierarchy(
  controller: CgControllerEntry,
  sets: CgroupEntry['sets'],
  newRoots: readonly NewRoot[],
): { hierarchy: PlannedHierarchy; place: (member: CgMemberEntry) => Omit<PlannedMember, 'hierarchy'> } {
  const { cnames, dirs, is_threaded } = controller;
  const newRoot = (
    newRoots.findLast((root) => root.controller !== undefined && cnames.includes(root.controller)) ??
    newRoots.findLast((root) => root.controller === undefined)
  )?.path;
  const members = sets.flatMap(({ ctls }) => ctls.filter((member) => belongsTo(member, controller)));
  const prefix = members.find(({ cgns_prefix }) => (cgns_prefix ?? 0) > 0);
  const hidden = prefix?.path.slice(0, prefix.cgns_prefix);
  const heads = dirs.map(({ dir_name }) => absolute(dir_name));
  /** A tree in a cgroup namespace keeps what it sees of its paths; others begin at the new root with their heads. */
  const move = (path: string): string => {
    if (newRoot === undefined) return path;
    const from = [...heads, ...(hidden === undefined ? [] : [hidden])]
      .filter((head) => isBelow(path, head))
      .filter((head) => hidden === undefined || head === hidden || !isBelow(head, hidden))
      .sort((a, b) => b.length - a.length)[0];
    return from === undefined ? path : join(newRoot, path.slice(from === '/' ? 0 : from.length));
  };
  const moved = new Map<string, CgroupDirEntry>();
  for (const { path, entry } of dirs.flatMap((dir) => flatten(dir, ''))) {
    // What the root of a hierarchy has is the machine's, and nothing to give to a cgroup that takes its place.
    if (!moved.has(move(path))) moved.set(move(path), path === '/' ? bare(entry) : entry);
  }
  moved.delete('/');
  const hierarchy = {
    controllers: cnames,
    isThreaded: is_threaded === true,
    cgroups: [...moved].map(([path, entry]) => ({ path, entry })).sort((a, b) => (a.path < b.path ? -1 : 1)),
  };
  return {
    hierarchy,
    place: ({ path, cgns_prefix = 0 }) => ({
      path: move(path),
      namespaceRoot: cgns_prefix === 0 ? undefined : move(path.slice(0, cgns_prefix)),
    }),
  };
}

/** A folder and all below it, parents first. */
function flatten(entry: CgroupDirEntry, parent: string): PlannedCgroup[] {
  const path = join(parent, absolute(entry.dir_name));
  return [{ path, entry }, ...entry.children.flatMap((child) => flatten(child, path))];
}

const bare = ({ dir_name, children }: CgroupDirEntry): CgroupDirEntry => ({ dir_name, children, properties: [] });

const absolute = (name: string) => (name.startsWith('/') ? name : `/${name}`);
const isBelow = (path: string, ancestor: string) =>
  ancestor === '/' || path === ancestor || path.startsWith(`${ancestor}/`);

/** A path below a root; either may be "/". */
function join(root: string, path: string): string {
  const joined = `${root === '/' ? '' : root}${path === '/' ? '' : path}`;
  return joined === '' ? '/' : joined;
}

/** What the kernel takes (kernel/cgroup/cgroup-v1.c, cgroup1_parse_param()); empty for version 2. */
const CONTROLLER = /^(name=)?[A-Za-z0-9_.-]*$/;

/** Images may come from anybody: names must not lead out of a hierarchy. */
function findControllerProblems({ cnames, dirs }: CgControllerEntry): CriuErrorFields[] {
  const object = `${IMAGE}: controller ${cnames.join(',')}`;
  const isName = (name: string) =>
    name !== '' && !name.includes('\0') && name !== '.' && name !== '..' && !name.includes('/');
  const visit = (entry: CgroupDirEntry, isHead: boolean): CriuErrorFields[] => {
    const { dir_name, children, properties } = entry;
    const isFine = isHead ? isPath(absolute(dir_name)) : isPath(`/${dir_name}`) && dir_name !== '';
    return [
      ...(isFine ? [] : [{ object, action: `has a cgroup with the name "${dir_name}"` }]),
      ...properties
        .filter(({ name }) => !isName(name))
        .map(({ name }) => ({ object, action: `has a property "${name}"` })),
      ...children.flatMap((child) => visit(child, false)),
    ];
  };
  const nameless = cnames.length === 0 ? [{ object: IMAGE, action: 'has a hierarchy without a name' }] : [];
  const strange = cnames
    .filter((name) => !CONTROLLER.test(name))
    .map((name) => ({ object: IMAGE, action: `has a controller "${name}"` }));
  return [...nameless, ...strange, ...dirs.flatMap((dir) => visit(dir, true))];
}

function findMemberProblem({ name, path, cgns_prefix = 0 }: CgMemberEntry, isKnown: boolean): string | undefined {
  if (!isKnown) return `is in hierarchy "${name}", which the image does not describe`;
  if (!isPath(path)) return `has the path "${path}"`;
  if (cgns_prefix > path.length) return `has a namespace prefix of ${cgns_prefix} characters in "${path}"`;
  return undefined;
}

/** Absolute, and without parts that lead elsewhere. */
function isPath(path: string): boolean {
  if (path === '/') return true;
  if (path.includes('\0')) return false;
  const [first, ...parts] = path.split('/');
  return first === '' && parts.every((part) => part !== '' && part !== '.' && part !== '..');
}
