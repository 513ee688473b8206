/** What can be refused is refused here, all of it at once, before a process exists. */
import { type CriuErrorFields, CriuErrors } from '../base/errors.ts';
import type { TaskKobjIdsEntry } from '../image/gen/core.ts';
import type { ImageDir } from '../image/image-dir.ts';
import { findImageProblems } from '../image/validate.ts';
import { ERRNO } from '../linux/abi/errno.ts';
import { SIGKILL } from '../linux/abi/signal.ts';
import { tryReadFile } from '../linux/syscalls/fs.ts';
import { parseStat } from '../proc/stat.ts';
import { parseStatus, type Status } from '../proc/status.ts';
import { checkRings } from '../resources/fd/ring-mappings.ts';
import { whichExist } from '../tracee/many-threads.ts';
import type { RestoreMember, RestoreTree } from './restore-tree.ts';

/** Throws CriuErrors: images that contradict each other, pids that somebody has. */
export function checkTree(tree: RestoreTree, images: ImageDir): void {
  const problems = findImageProblems(tree, {
    hasParent: images.openParent() !== undefined,
    pagesBytes: (id) => images.fileSize('pages', id),
  });
  problems.push(...tree.tasks.flatMap(checkRings), ...findForeignNamespaces(tree));
  if (problems.length > 0) throw new CriuErrors('the images cannot be restored', problems);
  const taken = waitForPids(tree);
  if (taken.length > 0) throw new CriuErrors('the process tree cannot be restored', taken);
}

const NAMESPACES = {
  pid_ns_id: 'pid',
  ipc_ns_id: 'ipc',
  uts_ns_id: 'uts',
  mnt_ns_id: 'mnt',
  user_ns_id: 'user',
} as const satisfies Partial<Record<keyof TaskKobjIdsEntry, string>>;

/**
 * Tasks that were in another namespace than the criu that dumped them, as those of containers are, or not all in the same
 * network namespace.
 */
export function findForeignNamespaces({
  inventory,
  root,
  tasks,
}: Pick<RestoreTree, 'inventory' | 'root' | 'tasks'>): CriuErrorFields[] {
  const own = inventory.root_ids;
  if (own === undefined) return [];
  return tasks.flatMap(({ ids, label }) => {
    if (ids.net_ns_id !== root.ids.net_ns_id) {
      const action = 'cannot be restored: it was in another network namespace than the root of the tree';
      const why = 'several network namespaces in a tree are not supported yet by this criu';
      return [{ object: label, action, why }];
    }
    const isForeign = (key: keyof typeof NAMESPACES) => own[key] !== undefined && (ids[key] ?? own[key]) !== own[key];
    const kinds = (Object.keys(NAMESPACES) as (keyof typeof NAMESPACES)[])
      .filter(isForeign)
      .map((key) => NAMESPACES[key]);
    if (kinds.length === 0) return [];
    const action = `cannot be restored: it was in a namespace of its own (${kinds.join(', ')})`;
    return [{ object: label, action, why: 'only network, time and cgroup namespaces are supported yet by this criu' }];
  });
}

/** How long somebody who has been killed may take to be gone. */
const DYING_MS = 500;
const PAUSE_MS = 5;

/** Who has a pid of the tree; those who are just dying, a tree that was killed a moment ago, are waited for. */
function waitForPids(tree: RestoreTree): CriuErrorFields[] {
  for (let waitedMs = 0; ; waitedMs += PAUSE_MS) {
    const taken = takenPids(tree);
    if (waitedMs >= DYING_MS || !taken.some(({ isDying }) => isDying)) return taken.map(({ problem }) => problem);
    Bun.sleepSync(PAUSE_MS);
  }
}

interface TakenPid {
  readonly problem: CriuErrorFields;
  readonly isDying: boolean;
}

/** Every pid and tid of the tree that is in use, and by whom. */
function takenPids(tree: RestoreTree): TakenPid[] {
  const tidsOf = (member: RestoreMember) =>
    member.kind === 'task' ? member.threads.map(({ tid }) => tid) : [member.pid];
  const existing = whichExist(tree.members.flatMap(tidsOf));
  if (existing.size === 0) return [];
  return tree.members.flatMap((member) => {
    const tids = tidsOf(member).filter((tid) => existing.has(tid));
    return tids.flatMap((tid) => {
      const path = `/proc/${tid}/status`;
      const text = tryReadFile(path);
      if (typeof text === 'number') return [];
      const status = parseStatus(text, path);
      const { name, tgid, state } = status;
      const isDead = state.startsWith('Z') ? ', a zombie that its parent has not waited for' : '';
      const who = tgid === tid ? `process ${tid} '${name}'${isDead}` : `a thread of process ${tgid} '${name}'`;
      const problem = {
        object: member.label,
        action: `pid ${tid} is in use by ${who}`,
        remedy: 'end that process, or restore in a new pid namespace',
        crErrno: ERRNO.EEXIST,
      };
      return [{ problem, isDying: isDying(tid, status) }];
    });
  });
}

/** Dead, on its way out, or about to notice that it has been killed. */
function isDying(tid: number, { state, sigPnd, shdPnd }: Status): boolean {
  if (state.startsWith('Z') || state.startsWith('X')) return true;
  if (((sigPnd | shdPnd) & KILLED) !== 0n) return true;
  const text = tryReadFile(`/proc/${tid}/stat`);
  return typeof text === 'number' || (parseStat(text).flags & PF_EXITING) !== 0;
}

const KILLED = 1n << BigInt(SIGKILL - 1);
/** In `flags` of /proc/PID/stat (include/linux/sched.h). */
const PF_EXITING = 0x4;
