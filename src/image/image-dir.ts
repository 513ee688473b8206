/**
 * An image directory on disk: the only file of src/image that does I/O, and the only one that knows src/linux. Paths are
 * byte strings (one char a byte). System calls instead of node:fs, whose loading takes longer than a small dump.
 *
 * Reading takes regular files only, for the directory may come from somebody else: a symlink or a FIFO in the place of
 * an image is refused. Writing records every file it makes, so that a failed dump can remove them all.
 */
import { CriuError } from '../base/errors.ts';
import { expectMany } from '../base/hot-code.ts';
import { ERRNO, errnoName } from '../linux/abi/errno.ts';
import { O_CREAT, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_RDWR, O_TRUNC, S_IFMT, S_IFREG } from '../linux/abi/fcntl.ts';
import { MFD_CLOEXEC } from '../linux/abi/mman.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { cString, syscall } from '../linux/kernel.ts';
import { close, fstat, tryListDirectory, tryLstat, tryOpen, tryReadlink } from '../linux/syscalls/fs.ts';
import type { AlikeImages } from './alike-images.ts';
import { ImageError } from './image-error.ts';
import { parseImage } from './image-file.ts';
import {
  type ContentOf,
  type ElementOf,
  type ImageKindName,
  imageFileName,
  type ListKindName,
  PARENT_LINK,
  parseImageFileName,
} from './image-kinds.ts';
import { ImageWriter, PART_BYTES, serializeInParts } from './serialize-image.ts';
import { WireWriter } from './wire-writer.ts';

/** Images are held in memory as a whole (pages are not); a bigger file is not one of ours. */
const IMAGE_BYTES_MAX = 1024 ** 3;
/** About the size of an entry of the images that can be long. */
const ENTRY_BYTES = 64;
/** Owner only: images hold memory and keys of the dumped tasks. */
export const IMAGE_MODE = 0o600;
/** How a file is made, for whoever does it for an `ImageDir`. */
export const IMAGE_FLAGS = O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW;
const FOLDER_MODE = 0o700;

/** That of a command of its own, which may have been there before. */
const CPUINFO = 'cpuinfo.img';

type ImageId = number | string;

export class ImageDir {
  /** Absolute, a byte string, without a slash at the end. */
  readonly path: string;
  private readonly created = new Set<string>();
  private readonly held = new Map<string, Uint8Array>();
  private createdParent: { readonly folder: string; readonly images: ImageDir } | undefined;

  /** Its files have no names. */
  readonly isInMemory: boolean;

  private constructor(path: string, isInMemory = false) {
    this.path = path;
    this.isInMemory = isInMemory;
  }

  /** A directory for writing whose files nobody keeps. */
  static inMemory(): ImageDir {
    return new ImageDir('memory', true);
  }

  /** Opens an existing directory. Throws a CriuError when it is not one. */
  static open(path: string): ImageDir {
    let length = path.length;
    while (length > 1 && path.endsWith('/', length)) length--;
    const trimmed = path.slice(0, length);
    const remedy = 'make the directory or name another one with --images-dir';
    // The last dot makes the kernel refuse anything but a directory.
    const stat = tryLstat(`${trimmed}/.`);
    if (typeof stat === 'number') throw fileError(path, 'cannot open the image directory', stat, remedy);
    return new ImageDir(trimmed);
  }

  /** The directory that the link "parent" leads to, or undefined when there is none. */
  openParent(): ImageDir | undefined {
    const link = `${this.path}/${PARENT_LINK}`;
    const target = tryReadlink(link);
    if (target === -ERRNO.ENOENT) return undefined;
    if (typeof target === 'number') throw fileError(link, 'cannot read the link to the parent images', target);
    return ImageDir.open(target.startsWith('/') ? target : `${this.path}/${target}`);
  }

  /** Path of an image file, or of any other file in the directory. */
  imagePath(kind: ImageKindName, id?: ImageId): string {
    return this.rawPath(imageFileName(kind, id));
  }

  rawPath(name: string): string {
    return `${this.path}/${name}`;
  }

  /** Names of all files in the directory, as byte strings. */
  names(): string[] {
    const names = tryListDirectory(this.path);
    if (typeof names === 'number') throw fileError(this.path, 'cannot list the image directory', names);
    return names;
  }

  has(kind: ImageKindName, id?: ImageId): boolean {
    return this.fileSize(kind, id) !== undefined;
  }

  /** Size of an image file in bytes; undefined when there is none. For pages images, which are not read as a whole. */
  fileSize(kind: ImageKindName, id?: ImageId): number | undefined {
    const path = this.imagePath(kind, id);
    const stat = tryLstat(path);
    if (stat === -ERRNO.ENOENT) return undefined;
    if (typeof stat === 'number') throw fileError(path, 'cannot read the image', stat);
    return stat.st_size;
  }

  /** Reads an image that must be there. */
  read<K extends ImageKindName>(kind: K, id?: ImageId): ContentOf<K> {
    const content = this.tryRead(kind, id);
    if (content === undefined) throw this.missing(kind, id);
    return content;
  }

