/** Ghosts: the content and attributes of files that have no name any more, one image for each. */

import type { GhostFileEntry, GhostXattrExt } from '../../../image/gen/ghost-file.ts';
import type { GhostFile } from '../../../image/image-kinds.ts';
import { ERRNO, errnoName } from '../../../linux/abi/errno.ts';
import {
  O_NOATIME,
  O_RDONLY,
  S_IFBLK,
  S_IFCHR,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  SEEK_DATA,
  SEEK_HOLE,
} from '../../../linux/abi/fcntl.ts';
import { close, kernelDevice, type Stat, tryOpen } from '../../../linux/syscalls/fs.ts';
import { tryLseek, tryPread, tryReadlinkFd } from '../../../linux/syscalls/names.ts';
import { tryGetXattr, tryListXattrs } from '../../../linux/syscalls/xattr.ts';
import type { KindDump, OpenFile, Unsupported } from '../file-kind.ts';

/** From this size on content is saved in chunks, without holes (as CRIU does: files-reg.c, 4.2). */
const CHUNKS_FROM_BYTES = 3 * 4096;
/** Unit of st_blocks (man 3type stat). */
const BLOCK_BYTES = 512;

/** Attributes that belong to the file; others are of a file system or of a security module. */
const KEPT_XATTRS = /^(user\.|trusted\.|system\.posix_acl_|security\.capability$)/;
const OVERLAYFS_XATTRS = /^(trusted|user)\.overlay\./;

/** Saves the content once per inode; returns the number of the ghost image. */
export function dumpGhost(file: OpenFile, dump: KindDump): number | Unsupported {
  const { stat } = file;
  const ghosts = dump.state('ghosts', () => new Map<string, number>());
  const key = `${stat.st_dev}:${stat.st_ino}`;
  const known = ghosts.get(key);
  if (known !== undefined) return known;
  const bytes = stat.st_blocks * BLOCK_BYTES;
  const { ghostLimitBytes } = dump.options;
  if (bytes > ghostLimitBytes) {
    return {
      unsupported: `it was deleted and its ${bytes} bytes are above the limit of ${ghostLimitBytes} for keeping such files`,
      remedy: `raise the limit with --ghost-limit ${bytes}`,
    };
  }
  const id = ghosts.size + 1;
  const image = readGhost(file);
  if ('unsupported' in image) return image;
  ghosts.set(key, id);
  dump.addImage((images) => images.write('ghost-file', id, image));
  return id;
}

function readGhost(file: OpenFile): GhostFile | Unsupported {
  const xattrs_ext = readXattrs(file);
  if (!Array.isArray(xattrs_ext)) return xattrs_ext;
  const message = { ...describeGhost(file.stat), xattrs_ext };
  const type = file.stat.st_mode & S_IFMT;
  if (type === S_IFLNK) {
    const target = tryReadlinkFd(file.localFd);
    if (typeof target === 'number') return { unsupported: `its target cannot be read (${errnoName(-target)})` };
    return { message: { ...message, symlnk_target: target } };
  }
  if (type !== S_IFREG) return { message };
  const fd = openQuietly(`/proc/self/fd/${file.localFd}`);
  if (fd < 0) return { unsupported: `it was deleted and its content cannot be read (${errnoName(-fd)})` };
  try {
    if (message.chunks !== true) return { message, payload: readRange(fd, 0, file.stat.st_size) };
    const chunks = dataRanges(fd, file.stat.st_size).map(({ off, len }) => {
      const payload = readRange(fd, off, len);
      return { message: { off, len: payload.length }, payload };
    });
    return { message, chunks };
  } finally {
    close(fd);
  }
}

/** Symbolic links have none that programs could set. */
function readXattrs({ stat, localFd }: OpenFile): GhostXattrExt[] | Unsupported {
  if ((stat.st_mode & S_IFMT) === S_IFLNK) return [];
  const path = `/proc/self/fd/${localFd}`;
  const names = tryListXattrs(path);
  if (names === -ERRNO.EOPNOTSUPP) return [];
  if (typeof names === 'number') return { unsupported: `its attributes cannot be listed (${errnoName(-names)})` };
  const attributes: GhostXattrExt[] = [];
  for (const name of names) {
    if (!KEPT_XATTRS.test(name) || OVERLAYFS_XATTRS.test(name)) continue;
    const value = tryGetXattr(path, name);
    if (typeof value === 'number')
      return { unsupported: `its attribute ${name} cannot be read (${errnoName(-value)})` };
    attributes.push({ name, value });
  }
  return attributes;
}

/** Reading shall not change the access time that is saved. */
function openQuietly(path: string): number {
  const fd = tryOpen(path, O_RDONLY | O_NOATIME);
  return fd === -ERRNO.EPERM ? tryOpen(path, O_RDONLY) : fd;
}

/** The entry for a ghost with these attributes. */
function describeGhost(stat: Stat): GhostFileEntry {
  const type = stat.st_mode & S_IFMT;
  const timeval = ({ sec, nsec }: { sec: number; nsec: number }) => ({
    tv_sec: BigInt(sec),
    tv_usec: Math.floor(nsec / 1000),
  });
  const entry: GhostFileEntry = {
    uid: stat.st_uid,
    gid: stat.st_gid,
    mode: stat.st_mode,
    dev: kernelDevice(stat.st_dev),
    ino: BigInt(stat.st_ino),
    xattrs_ext: [],
    atim: timeval(stat.st_atime),
    mtim: timeval(stat.st_mtime),
  };
  if (type === S_IFCHR || type === S_IFBLK) entry.rdev = stat.st_rdev;
  if (type === S_IFREG && stat.st_size >= CHUNKS_FROM_BYTES) {
    entry.chunks = true;
    entry.size = stat.st_size;
  }
  return entry;
}

/** The parts of a file that are not holes (man 2 lseek, "Seeking file data and holes"). */
function dataRanges(fd: number, size: number): { off: number; len: number }[] {
  const ranges: { off: number; len: number }[] = [];
  for (let end = 0; end < size; ) {
    const start = tryLseek(fd, end, SEEK_DATA);
    // ENXIO: there is only a hole from here on. Any other failure: the file system knows nothing of holes.
    if (start < 0) return start === -ERRNO.ENXIO || ranges.length > 0 ? ranges : [{ off: 0, len: size }];
    const hole = tryLseek(fd, start, SEEK_HOLE);
    end = hole < 0 ? size : Math.min(hole, size);
    if (end > start) ranges.push({ off: start, len: end - start });
    else break;
  }
  return ranges;
}

function readRange(fd: number, offset: number, bytes: number): Uint8Array {
  const buffer = new Uint8Array(bytes);
  let filled = 0;
  while (filled < bytes) {
    const got = tryPread(fd, buffer.subarray(filled), offset + filled);
    if (got <= 0) break;
    filled += got;
  }
  return buffer.subarray(0, filled);
}
