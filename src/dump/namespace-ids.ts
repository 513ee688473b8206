/**
 * Numbers of namespaces (task_kobj_ids_entry): equal numbers mean the same namespace. criu's own come first, so a task
 * that lives where criu lives has the numbers of the inventory's root_ids.
 */

import type { CriuErrorFields } from '../base/errors.ts';
import { perRun } from '../base/per-run.ts';
import type { TaskKobjIdsEntry } from '../image/gen/core.ts';
import { tryReadlink } from '../linux/syscalls/fs.ts';

/** Fields of the image and links of /proc/PID/ns, in the order in which CRIU numbers them. */
const KINDS = [
  ['pid_ns_id', 'pid'],
  ['net_ns_id', 'net'],
  ['ipc_ns_id', 'ipc'],
  ['uts_ns_id', 'uts'],
  ['time_ns_id', 'time'],
  ['mnt_ns_id', 'mnt'],
  ['user_ns_id', 'user'],
  ['cgroup_ns_id', 'cgroup'],
] as const;

/** Names in /proc/PID/ns that belong to a task. */
export const NAMESPACE_LINKS: readonly string[] = [...KINDS.map(([, name]) => name), 'time_for_children'];

const MAY_DIFFER: ReadonlySet<string> = new Set(['net', 'time', 'cgroup']);

type NamespaceField = (typeof KINDS)[number][0];
export type NamespaceIds = Pick<TaskKobjIdsEntry, NamespaceField>;

/** By kind, or −errno. */
type Links = Record<(typeof KINDS)[number][1], string | number>;

const readLink = (pid: number | 'self', name: string) => tryReadlink(`/proc/${pid}/ns/${name}`);

const readLinks = (pid: number | 'self'): Links => ({
  pid: readLink(pid, 'pid'),
  net: readLink(pid, 'net'),
  ipc: readLink(pid, 'ipc'),
  uts: readLink(pid, 'uts'),
  time: readLink(pid, 'time'),
  mnt: readLink(pid, 'mnt'),
  user: readLink(pid, 'user'),
  cgroup: readLink(pid, 'cgroup'),
});

/** criu's own; it stays where it is, but for the network. */
const ownLinks = perRun(() => readLinks('self'));

export class NamespaceNumbers {
  readonly #numbers = new Map<string, number>();
  /** criu's own. */
  readonly own: NamespaceIds;

  /** The namespaces of the first task that was identified, the root. */
  #root: NamespaceIds | undefined = undefined;
  #last: { ids: NamespaceIds; problems: CriuErrorFields[] } | undefined = undefined;

  /** `ownNetwork` is the link of criu's own network namespace, when it is in that of the tree just now. */
  constructor(ownNetwork?: string) {
    this.own = this.#number({ ...ownLinks(), net: ownNetwork ?? readLink('self', 'net') });
  }

  /**
   * The namespaces of a task, the root first, and what speaks against dumping it: for now only those of the whole tree for
   * network, time and cgroups may differ from criu's. `isLikeBefore`: the task is where the one before is.
   */
  identify(pid: number, label: string, isLikeBefore = false): { ids: NamespaceIds; problems: CriuErrorFields[] } {
    // Problems are told of each task.
    if (!isLikeBefore || this.#last?.problems.length !== 0) this.#last = this.#identify(pid, label);
    return this.#last;
  }

  #identify(pid: number, label: string): { ids: NamespaceIds; problems: CriuErrorFields[] } {
    const links = readLinks(pid);
    const ids = this.#number(links);
    const problems: CriuErrorFields[] = KINDS.flatMap(([field, name]) => {
      if (ids[field] === this.own[field] || MAY_DIFFER.has(name)) return [];
      return [
        {
          object: label,
          action: `cannot be dumped: it is in another ${name} namespace than criu`,
          why: 'namespaces are not supported yet by this criu',
          remedy: 'run criu in the same namespaces as the task',
        },
      ];
    });
    this.#root ??= ids;
    if (ids.cgroup_ns_id !== this.#root.cgroup_ns_id) {
      const why = 'cgroup namespaces can only be restored for a whole tree';
      const action = 'cannot be dumped: it is in another cgroup namespace than the root of the tree';
      problems.push({ object: label, action, why, remedy: 'dump it as a tree of its own' });
    }
    if (ids.net_ns_id !== this.#root.net_ns_id) {
      const why = 'several network namespaces in a tree are not supported yet by this criu';
      const action = 'cannot be dumped: it is in another network namespace than the root of the tree';
      problems.push({ object: label, action, why, remedy: 'dump it as a tree of its own' });
    }
    if (ids.time_ns_id !== this.#root.time_ns_id) {
      const why = 'the tasks of a tree can only be restored in one time namespace, with one set of clocks';
      const action = 'cannot be dumped: it is in another time namespace than the root of the tree';
      problems.push({ object: label, action, why, remedy: 'dump it as a tree of its own' });
    }
    if (links.time !== readLink(pid, 'time_for_children')) {
      const why = 'its children would live in another time namespace than itself, which the images cannot say';
      problems.push({ object: label, action: 'cannot be dumped', why, remedy: 'dump it before it calls unshare' });
    }
    return { ids, problems };
  }

  /** The number of a namespace by its link in /proc/PID/ns, as far as it is known. */
  numberOf(link: string): number | undefined {
    return this.#numbers.get(link);
  }

  #number(links: Links): NamespaceIds {
    const ids: NamespaceIds = {};
    for (const [field, name] of KINDS) {
      const link = links[name];
      if (typeof link === 'number') continue; // a kernel without this kind
      const number = this.#numbers.get(link) ?? this.#numbers.size + 1;
      this.#numbers.set(link, number);
      ids[field] = number;
    }
    return ids;
  }
}
