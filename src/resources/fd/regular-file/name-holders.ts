/**
 * Files without a name, held by the controller while a tree is restored.
 *
 * Such a file must be opened by its old path, or /proc/PID/fd would show another one; and yet no name may stay behind.
 * So: the file gets its old name, the controller opens it with O_PATH, and the name is removed again, all within
 * `prepare`. Tasks open /proc/CONTROLLER/fd/N with their own flags: a new open file description of the same dentry.
 * When criu dies, the kernel removes what is left.
 */
import { assert, CriuError } from '../../../base/errors.ts';
import type { GhostFileEntry } from '../../../image/gen/ghost-file.ts';
import type { GhostFile } from '../../../image/image-kinds.ts';
import { ERRNO, errnoName } from '../../../linux/abi/errno.ts';
import {
  O_CREAT,
  O_DIRECTORY,
  O_EXCL,
  O_NOFOLLOW,
  O_PATH,
  O_WRONLY,
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
} from '../../../linux/abi/fcntl.ts';
import { close, tryOpen, tryPwrite } from '../../../linux/syscalls/fs.ts';
import {
  tryChmod,
  tryFtruncate,
  tryLchown,
  tryLink,
  tryMkdir,
  tryMknod,
  tryRmdir,
  trySymlink,
  tryUnlink,
  tryUtimens,
} from '../../../linux/syscalls/names.ts';
import { trySetXattr } from '../../../linux/syscalls/xattr.ts';
import type { RestoreContext } from '../file-kind.ts';
import { removeLinkRemap } from './link-remap.ts';
import { allRemaps } from './remap-restore.ts';

/** A file to be held: its old name, and where its inode comes from. */
interface Wanted {
  readonly fileId: number;
  readonly name: string;
  /** Ghosts with the same key are the same inode. */
  readonly inode: string;
  readonly ghostId: number | undefined;
  /** A name it has at present. */
  readonly existing: string | undefined;
}

export class NameHolders {
  readonly #fds = new Map<number, number>();
  readonly #controllerPid: number;
  readonly #linkRemaps = new Set<string>();

  constructor(controllerPid: number) {
    this.#controllerPid = controllerPid;
  }

  /** The controller's descriptor of file `fileId`, which must be held. */
  fdOf(fileId: number): number {
    const fd = this.#fds.get(fileId);
    assert(fd !== undefined, `file ${fileId} is held`);
    return fd;
  }

  /** The path by which tasks open file `fileId`; empty when it is not held. */
  pathOf(fileId: number): string {
    const fd = this.#fds.get(fileId);
    return fd === undefined ? '' : `/proc/${this.#controllerPid}/fd/${fd}`;
  }

  /**
   * Makes all ghosts, and names for files that have only a link_remap name. No name is left when this returns or throws.
   *
   * @throws CriuError when one cannot be made
   */
  prepare(context: RestoreContext): void {
    const wanted = listWanted(context);
    if (wanted.length === 0) return;
    using names = new TemporaryNames();
    // Folders first: other ghosts may have been in them. Paths sort parents before children.
    for (const file of wanted) this.#hold(file, names, context);
  }

  /** After a successful restore: removes the link_remap names, which have served. */
  commit(context: RestoreContext): void {
    for (const path of this.#linkRemaps) removeLinkRemap(path, context);
    this.#linkRemaps.clear();
  }

  [Symbol.dispose](): void {
    for (const fd of this.#fds.values()) close(fd);
    this.#fds.clear();
  }

  /** A name that each inode has at present, and all names that were made, by inode and name. */
  readonly #inodes = new Map<string, string>();
  readonly #paths = new Map<string, string>();

  #hold(file: Wanted, names: TemporaryNames, context: RestoreContext): void {
    const key = `${file.inode}\0${file.name}`;
    const path = this.#paths.get(key) ?? this.#makeName(file, names, context);
    this.#paths.set(key, path);
    if (file.existing !== undefined) this.#linkRemaps.add(file.existing);
    const fd = tryOpen(path, O_PATH | O_NOFOLLOW);
    if (fd < 0) throw failure(file.name, 'opened', -fd);
    this.#fds.set(file.fileId, fd);
  }

  #makeName({ inode, name, existing, ghostId }: Wanted, names: TemporaryNames, context: RestoreContext): string {
    const other = this.#inodes.get(inode) ?? existing;
    if (other !== undefined) return names.create(name, (path) => tryLink(other, path), false);
    assert(ghostId !== undefined, 'a file without any name is a ghost');
    const ghost = context.images.read('ghost-file', ghostId);
    const path = names.create(name, (at) => makeInode(at, ghost), isFolder(ghost.message));
    setAttributes(path, ghost.message);
    this.#inodes.set(inode, path);
    return path;
  }
}

const isFolder = ({ mode }: GhostFileEntry) => (mode & S_IFMT) === S_IFDIR;

