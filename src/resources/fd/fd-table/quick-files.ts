/**
 * Files of which a duplicate tells all that /proc/PID/fdinfo does, in a sixth of the time: pipes and sockets, which have no
 * position, and regular files of file systems where lseek(2) tells the position and does nothing else. Whoever holds file
 * locks is left to fdinfo.
 */
import { O_PATH, S_IFIFO, S_IFMT, S_IFREG, S_IFSOCK } from '../../../linux/abi/fcntl.ts';
import { BTRFS_SUPER_MAGIC, RAMFS_MAGIC, TMPFS_MAGIC } from '../../../linux/abi/statfs.ts';
import { fstatfsType, major, readProc, type Stat } from '../../../linux/syscalls/fs.ts';
import { isInFirstPidNamespace } from '../../task/pid-namespace.ts';

/** Without a block device, and no interface of the kernel: there a seek may make the text of a file again. */
const DISKLESS: readonly number[] = [TMPFS_MAGIC, RAMFS_MAGIC, BTRFS_SUPER_MAGIC];

/** A line of /proc/locks from the inode on; man 5 proc_locks. */
const LOCK_INODE = /:(\d+) \d+ (?:\d+|EOF)$/gm;

export class QuickFiles {
  readonly #locked: ReadonlySet<number>;
  /** Whether a file system can be trusted, by its device. */
  readonly #devices = new Map<number, boolean>();

  /** `locks`: the text of /proc/locks. */
  constructor(locks: string) {
    this.#locked = new Set([...locks.matchAll(LOCK_INODE)].map(([, inode]) => Number(inode)));
  }

  /**
   * Undefined when the locks are not known: in another pid namespace than the first, those of processes that have ended
   * are left out (fs/locks.c locks_translate_pid()).
   */
  static tryRead(): QuickFiles | undefined {
    return isInFirstPidNamespace() ? new QuickFiles(readProc('/proc/locks')) : undefined;
  }

  /** Whether a file is one of them; `flags` are those of F_GETFL. */
  has({ st_mode, st_ino, st_dev }: Stat, flags: number, localFd: number): boolean {
    if ((flags & O_PATH) !== 0 || this.#locked.has(st_ino)) return false;
    const type = st_mode & S_IFMT;
    return type === S_IFIFO || type === S_IFSOCK || (type === S_IFREG && this.#isTrusted(st_dev, localFd));
  }

  #isTrusted(device: number, localFd: number): boolean {
    let isTrusted = this.#devices.get(device);
    if (isTrusted === undefined) {
      isTrusted = major(device) !== 0 || DISKLESS.includes(fstatfsType(localFd));
      this.#devices.set(device, isTrusted);
    }
    return isTrusted;
  }
}