  /** Reads an image; undefined when there is no such file. */
  tryRead<K extends ImageKindName>(kind: K, id?: ImageId, alike?: AlikeImages): ContentOf<K> | undefined {
    const name = imageFileName(kind, id);
    const bytes = this.tryReadBytes(name);
    if (bytes === undefined) return undefined;
    expectMany(bytes.length / ENTRY_BYTES);
    return parseImage(kind, bytes, name, alike);
  }

  /** Reads an image that has exactly one entry (core, mm, inventory…) and must be there. `alike`: has its bytes. */
  readOne<K extends ListKindName>(kind: K, id?: ImageId, alike?: AlikeImages): ElementOf<K> {
    const element = this.tryReadOne(kind, id, alike);
    if (element === undefined) throw this.missing(kind, id);
    return element;
  }

  tryReadOne<K extends ListKindName>(kind: K, id?: ImageId, alike?: AlikeImages): ElementOf<K> | undefined {
    const content = this.tryRead(kind, id, alike) as ElementOf<K>[] | undefined;
    if (content === undefined) return undefined;
    const [element] = content;
    if (element === undefined || content.length > 1) {
      throw new ImageError(
        { file: imageFileName(kind, id) },
        '',
        `one entry is expected, but ${content.length} are there`,
      );
    }
    return element;
  }

  /** Bytes of a file that somebody else has read already: whoever reads it next gets them. */
  hold(name: string, bytes: Uint8Array): void {
    this.held.set(name, bytes);
  }

  /** The bytes of a file; undefined when it is not there. */
  tryReadBytes(name: string): Uint8Array | undefined {
    const held = this.held.get(name);
    if (held !== undefined) {
      this.held.delete(name);
      return held;
    }
    return this.tryWith(name, readAll);
  }

  /** A part of a pages image, which may be too big as a whole; shorter at its end. Undefined when it is not there. */
  tryReadPages(pagesId: number, offset: number, bytes: number): Uint8Array | undefined {
    return this.tryWith(imageFileName('pages', pagesId), (fd, path) => {
      const buffer = new Uint8Array(bytes);
      const count = syscall(SYS.pread64, fd, buffer, bytes, offset);
      if (count < 0) throw fileError(path, 'cannot read the image', count);
      return buffer.subarray(0, count);
    });
  }