function listWanted(context: RestoreContext): Wanted[] {
  const wanted: Wanted[] = [];
  for (const [fileId, remap] of allRemaps(context)) {
    const name = context.tree.files.get(fileId)?.reg?.name;
    if (name === undefined || remap.kind === 'none' || remap.kind === 'process') continue;
    const ghostId = remap.kind === 'ghost' ? remap.ghostId : undefined;
    const existing = remap.kind === 'linked' ? remap.path : undefined;
    wanted.push({ fileId, name, ghostId, existing, inode: existing ?? `ghost ${ghostId}` });
  }
  return wanted.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : a.fileId - b.fileId));
}

/** Makes the file with its content; 0 or −errno. */
function makeInode(name: string, { message, payload, chunks }: GhostFile): number {
  const type = message.mode & S_IFMT;
  if (type === S_IFDIR) return tryMkdir(name, 0o700);
  if (type === S_IFLNK) return trySymlink(message.symlnk_target ?? '', name);
  if (type !== S_IFREG) return tryMknod(name, (message.mode & S_IFMT) | 0o600, message.rdev ?? 0);
  const fd = tryOpen(name, O_WRONLY | O_CREAT | O_EXCL, 0o600);
  if (fd < 0) return fd;
  const parts = chunks?.map((chunk) => ({ offset: chunk.message.off, bytes: chunk.payload }));
  const result = writeContent(fd, parts ?? [{ offset: 0, bytes: payload ?? new Uint8Array(0) }], message.size);
  close(fd);
  if (result < 0) tryUnlink(name);
  return result;
}

function writeContent(fd: number, parts: { offset: number; bytes: Uint8Array }[], size: number | undefined): number {
  if (size !== undefined) {
    const result = tryFtruncate(fd, size);
    if (result < 0) return result;
  }
  for (const { offset, bytes } of parts) {
    for (let done = 0; done < bytes.length; ) {
      const put = tryPwrite(fd, bytes.subarray(done), offset + done);
      if (put < 0) return put;
      done += put;
    }
  }
  return 0;
}

/** Owner first, since a change of owner clears set-id bits and file capabilities; times last. */
function setAttributes(path: string, { uid, gid, mode, atim, mtim, xattrs_ext }: GhostFileEntry): void {
  const time = (t: { tv_sec: bigint; tv_usec: number }) => ({ sec: Number(t.tv_sec), nsec: t.tv_usec * 1000 });
  let result = tryLchown(path, uid, gid);
  // Symbolic links have no mode of their own.
  if (result === 0 && (mode & S_IFMT) !== S_IFLNK) result = tryChmod(path, mode);
  for (const { name, value } of xattrs_ext) {
    const set = trySetXattr(path, name, value);
    if (set < 0) throw failure(path, `given its attribute ${name}`, -set);
  }
  if (result === 0 && atim !== undefined && mtim !== undefined) result = tryUtimens(path, time(atim), time(mtim));
  if (result < 0) throw failure(path, 'given its owner, mode and times', -result);
}

function failure(name: string, what: string, errno: number): CriuError {
  return new CriuError({
    object: name,
    action: `cannot be ${what} again (${errnoName(errno)})`,
    why: 'this file was open and deleted at the dump, and is restored under its old name for a moment',
    crErrno: errno,
  });
}

/** Names that exist for a moment; all are removed at the end, last made first. */
class TemporaryNames {
  readonly #made: { path: string; isFolder: boolean }[] = [];
  readonly #known = new Map<string, string>();

  /** Makes a file with `make` at `path`, or beside it when that name is taken; returns where. */
  create(path: string, make: (path: string) => number, isFolder: boolean): string {
    const folder = this.#known.get(path);
    if (isFolder && folder !== undefined) return folder;
    this.#makeFolders(path);
    let name = path;
    let result = make(name);
    // The name does not matter to the program, and the other file is not ours to move.
    for (let n = 0; result === -ERRNO.EEXIST && n < 100; n++) {
      name = `${path}.cr_link${n === 0 ? '' : n}`;
      result = make(name);
    }
    if (result < 0) throw failure(path, 'made', -result);
    this.#made.push({ path: name, isFolder });
    if (isFolder) this.#known.set(path, name);
    return name;
  }

  #makeFolders(path: string): void {
    const folder = path.slice(0, Math.max(path.lastIndexOf('/'), 0));
    if (folder === '') return;
    const fd = tryOpen(folder, O_PATH | O_DIRECTORY);
    if (fd >= 0) {
      close(fd);
      return;
    }
    if (fd !== -ERRNO.ENOENT) throw failure(path, 'made', -fd);
    this.#makeFolders(folder);
    const result = tryMkdir(folder, 0o777);
    if (result < 0) throw failure(folder, 'made', -result);
    this.#made.push({ path: folder, isFolder: true });
  }

  [Symbol.dispose](): void {
    for (const { path, isFolder } of this.#made.reverse()) {
      if (isFolder) tryRmdir(path);
      else tryUnlink(path);
    }
  }
}
