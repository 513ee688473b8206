/**
 * Finding the path of an inode by walking folders: for file systems without handles. Folders named by the user come
 * first (--irmap-scan-path), then those where programs usually watch (the same ones that CRIU knows: irmap.c), then all
 * of the file system.
 */
import { O_DIRECTORY, O_NOFOLLOW, O_PATH, S_IFDIR, S_IFMT } from '../../../linux/abi/fcntl.ts';
import { close, kernelDevice, type Stat, tryListDirectory, tryLstat, tryOpen } from '../../../linux/syscalls/fs.ts';

/** Where programs watch, and the root folder itself (without what is in it). */
const USUAL = [
  '/etc',
  '/var/spool',
  '/var/log',
  '/usr/share/dbus-1/services',
  '/usr/share/dbus-1/system-services',
  '/var/lib/polkit-1/localauthority',
  '/usr/share/polkit-1/actions',
  '/lib/udev',
];

/** What a walk needs of the file system; injected for tests. */
export interface Folders {
  lstat(path: string): Stat | number;
  list(path: string): string[] | number;
}

const FOLDERS: Folders = { lstat: tryLstat, list: listQuietly };

/** An inode to be found. */
export interface WantedInode {
  /** Device number as the kernel keeps it. */
  readonly device: number;
  readonly ino: bigint;
  /** Where its file system is mounted. */
  readonly mountPoints: readonly string[];
  /** Whether a path that shows another device is the inode all the same (overlayfs, btrfs). */
  isAt(path: string): boolean;
}

/** The most paths that are looked at on the mounts of a file system. */
const PATHS_MAX = 1_000_000;

/** An index of paths by inode that grows as far as needed; symbolic links are not followed. */
export class PathSearch {
  readonly #paths = new Map<number, { path: string; device: number }[]>();
  readonly #usual: Generator<undefined>;
  readonly #mounts = new Map<number, Generator<undefined>>();
  readonly #prefix: string;
  readonly #folders: Folders;

  /** `prefix` makes a path of the tree one of ours. */
  constructor(scanPaths: readonly string[], prefix = '', folders: Folders = FOLDERS) {
    this.#prefix = prefix;
    this.#folders = folders;
    this.#usual = this.#walkAll(scanPaths);
  }

  /** The path of an inode: in the usual folders, or else anywhere on its mounts. Undefined when it is not found. */
  find(wanted: WantedInode): string | undefined {
    const { device, mountPoints } = wanted;
    const onMounts = this.#mounts.get(device) ?? this.#walkMounts(device, mountPoints);
    this.#mounts.set(device, onMounts);
    const refused = new Set<string>();
    for (const walk of [this.#usual, onMounts]) {
      for (let isDone = false; ; ) {
        const path = this.#lookUp(wanted, refused);
        if (path !== undefined) return path;
        if (isDone) break;
        isDone = walk.next().done === true;
      }
    }
    return undefined;
  }

  #lookUp({ device, ino, isAt }: WantedInode, refused: Set<string>): string | undefined {
    for (const known of this.#paths.get(Number(ino)) ?? []) {
      if (known.device === device) return known.path;
      if (refused.has(known.path)) continue;
      if (isAt(this.#prefix + known.path)) return known.path;
      refused.add(known.path);
    }
    return undefined;
  }

  *#walkAll(scanPaths: readonly string[]): Generator<undefined> {
    for (const path of [...scanPaths, ...USUAL]) yield* this.#walkFolder(path, undefined);
    this.#add('/');
  }

  *#walkMounts(device: number, mountPoints: readonly string[]): Generator<undefined> {
    for (const path of mountPoints) yield* this.#walkFolder(path, device);
  }

  /** Stops after each path. Stays on the device, when one is given; folders always show that of their file system. */
  *#walkFolder(path: string, device: number | undefined): Generator<undefined> {
    const pending = [path];
    let count = 0;
    for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
      const folderDevice = this.#add(next);
      yield;
      if (folderDevice === undefined || (device !== undefined && device !== folderDevice)) continue;
      const names = this.#folders.list(this.#prefix + next);
      const folder = next === '/' ? '' : next;
      if (typeof names === 'number') continue;
      pending.push(...names.map((name) => `${folder}/${name}`).reverse());
      count += names.length;
      if (device !== undefined && count > PATHS_MAX) return;
    }
  }

  /** Notes a path; returns its device when it is a folder. */
  #add(path: string): number | undefined {
    const stat = this.#folders.lstat(this.#prefix + path);
    if (typeof stat === 'number') return undefined;
    const device = kernelDevice(stat.st_dev);
    const known = this.#paths.get(stat.st_ino);
    if (known === undefined) this.#paths.set(stat.st_ino, [{ path, device }]);
    else if (known.every((other) => other.path !== path)) known.push({ path, device });
    return (stat.st_mode & S_IFMT) === S_IFDIR ? device : undefined;
  }
}

/** Names in a folder that is not a symbolic link. */
function listQuietly(path: string): string[] | number {
  const fd = tryOpen(path, O_PATH | O_DIRECTORY | O_NOFOLLOW);
  if (fd < 0) return fd;
  const names = tryListDirectory(`/proc/self/fd/${fd}`);
  close(fd);
  return names;
}
