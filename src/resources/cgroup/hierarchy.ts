/**
 * A hierarchy of cgroups as a folder that criu can reach, wherever the machine has it mounted, or not at all.
 *
 * It is mounted once more, without a place (man 2 fsmount), so nobody sees it and nothing has to be cleaned up. Where that
 * is not allowed, as in some containers, a mount that is there already does; --cgroup-yard names a folder with mounts.
 */
import { CriuError } from '../../base/errors.ts';
import { ERRNO, errnoName } from '../../linux/abi/errno.ts';
import { close, readFile, tryStat } from '../../linux/syscalls/fs.ts';
import { type MountOption, tryMountDetached } from '../../linux/syscalls/mount.ts';
import { parseMountinfo } from '../../proc/mountinfo.ts';
import { isVersion2 } from './properties.ts';

const NAMED = 'name=';

export class Hierarchy {
  /** Its root folder; paths of cgroups begin with a slash and are added to it. */
  readonly root: string;
  readonly #fd: number | undefined;

  /** `controllers` as /proc/PID/cgroup has them; [''] is version 2. Throws CriuError. */
  constructor(controllers: readonly string[], yard: string | undefined) {
    if (yard !== undefined) {
      this.root = `${yard}/${folderName(controllers)}`;
      const there = tryStat(this.root);
      if (typeof there !== 'number') return;
      throw new CriuError({
        object: describeHierarchy(controllers),
        action: `is not in the cgroup yard (${this.root}: ${errnoName(-there)})`,
        remedy: 'mount it there, or leave out --cgroup-yard',
      });
    }
    const fd = tryMount(controllers);
    if (fd >= 0) {
      this.#fd = fd;
      this.root = `/proc/self/fd/${fd}`;
      return;
    }
    const mounted = findMount(controllers);
    if (mounted === undefined) throw cannotMount(controllers, fd);
    this.root = mounted;
  }

  [Symbol.dispose](): void {
    if (this.#fd !== undefined) close(this.#fd);
  }
}

/** "cgroup hierarchy cpu,cpuacct", for messages. */
export function describeHierarchy(controllers: readonly string[]): string {
  return isVersion2(controllers) ? 'the cgroup hierarchy of version 2' : `cgroup hierarchy ${controllers.join(',')}`;
}

/**
 * A hierarchy whose last mount has just gone is still listed in /proc/PID/cgroup while it dies, and for that moment the
 * kernel says EBUSY (kernel/cgroup/cgroup-v1.c cgroup1_get_tree(): it has the call begun again, which fsconfig(2) can't).
 */
function tryMount(controllers: readonly string[]): number {
  for (let tries = 0; ; tries++) {
    const fd = tryMountDetached(isVersion2(controllers) ? 'cgroup2' : 'cgroup', mountOptions(controllers));
    if (fd !== -ERRNO.EBUSY || tries === DYING_TRIES) return fd;
    Bun.sleepSync(DYING_MS);
  }
}

const DYING_TRIES = 50;
const DYING_MS = 10;

/** Name of the folder in a yard. */
function folderName(controllers: readonly string[]): string {
  if (isVersion2(controllers)) return 'unified';
  return controllers.map((name) => (name.startsWith(NAMED) ? name.slice(NAMED.length) : name)).join(',');
}

/** A hierarchy that has a name only is made by its first mount, which has to say that it wants no controllers. */
function mountOptions(controllers: readonly string[]): MountOption[] {
  const options = controllers
    .filter((name) => name !== '')
    .map((name) => (name.startsWith(NAMED) ? (['name', name.slice(NAMED.length)] as const) : name));
  return controllers.every((name) => name.startsWith(NAMED)) ? ['none', ...options] : options;
}

/** Where the whole hierarchy is mounted already. */
function findMount(controllers: readonly string[]): string | undefined {
  const mounts = parseMountinfo(readFile('/proc/self/mountinfo'));
  const found = mounts.find(({ fsType, root, superOptions }) => {
    if (root !== '/') return false;
    if (isVersion2(controllers)) return fsType === 'cgroup2';
    const options = superOptions.split(',');
    return fsType === 'cgroup' && controllers.every((name) => options.includes(name));
  });
  return found?.mountPoint;
}

function cannotMount(controllers: readonly string[], result: number): CriuError {
  const isNamed = controllers.some((name) => name.startsWith(NAMED));
  return new CriuError({
    object: describeHierarchy(controllers),
    action: `cannot be opened (fsmount: ${errnoName(-result)})`,
    why: isNamed
      ? 'criu may not mount it, and it is not mounted anywhere'
      : 'criu may not mount it, or this machine has its controllers in other hierarchies',
    remedy: 'name a folder with mounts by --cgroup-yard, or leave cgroups alone with --manage-cgroups=ignore',
    crErrno: -result,
  });
}
