/**
 * Descriptors of namespaces (man 7 namespaces, /proc/PID/ns): of those that tasks of the tree live in. The image has the
 * namespace's number (namespace-ids.ts); a restore opens it by a task that has the same number.
 *
 * A namespace that only the descriptor keeps is refused: nothing of it is in the images.
 */
import type { CriuErrorFields } from '../../../base/errors.ts';
import { FdTypes } from '../../../image/gen/fdinfo.ts';
import type { NsFileEntry } from '../../../image/gen/ns.ts';
import { AT_FDCWD, FASYNC } from '../../../linux/abi/fcntl.ts';
import {
  CLONE_NEWCGROUP,
  CLONE_NEWIPC,
  CLONE_NEWNET,
  CLONE_NEWNS,
  CLONE_NEWPID,
  CLONE_NEWTIME,
  CLONE_NEWUSER,
  CLONE_NEWUTS,
} from '../../../linux/abi/sched.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { tryReadlink } from '../../../linux/syscalls/fs.ts';
import type { RestoreTask, RestoreTree } from '../../../restore/restore-tree.ts';
import type { DumpResult, FileKind, KindDump, OpenFile, RestoreContext, RestoreHome } from '../file-kind.ts';

/** Names in /proc/PID/ns, with the flag of clone(2) and the field of the ids image. */
const KINDS = [
  { name: 'pid', flag: CLONE_NEWPID, field: 'pid_ns_id' },
  { name: 'net', flag: CLONE_NEWNET, field: 'net_ns_id' },
  { name: 'ipc', flag: CLONE_NEWIPC, field: 'ipc_ns_id' },
  { name: 'uts', flag: CLONE_NEWUTS, field: 'uts_ns_id' },
  { name: 'time', flag: CLONE_NEWTIME, field: 'time_ns_id' },
  { name: 'mnt', flag: CLONE_NEWNS, field: 'mnt_ns_id' },
  { name: 'user', flag: CLONE_NEWUSER, field: 'user_ns_id' },
  { name: 'cgroup', flag: CLONE_NEWCGROUP, field: 'cgroup_ns_id' },
] as const;

const LINK = /^(pid|net|ipc|uts|time|mnt|user|cgroup):\[\d+\]$/;

/** The number of a namespace by what /proc/PID/ns shows; undefined when it is not known. */
export type NumberOfNamespace = (link: string) => number | undefined;

/** Tells a dump how namespaces are numbered; to be called before descriptors are collected. */
export function tellNamespaces(dump: Pick<KindDump, 'state'>, numberOf: NumberOfNamespace): void {
  dump.state<{ numberOf: NumberOfNamespace }>('namespaces', () => ({ numberOf }));
}

export const namespaceFile: FileKind = {
  type: FdTypes.NS,

  recognise: (file) => LINK.test(file.link),

  dump: (file, id, dump) => dumpNamespaceFile(file, id, dump),

  check: (entry, context) => (entry.nsf === undefined ? [] : checkNamespace(entry.nsf, context)),

  create([entry], home) {
    if (entry?.nsf !== undefined) createNamespaceFile(entry.nsf, home);
  },

  fown: () => undefined,
};

function dumpNamespaceFile(file: OpenFile, id: number, dump: KindDump): DumpResult {
  const { link, flags } = file;
  const kind = KINDS.find(({ name }) => link.startsWith(`${name}:`));
  const isLivedIn = dump.tasks.some(({ pid }) => tryReadlink(`/proc/${pid}/ns/${kind?.name}`) === link);
  const { numberOf } = dump.state<{ numberOf: NumberOfNamespace }>('namespaces', () => ({
    numberOf: () => undefined,
  }));
  const number = isLivedIn ? numberOf(link) : undefined;
  if (kind === undefined || number === undefined) {
    return {
      unsupported: 'no task of the tree lives in that namespace, so nothing of it is saved',
      remedy: 'let the program close the descriptor, or a task of it live there',
    };
  }
  return { type: FdTypes.NS, id, nsf: { id, ns_id: number, ns_cflag: kind.flag, flags } };
}

/** Who lives in the namespace, and the name of its kind. */
function inhabitant({ ns_id, ns_cflag }: NsFileEntry, tasks: readonly RestoreTask[]) {
  const kind = KINDS.find(({ flag }) => flag === ns_cflag);
  const task = kind === undefined ? undefined : tasks.find(({ ids }) => ids[kind.field] === ns_id);
  return kind === undefined || task === undefined ? undefined : { name: kind.name, pid: task.pid };
}

function checkNamespace(entry: NsFileEntry, { tree }: RestoreContext): CriuErrorFields[] {
  if (inhabitant(entry, tree.tasks) !== undefined) return [];
  const object = `namespace file (file ${entry.id})`;
  return [{ object, action: 'cannot be restored', why: `no task lives in namespace ${entry.ns_id} of its kind` }];
}

function createNamespaceFile(entry: NsFileEntry, home: RestoreHome): void {
  const path = pathOf(entry, home.task, home.context.tree);
  const cloexec = home.cloexec(entry.id);
  const flags = (entry.flags & ~FASYNC) | cloexec;
  home.made(entry.id, home.table.open(`open ${path}`, SYS.openat, AT_FDCWD, { text: path }, flags), cloexec !== 0);
}

/** The task itself first: it surely exists. */
function pathOf(entry: NsFileEntry, task: RestoreTask, { tasks }: RestoreTree): string {
  const { pid, name } = inhabitant(entry, [task, ...tasks]) ?? { pid: task.pid, name: 'unknown' };
  return `/proc/${pid}/ns/${name}`;
}