  private tryWith<T>(name: string, read: (fd: number, path: string) => T): T | undefined {
    const path = this.rawPath(name);
    const action = 'cannot read the image';
    // Not blocking: a FIFO would wait for a writer.
    const fd = tryOpen(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    if (fd === -ERRNO.ENOENT) return undefined;
    if (fd === -ERRNO.ELOOP) throw new CriuError({ object: path, action, why: 'this is a symbolic link' });
    if (fd < 0) throw fileError(path, action, fd);
    try {
      return read(fd, path);
    } finally {
      close(fd);
    }
  }

  /** Writes an image as a whole, replacing an older one. */
  write<K extends ImageKindName>(kind: K, id: ImageId | undefined, content: ContentOf<K>): void {
    const name = imageFileName(kind, id);
    this.writeParts(name, (take) => serializeInParts(kind, content, name, scratch, take));
  }

  /** Writes an image whose bytes are known. */
  writeFile(name: string, bytes: Uint8Array): void {
    this.writeParts(name, (take) => take(bytes));
  }

  private writeParts(name: string, serialize: (take: (part: Uint8Array) => void) => void): void {
    const path = this.rawPath(name);
    const fd = this.createFile(name);
    try {
      serialize((part) => writeAll(fd, part, path));
    } finally {
      close(fd);
    }
  }

  /** Begins an image that is written element by element. The caller closes it. */
  createWriter<K extends ListKindName>(kind: K, id?: ImageId): ImageFileWriter<K> {
    const name = imageFileName(kind, id);
    return new ImageFileWriter(new ImageWriter(kind, name), this.createFile(name), this.rawPath(name));
  }

  /** Creates a file of any content, truncated when it exists. The caller closes the descriptor. */
  createFile(name: string): number {
    const path = this.rawPath(name);
    const fd = this.isInMemory
      ? syscall(SYS.memfd_create, cString(name), MFD_CLOEXEC)
      : tryOpen(path, IMAGE_FLAGS, IMAGE_MODE);
    if (fd < 0) throw fileError(path, 'cannot create the image', fd);
    if (!this.isInMemory) this.created.add(name);
    return fd;
  }

  /**
   * Makes a folder in this one, to which the link "parent" leads from now on. `discard` removes both. Undefined where the
   * file system has no links, or something else is called so.
   */
  tryCreateParent(name: string): ImageDir | undefined {
    const [folder, link] = [this.rawPath(name), this.rawPath(PARENT_LINK)];
    const made = syscall(SYS.mkdir, cString(folder), FOLDER_MODE);
    if (made < 0 && made !== -ERRNO.EEXIST) throw fileError(folder, 'cannot make the folder', made);
    syscall(SYS.unlink, cString(link)); // that of an older dump
    if (syscall(SYS.symlink, cString(name), cString(link)) < 0) {
      syscall(SYS.rmdir, cString(folder));
      return undefined;
    }
    this.createdParent = { folder, images: ImageDir.open(folder) };
    this.created.add(PARENT_LINK);
    return this.createdParent.images;
  }

  /** Records a file that somebody else made in this directory for us, so that `discard` removes it. */
  recordCreated(name: string): void {
    this.created.add(name);
  }

  /** The folder is no checkpoint until it has an inventory again, whatever an older dump has left in it. */
  removeInventory(): void {
    if (!this.isInMemory) syscall(SYS.unlink, cString(this.imagePath('inventory')));
  }

  /** Removes images of an older dump that this one has none of its own for: a restore would take what is there. */
  removeOlder(): void {
    if (this.isInMemory) return;
    for (const name of this.names()) {
      if (!name.endsWith('.img') || this.created.has(name) || name === CPUINFO) continue;
      if (parseImageFileName(name) !== undefined) syscall(SYS.unlink, cString(this.rawPath(name)));
    }
  }

  /** From now on nothing removes them: they may be all that is left of the tree. */
  keep(): void {
    this.created.clear();
    this.createdParent = undefined;
  }

  /** Removes every file written through this object: a failed dump must not look like a good one. */
  discard(): void {
    if (this.createdParent !== undefined) {
      const { folder, images } = this.createdParent;
      images.discard();
      syscall(SYS.rmdir, cString(folder)); // unless there is something else in it
      this.createdParent = undefined;
    }
    for (const name of this.created) {
      const path = this.rawPath(name);
      const result = syscall(SYS.unlink, cString(path));
      if (result < 0 && result !== -ERRNO.ENOENT) throw fileError(path, 'cannot remove the image', result);
      this.created.delete(name);
    }
  }

  private missing(kind: ImageKindName, id: ImageId | undefined): CriuError {
    return new CriuError({
      object: this.imagePath(kind, id),
      action: 'there is no such image',
      why: MEANINGS[kind] ?? 'the dump did not finish or files are missing from the directory',
    });
  }
}

/** What `write` builds images in, one after the other. */
const scratch = new WireWriter(4096);

/** What it means that the image of this kind is not there; only kinds that somebody cannot do without. */
const MEANINGS: { readonly [K in ImageKindName]?: string } = {
  inventory: 'this is not a directory of images, or the dump did not finish',
  pstree: 'the process tree is not known',
  core: 'the state of this task is not known',
  mm: 'the memory layout of this task is not known',
  pagemap: 'the memory of this task is not there',
  pages: 'the memory content is not there',
  ids: 'it is not known what this task shares with others',
  fdinfo: 'the file descriptors of this task are not known',
  files: 'the open files are not known',
  'ghost-file': 'the content of a deleted file is not there',
  cpuinfo: '"criu cpuinfo dump" makes it, on the machine of the dump',
};

/** A list image that is being written. */
class ImageFileWriter<K extends ListKindName> {
  private readonly writer: ImageWriter<K>;
  private readonly fd: number;
  private readonly path: string;

  constructor(writer: ImageWriter<K>, fd: number, path: string) {
    this.writer = writer;
    this.fd = fd;
    this.path = path;
  }

  add(element: ElementOf<K>): void {
    this.writer.add(element);
    if (this.writer.pendingBytes >= PART_BYTES) this.flush();
  }

  close(): void {
    try {
      this.flush();
    } finally {
      close(this.fd);
    }
  }

  private flush(): void {
    writeAll(this.fd, this.writer.take(), this.path);
  }
}

function readAll(fd: number, path: string): Uint8Array {
  const action = 'cannot read the image';
  const { st_mode, st_size } = fstat(fd);
  if ((st_mode & S_IFMT) !== S_IFREG) throw new CriuError({ object: path, action, why: 'this is not a regular file' });
  if (st_size > IMAGE_BYTES_MAX) {
    const why = `${st_size} bytes are too many, the limit is ${IMAGE_BYTES_MAX}`;
    throw new CriuError({ object: path, action, why });
  }
  const bytes = new Uint8Array(st_size);
  let filled = 0;
  while (filled < bytes.length) {
    const count = syscall(SYS.read, fd, bytes.subarray(filled), bytes.length - filled);
    if (count === -ERRNO.EINTR) continue;
    if (count < 0) throw fileError(path, action, count);
    if (count === 0) break;
    filled += count;
  }
  return bytes.subarray(0, filled);
}

function writeAll(fd: number, bytes: Uint8Array, path: string): void {
  let done = 0;
  while (done < bytes.length) {
    const count = syscall(SYS.write, fd, bytes.subarray(done), bytes.length - done);
    if (count === -ERRNO.EINTR) continue;
    if (count < 0) throw fileError(path, 'cannot write the image', count);
    done += count;
  }
}

/** `result` is −errno. */
function fileError(path: string, action: string, result: number, remedy?: string): CriuError {
  const why = errnoName(-result);
  return new CriuError({ object: path, action, why, ...(remedy === undefined ? {} : { remedy }) });
}
