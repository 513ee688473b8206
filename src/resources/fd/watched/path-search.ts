/**
 * Finding the path of an inode by walking folders: for file systems without handles. Folders named by the user come
 * first (--irmap-scan-path), then those where programs usually watch (the same ones that CRIU knows: irmap.c).
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

/** An index of paths by inode that grows as far as needed; symbolic links are not followed. */
export class PathSearch {
  readonly #paths = new Map<string, string>();
  readonly #walk: Generator<undefined>;
  readonly #folders: Folders;

  /** `prefix` makes a path of the tree one of ours. */
  constructor(scanPaths: readonly string[], prefix = '', folders: Folders = FOLDERS) {
    this.#folders = folders;
    this.#walk = this.#walkAll(scanPaths, prefix);
  }

  /** The path of an inode by device number, as the kernel keeps it, and number; undefined when it is not found. */
  find(device: number, ino: bigint): string | undefined {
    const key = `${device}:${ino}`;
    for (;;) {
      const known = this.#paths.get(key);
      if (known !== undefined) return known;
      if (this.#walk.next().done === true) return this.#paths.get(key);
    }
  }

  *#walkAll(scanPaths: readonly string[], prefix: string): Generator<undefined> {
    for (const path of [...scanPaths, ...USUAL]) yield* this.#walkFolder(prefix, path);
    this.#add(prefix, '/');
  }

  /** Stops after each path. */
  *#walkFolder(prefix: string, path: string): Generator<undefined> {
    const pending = [path];
    for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
      const isFolder = this.#add(prefix, next);
      yield;
      if (!isFolder) continue;
      const names = this.#folders.list(prefix + next);
      const folder = next === '/' ? '' : next;
      if (typeof names !== 'number') pending.push(...names.map((name) => `${folder}/${name}`).reverse());
    }
  }

  /** Notes a path; says whether it is a folder. */
  #add(prefix: string, path: string): boolean {
    const stat = this.#folders.lstat(prefix + path);
    if (typeof stat === 'number') return false;
    const key = `${kernelDevice(stat.st_dev)}:${stat.st_ino}`;
    if (!this.#paths.has(key)) this.#paths.set(key, path);
    return (stat.st_mode & S_IFMT) === S_IFDIR;
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
