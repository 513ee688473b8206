/**
 * The name under which a file goes into the image, and what has to be done when it has none any more:
 *
 * - ghost: no name is left (st_nlink is 0). The content is saved, up to --ghost-limit.
 * - linked: other names exist, but the one it was opened by is gone. With --link-remap a hard link
 *   `link_remap.N` is made beside it, which is removed again at restore.
 *
 * In /proc the kernel marks such names with " (deleted)" (fs/d_path.c), but a file can also be called so.
 */
import { FdTypes } from '../../../image/gen/fdinfo.ts';
import { RemapType } from '../../../image/gen/remap-file-path.ts';
import { ERRNO, errnoName } from '../../../linux/abi/errno.ts';
import { S_IFBLK, S_IFCHR, S_IFDIR, S_IFLNK, S_IFMT, S_IFSOCK } from '../../../linux/abi/fcntl.ts';
import {
  DEVPTS_SUPER_MAGIC,
  MQUEUE_MAGIC,
  NFS_SUPER_MAGIC,
  OVERLAYFS_SUPER_MAGIC,
  PROC_SUPER_MAGIC,
  SECRETMEM_MAGIC,
} from '../../../linux/abi/statfs.ts';
import { type Stat, tryLstat, tryStat } from '../../../linux/syscalls/fs.ts';
import { tryLinkFd } from '../../../linux/syscalls/names.ts';
import { NO_OWNER } from '../fd-table/open-file.ts';
import type { KindDump, OpenFile, Unsupported } from '../file-kind.ts';
import { dumpGhost } from './ghost-dump.ts';
import { HIDDEN_MOUNT, isOnHiddenMount } from './hidden-mount.ts';
import { removeLinkRemap } from './link-remap.ts';

const DELETED = ' (deleted)';

/** File systems of the kernel's own, whose files have no name that could be opened. */
const WITHOUT_NAMES: ReadonlyMap<number, Unsupported> = new Map([
  [SECRETMEM_MAGIC, { unsupported: 'nobody but the program can read secret memory (man 2 memfd_secret)' }],
  [
    MQUEUE_MAGIC,
    {
      unsupported: 'a POSIX message queue that is not opened by a path cannot be opened again',
      remedy: 'mount the queues (mount -t mqueue none /dev/mqueue) and have the program open it there',
    },
  ],
]);

/** The name for the entry of file `id`, or why the file cannot be dumped. Adds a remap where one is needed. */
export function nameForImage(file: OpenFile, id: number, dump: KindDump): string | Unsupported {
  const { link, stat } = file;
  if (!link.startsWith('/')) return { unsupported: `its path "${link}" cannot be reached from the root directory` };
  if (link === '/' && isOnHiddenMount(file, dump)) return HIDDEN_MOUNT;
  const isLink = (stat.st_mode & S_IFMT) === S_IFLNK;
  const prefix = dump.options.pathPrefix?.(file.task) ?? '';
  const known = dump.state('verified names', () => new Map<string, Stat>());
  const before = stat.st_nlink === 0 ? undefined : known.get(prefix + link);
  if (before !== undefined && isSame(before, stat)) return link;
  const found = stat.st_nlink === 0 ? -ERRNO.ENOENT : (isLink ? tryLstat : tryStat)(prefix + link);
  if (typeof found === 'number') return nameOfLostFile(file, -found, id, dump);
  if (isSillyRename(file)) return remapToLink(file, link, id, dump);
  if (isSame(found, stat)) {
    known.set(prefix + link, found);
    return link;
  }
  return nameOfReplacedFile(file, found, dump);
}

const isSame = (a: Stat, b: Stat) => a.st_ino === b.st_ino && a.st_dev === b.st_dev;

/** There is nothing at the path. */
function nameOfLostFile(file: OpenFile, errno: number, id: number, dump: KindDump): string | Unsupported {
  if (errno !== ERRNO.ENOENT && errno !== ERRNO.ENOTDIR) {
    return { unsupported: `its path cannot be looked up (${errnoName(errno)})` };
  }
  const { stat, fsType } = file;
  const name = stripDeleted(file.link);
  if (stat.st_nlink > 0 && name !== file.link) {
    // Another link may have got the old name: then that is the file's name again.
    const again = tryLstat((dump.options.pathPrefix?.(file.task) ?? '') + name);
    if (typeof again === 'object' && again.st_ino === stat.st_ino && again.st_dev === stat.st_dev) return name;
  }
  if (fsType === DEVPTS_SUPER_MAGIC) return name;
  if (fsType === PROC_SUPER_MAGIC) return nameOfDeadProcess(name, id, dump);
  const hidden = WITHOUT_NAMES.get(fsType);
  if (hidden !== undefined) return hidden;
  if (stat.st_nlink > 0 && isOnHiddenMount(file, dump)) return HIDDEN_MOUNT;
  // Nobody can make hard links of a directory, so one without its name has none.
  const isGhost = stat.st_nlink === 0 || (stat.st_mode & S_IFMT) === S_IFDIR;
  return isGhost ? remapToGhost(file, name, id, dump) : remapToLink(file, name, id, dump);
}

