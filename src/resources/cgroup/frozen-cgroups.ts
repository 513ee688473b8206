/**
 * Cgroups that are frozen: a task that enters one stands still, and cannot be built any more. Version 1 has freezer.state
 * (Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst), version 2 cgroup.freeze (Linux 5.2).
 */
import { O_WRONLY } from '../../linux/abi/fcntl.ts';
import { tryListDirectory, tryReadFile, tryWriteFile } from '../../linux/syscalls/fs.ts';
import { isVersion2 } from './properties.ts';

/** A cgroup that is frozen by itself, not by one above it. */
export interface FrozenCgroup {
  readonly path: string;
  readonly folder: string;
  readonly file: string;
  readonly frozen: string;
  readonly thawed: string;
}

const VERSION_1 = { file: 'freezer.state', state: 'freezer.self_freezing', frozen: 'FROZEN', thawed: 'THAWED' };
const VERSION_2 = { file: 'cgroup.freeze', state: 'cgroup.freeze', frozen: '1', thawed: '0' };

/** Those of a cgroup and all above it that are frozen, in the hierarchy with its root in folder `root`. */
export function findFrozen(root: string, controllers: readonly string[], path: string): FrozenCgroup[] {
  if (!isVersion2(controllers) && !controllers.includes('freezer')) return [];
  const { file, state, frozen, thawed } = isVersion2(controllers) ? VERSION_2 : VERSION_1;
  const found: FrozenCgroup[] = [];
  for (let at = path; at !== '/' && at !== ''; at = at.slice(0, at.lastIndexOf('/'))) {
    const folder = root + at;
    const text = tryReadFile(`${folder}/${state}`);
    if (typeof text === 'string' && text.trim() === '1') found.push({ path: at, folder, file, frozen, thawed });
  }
  return found;
}

/** Returns 0 or −errno. */
export function trySetFrozen({ folder, file, frozen, thawed }: FrozenCgroup, isFrozen: boolean): number {
  return tryWriteFile(`${folder}/${file}`, isFrozen ? frozen : thawed, O_WRONLY);
}

/** Whether a process is in a cgroup or below it. One of version 2 that is threaded lists its processes above. */
export function hasMembers(folder: string): boolean {
  const members = tryReadFile(`${folder}/cgroup.procs`);
  if (typeof members === 'string' && members !== '') return true;
  const names = tryListDirectory(folder);
  if (typeof names === 'number') return false;
  // Only folders have such a file in them.
  return names.some(
    (name) => typeof tryReadFile(`${folder}/${name}/cgroup.procs`) === 'string' && hasMembers(`${folder}/${name}`),
  );
}
