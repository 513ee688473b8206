/**
 * Files with a path: regular files, directories, device nodes by their name, symbolic links opened with O_PATH; also
 * what is behind exe, cwd, root and file mappings.
 *
 * Saved: path, flags, position, owner; for validation the mode, and for regular files size and build id. The content
 * is not saved: the file must be there at restore, and unchanged. Files without a name are handled in remap-dump.ts and remap-restore.ts.
 */
import type { FileEntry } from '../../../image/gen/fdinfo.ts';
import { FdTypes } from '../../../image/gen/fdinfo.ts';
import type { RegFileEntry } from '../../../image/gen/regfile.ts';
import {
  O_ACCMODE,
  O_APPEND,
  O_PATH,
  O_RDONLY,
  O_WRONLY,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
} from '../../../linux/abi/fcntl.ts';
import { major, minor } from '../../../linux/syscalls/fs.ts';
import type { DumpResult, FileKind, KindDump, OpenFile, Unsupported } from '../file-kind.ts';
import { checkRegularFile } from './check.ts';
import { createRegularFile, NO_POSITION } from './create-files.ts';
import { readLocalBuildId } from './local-build-id.ts';
import { nameForImage } from './remap-dump.ts';

const MEM_MAJOR = 1;
const KMSG_MINOR = 11;
const MISC_MAJOR = 10;
/** hwrng, btrfs-control, autofs, loop-control: Documentation/admin-guide/devices.txt. */
const STATELESS_MISC_MINORS: readonly number[] = [183, 234, 235, 237];

export const regularFile: FileKind = {
  type: FdTypes.REG,

  recognise(file) {
    if (file.isKernelShmem || !file.link.startsWith('/')) return false;
    switch (file.stat.st_mode & S_IFMT) {
      case S_IFREG:
      case S_IFDIR:
      case S_IFLNK:
      case S_IFBLK:
        return true;
      case S_IFCHR:
        return (file.flags & O_PATH) !== 0 || plainFilesDevice(file.stat.st_rdev);
      default:
        // A FIFO or socket opened with O_PATH is nothing but its name.
        return (file.flags & O_PATH) !== 0;
    }
  },

  dump: (file, id, dump) => dumpRegularFile(file, id, dump),

  check: (entry, context) => (entry.reg === undefined ? [] : checkRegularFile(entry.reg, context)),

  create([entry], home) {
    if (entry?.reg !== undefined) createRegularFile(entry.reg, home);
  },

  fown: (entry) => entry.reg?.fown,
};

/** Devices whose descriptors have no state of their own: memory devices such as /dev/null, and a few others. */
function plainFilesDevice(device: number): boolean {
  if (major(device) === MEM_MAJOR) return true;
  return major(device) === MISC_MAJOR && STATELESS_MISC_MINORS.includes(minor(device));
}

/** Also used by kinds that keep a path in an entry of this form (FIFO). Such an entry is added with `dump.addEntry`. */
export function dumpRegularFile(file: OpenFile, id: number, dump: KindDump): DumpResult {
  if (mayHaveTrigger(file)) return PRESSURE_TRIGGER;
  const { stat, flags, fown } = file;
  const external = externalName(file, dump);
  const name = external ?? nameForImage(file, id, dump);
  if (typeof name !== 'string') return name;
  const reg: RegFileEntry = { id, flags, pos: position(file), fown, name, mode: stat.st_mode, build_id: [] };
  if (external !== undefined) reg.ext = true;
  else if (dump.options.hasOwnMounts && file.mntId >= 0) reg.mnt_id = file.mntId;
  if ((stat.st_mode & S_IFMT) === S_IFREG && !isLog(flags)) {
    reg.size = stat.st_size;
    if (dump.options.fileValidation === 'buildid') reg.build_id = readLocalBuildId(file);
  }
  return { type: FdTypes.REG, id, reg };
}

/** The `--external` key of a file that the user takes care of. */
function externalName({ mntId, stat }: OpenFile, { options }: KindDump): string | undefined {
  if (options.externalFiles.size === 0) return undefined;
  const key = `file[${mntId.toString(16)}:${stat.st_ino.toString(16)}]`;
  return options.externalFiles.has(key) ? key : undefined;
}

const PRESSURE_TRIGGER: Unsupported = {
  unsupported: 'a pressure trigger that was written to it cannot be read',
  remedy: 'have the program close it before the dump, and set its trigger again afterwards',
};

/** /proc/pressure/X and X.pressure of a cgroup, opened for writing: one trigger for each open file. */
function mayHaveTrigger({ link, flags }: OpenFile): boolean {
  if ((flags & O_ACCMODE) === O_RDONLY || !(link.startsWith('/proc/') || link.startsWith('/sys/'))) return false;
  return /^\/proc\/pressure\/\w+$|^\/sys\/fs\/cgroup\/.*\.pressure$/.test(link);
}

/** A file that is only appended to may grow until it is restored, so its size says nothing. */
function isLog(flags: number): boolean {
  return (flags & O_ACCMODE) === O_WRONLY && (flags & O_APPEND) !== 0;
}

function position({ stat, flags, pos }: OpenFile): bigint {
  const isKmsg = (stat.st_mode & S_IFMT) === S_IFCHR && major(stat.st_rdev) === MEM_MAJOR;
  // The kernel refuses to seek in a write-only /dev/kmsg.
  if (isKmsg && minor(stat.st_rdev) === KMSG_MINOR && (flags & O_ACCMODE) === O_WRONLY && pos === 0n) {
    return NO_POSITION;
  }
  return pos < 0n ? BigInt.asUintN(64, pos) : pos;
}

/** Whether an entry is a regular file entry; narrows. */
export function isRegular(entry: FileEntry | undefined): entry is FileEntry & { reg: RegFileEntry } {
  return entry?.reg !== undefined;
}