/** A file of /proc/PID of a process that has ended: at restore a process of that pid is there for a moment. */
function nameOfDeadProcess(name: string, id: number, dump: KindDump): string | Unsupported {
  const pid = Number(/^\/proc\/([1-9]\d*)(?:\/|$)/.exec(name)?.[1]);
  if (Number.isNaN(pid)) return { unsupported: 'it is a file of /proc that exists no more' };
  const isThread = dump.tasks.some(({ threads }) => threads.some(({ tid }) => tid === pid));
  if (isThread)
    return { unsupported: `it is a file of /proc of a process ${pid} that has ended, and a thread has its pid` };
  if (dump.isFirst(`dead ${pid}`)) dump.addRemap({ orig_id: id, remap_id: pid, remap_type: RemapType.PROCFS });
  return name;
}

function stripDeleted(link: string): string {
  return link.endsWith(DELETED) ? link.slice(0, -DELETED.length) : link;
}

/** Something else is at the path. */
function nameOfReplacedFile(file: OpenFile, found: Stat, dump: KindDump): string | Unsupported {
  const type = file.stat.st_mode & S_IFMT;
  const isDevice = type === S_IFCHR || type === S_IFBLK;
  if (isDevice && dump.options.evasiveDevices && found.st_rdev === file.stat.st_rdev) return file.link;
  if (isOnHiddenMount(file, dump)) return HIDDEN_MOUNT;
  const unsupported = 'another file has its path now, or something is mounted over it';
  return isDevice && found.st_rdev === file.stat.st_rdev
    ? { unsupported, remedy: 'accept any node of the same device with --evasive-devices' }
    : { unsupported, remedy: 'move the other file away, or unmount what hides it' };
}

/** NFS renames files that are removed while open to .nfs and 24 hexadecimal digits; the name goes when they are closed. */
function isSillyRename(file: OpenFile): boolean {
  return file.fsType === NFS_SUPER_MAGIC && /\/\.nfs[0-9a-fA-F]{24}$/.test(file.link);
}

function remapToGhost(file: OpenFile, name: string, id: number, dump: KindDump): string | Unsupported {
  const type = file.stat.st_mode & S_IFMT;
  if (type === S_IFSOCK) return { unsupported: 'it was deleted, and deleted sockets are not kept' };
  const ghost = dumpGhost(file, dump);
  if (typeof ghost !== 'number') return ghost;
  dump.addRemap({ orig_id: id, remap_id: ghost, remap_type: RemapType.GHOST });
  return name;
}

function remapToLink(file: OpenFile, name: string, id: number, dump: KindDump): string | Unsupported {
  if (!dump.options.linkRemap) {
    return {
      unsupported: 'its name was removed, while other names (hard links) of it exist',
      remedy: 'allow criu to make a hard link beside it with --link-remap',
    };
  }
  const linkId = dump.nextFileId();
  const prefix = dump.options.pathPrefix?.(file.task) ?? '';
  const linked = makeLink(file, prefix, name, linkId);
  if (typeof linked === 'number') {
    // On overlayfs a removed file of a lower layer has no inode that could be linked (fs/overlayfs/dir.c ovl_link()).
    if (linked === -ERRNO.ENOENT && file.fsType === OVERLAYFS_SUPER_MAGIC) return remapToGhost(file, name, id, dump);
    return { unsupported: `no hard link link_remap.${linkId} can be made beside it (${errnoName(-linked)})` };
  }
  dump.onRollback(() => removeLinkRemap(prefix + linked, dump));
  dump.addEntry({
    type: FdTypes.REG,
    id: linkId,
    reg: { id: linkId, flags: 0, pos: 0n, fown: NO_OWNER, name: linked, build_id: [] },
  });
  dump.addRemap({ orig_id: id, remap_id: linkId, remap_type: RemapType.LINKED });
  return name;
}

/** Links the file into its folder, or the next one above that still exists; returns the path or −errno. */
function makeLink(file: OpenFile, prefix: string, name: string, linkId: number): string | number {
  for (let folder = parentOf(name); ; folder = parentOf(folder)) {
    const path = linkInto(file, prefix, `${folder}/link_remap.${linkId}`);
    if (path !== -ERRNO.ENOENT || folder === '') return path;
  }
}

/** The exact name does not matter to a restore; one may be left from another dump. */
const NAMES_MAX = 100;

function linkInto(file: OpenFile, prefix: string, name: string): string | number {
  for (let n = 0; ; n++) {
    const path = n === 0 ? name : `${name}.${n}`;
    const result = tryLinkFd(file.localFd, prefix + path);
    if (result === 0) return path;
    if (result !== -ERRNO.EEXIST || n === NAMES_MAX) return result;
  }
}

const parentOf = (path: string) => path.slice(0, Math.max(path.lastIndexOf('/'), 0));
