/** Mounted file systems by device number, as anchors for file handles. */
import { ERRNO } from '../../../linux/abi/errno.ts';
import { O_DIRECTORY, O_NONBLOCK, O_PATH, O_RDONLY } from '../../../linux/abi/fcntl.ts';
import { tryOpenByHandle } from '../../../linux/syscalls/file-handle.ts';
import { close, readFile, tryOpen } from '../../../linux/syscalls/fs.ts';
import { parseFdinfo } from '../../../proc/fdinfo.ts';
import type { FileHandle } from '../../../proc/fdinfo-types.ts';
import { type Mount, parseMountinfo } from '../../../proc/mountinfo.ts';

/** Device number as the kernel keeps it: minor in the low 20 bits. */
export const deviceOf = ({ device: { major, minor } }: Mount) => major * 2 ** 20 + minor;

/** Opens files by handle, on all mounts of their file system that can be reached. */
export class MountAnchors {
  readonly mounts: readonly Mount[];
  readonly #prefix: string;
  /** Descriptors of mount points; −1 where there is none. */
  readonly #fds = new Map<number, number>();

  /** `pid` may be 'self'; `prefix` makes a path of that process one of ours. */
  constructor(pid: number | 'self', prefix = '') {
    const path = `/proc/${pid}/mountinfo`;
    this.mounts = parseMountinfo(readFile(path), path);
    this.#prefix = prefix;
  }

  /** Opens with O_PATH, on each mount where that works. The caller closes the descriptors, those of all that it takes. */
  *open(device: number, { type, bytes }: FileHandle): Generator<{ fd: number; mount: Mount }> {
    for (const mount of this.mounts) {
      const anchor = deviceOf(mount) === device ? this.#anchor(mount) : -1;
      const fd = anchor < 0 ? anchor : tryOpenByHandle(anchor, type, bytes, O_PATH);
      if (fd >= 0) yield { fd, mount };
    }
  }

  /** The mount point of a mount, unless something else is mounted over it. */
  #anchor(mount: Mount): number {
    const known = this.#fds.get(mount.id);
    if (known !== undefined) return known;
    let fd = tryOpen(this.#prefix + mount.mountPoint, O_RDONLY | O_DIRECTORY | O_NONBLOCK);
    if (fd >= 0 && parseFdinfo(readFile(`/proc/self/fdinfo/${fd}`)).mntId !== mount.id) {
      close(fd);
      fd = -ERRNO.ENOENT;
    }
    this.#fds.set(mount.id, fd);
    return fd;
  }

  [Symbol.dispose](): void {
    for (const fd of this.#fds.values()) if (fd >= 0) close(fd);
    this.#fds.clear();
  }
}
