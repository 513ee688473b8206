/**
 * The name of a UNIX socket (man 7 unix): none, abstract, or a path. A path may be gone, or be relative to a directory
 * that the image names.
 */

import { byteString, bytesOf } from '../../../base/bytes.ts';
import type { FilePermsEntry, UnixSkEntry } from '../../../image/gen/sk-unix.ts';
import { ERRNO, errnoName } from '../../../linux/abi/errno.ts';
import { AF_UNIX } from '../../../linux/abi/socket.ts';
import { close, fstat, ioctl, type Stat, tryReadlink, tryStat } from '../../../linux/syscalls/fs.ts';

import type { Unsupported } from '../file-kind.ts';

/** Opens the file of a bound socket with O_PATH (linux/un.h). */
const SIOCUNIXFILE = 0x89e0;
const DELETED = ' (deleted)';
/** sun_path of struct sockaddr_un. */
export const UNIX_PATH_MAX = 108;

/** What the image has about a path. */
export type NameFields = Pick<UnixSkEntry, 'file_perms' | 'name_dir' | 'deleted' | 'moved_ext'>;

export const isPath = (name: Uint8Array): boolean => name.length > 0 && name[0] !== 0;

/** The path in `name`, without the NUL that is mostly at its end. */
export function pathText(name: Uint8Array): string {
  const end = name.indexOf(0);
  return byteString(end < 0 ? name : name.subarray(0, end));
}

/** The name for people: as ss and /proc/net/unix show it. */
export function showName(name: Uint8Array): string {
  if (name.length === 0) return 'no name';
  return isPath(name) ? pathText(name) : byteString(name).replaceAll('\0', '@');
}

/** The path from the root directory. */
export function fullPath({ name, name_dir }: Pick<UnixSkEntry, 'name' | 'name_dir'>): string {
  const path = pathText(name);
  if (path.startsWith('/')) return path;
  return `${name_dir === '/' ? '' : (name_dir ?? '')}/${path}`;
}

/** The path that the file of a socket was renamed to; undefined when it has its name. */
export function movedPath({ moved_ext }: Pick<UnixSkEntry, 'moved_ext'>): string | undefined {
  return moved_ext === undefined ? undefined : byteString(moved_ext);
}

/** struct sockaddr_un. */
export function socketAddress(name: Uint8Array): Uint8Array {
  const address = new Uint8Array(2 + name.length);
  new DataView(address.buffer).setUint16(0, AF_UNIX, true);
  address.set(name, 2);
  return address;
}

/**
 * Looks at the file of a socket with a path; `mustBeThere`: a name that exists must lead to it, as seen from here.
 * Throws SyscallError.
 */
export function readNameFile(localFd: number, name: Uint8Array, mustBeThere: boolean): NameFields | Unsupported {
  const fd = ioctl(localFd, SIOCUNIXFILE);
  if (fd < 0) {
    return {
      unsupported: `the file of its name ${pathText(name)} cannot be opened (${errnoName(-fd)})`,
      ...(fd === -ERRNO.EPERM ? { remedy: 'run criu with CAP_NET_ADMIN' } : {}),
    };
  }
  try {
    const stat = fstat(fd);
    const link = tryReadlink(`/proc/self/fd/${fd}`);
    if (typeof link === 'number') return { unsupported: `the path of its name cannot be read (${errnoName(-link)})` };
    const isDeleted = link.endsWith(DELETED);
    const path = isDeleted ? link.slice(0, -DELETED.length) : link;
    const file_perms: FilePermsEntry = { mode: stat.st_mode, uid: stat.st_uid, gid: stat.st_gid };
    const text = pathText(name);
    const fields: NameFields = isDeleted ? { file_perms, deleted: true } : { file_perms };
    if (!text.startsWith('/')) {
      const isThere = path.endsWith(`/${text}`);
      fields.name_dir = (isThere ? path.slice(0, -text.length - 1) : path.slice(0, path.lastIndexOf('/'))) || '/';
      if (!isThere && !isDeleted) fields.moved_ext = bytesOf(path);
    } else if (!isDeleted && mustBeThere) {
      const there = tryStat(text);
      const isThere = typeof there !== 'number' && there.st_ino === stat.st_ino && there.st_dev === stat.st_dev;
      // As criu sees it, the file may be nowhere.
      if (!isThere && !isSame(path, stat)) {
        return { unsupported: `its name ${text} does not lead to it as criu sees it; its file is ${path}` };
      }
      if (!isThere) fields.moved_ext = bytesOf(path);
    }
    return fields;
  } finally {
    close(fd);
  }
}

function isSame(path: string, { st_ino, st_dev }: Stat): boolean {
  const there = tryStat(path);
  return typeof there !== 'number' && there.st_ino === st_ino && there.st_dev === st_dev;
}
