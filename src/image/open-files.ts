/** The files that a tree has open, by the numbers that descriptors refer to. */
import { expectMany } from '../base/hot-code.ts';
import { FdTypes, type FileEntry } from './gen/fdinfo.ts';
import type { ImageDir } from './image-dir.ts';
import { parseEntriesExcept } from './image-file.ts';
import { imageFileName } from './image-kinds.ts';
import { readOldFiles } from './old-images.ts';
import { PlainFiles } from './plain-files.ts';

/** All of them by number. A Map of entries is one too. */
export interface OpenFiles {
  get(id: number): FileEntry | undefined;
  has(id: number): boolean;
  /** All but the plain ones. */
  values(): Iterable<FileEntry>;
  /** Regular files, where there are many: looking at each as an entry takes long. */
  readonly plain?: PlainFiles | undefined;
}

/** The plain files are rows, the others entries. */
class ManyOpenFiles implements OpenFiles {
  readonly plain: PlainFiles;
  readonly #others: ReadonlyMap<number, FileEntry>;

  constructor(plain: PlainFiles, others: ReadonlyMap<number, FileEntry>) {
    this.plain = plain;
    this.#others = others;
  }

  get(id: number): FileEntry | undefined {
    const row = this.plain.rowOf(id);
    return row < 0 ? this.#others.get(id) : this.plain.entry(row);
  }

  has(id: number): boolean {
    return this.plain.rowOf(id) >= 0 || this.#others.has(id);
  }

  values(): Iterable<FileEntry> {
    return this.#others.values();
  }
}

/** The type of a file; undefined when there is none of that number. */
export const typeOf = (files: OpenFiles, id: number): FdTypes | undefined =>
  files.plain !== undefined && files.plain.rowOf(id) >= 0 ? FdTypes.REG : files.get(id)?.type;

/** Below this size an image has too few files for rows. */
const MANY_BYTES = 16 * 1024;
/** What most entries take. */
const ENTRY_BYTES = 64;

/** Reads files.img, or what older releases of CRIU had instead. Throws an ImageError. */
export function readOpenFiles(images: ImageDir): OpenFiles {
  const name = imageFileName('files');
  const bytes = images.tryReadBytes(name);
  const files = new Map<number, FileEntry>();
  if (bytes === undefined) {
    for (const file of readOldFiles(images)) files.set(file.id, file);
    return files;
  }
  expectMany(bytes.length / ENTRY_BYTES);
  const isMany = bytes.length >= MANY_BYTES;
  const plain = isMany ? new PlainFiles(bytes) : undefined;
  const isTaken = (start: number, end: number) => plain?.tryAdd(start, end) === true;
  for (const file of parseEntriesExcept('files', bytes, name, isTaken)) files.set(file.id, file);
  if (plain === undefined || plain.count === 0) return files;
  for (const id of files.keys()) if (plain.rowOf(id) >= 0) return lastOfEach(bytes, name);
  return new ManyOpenFiles(plain, files);
}

/** A damaged image in which two files have one number: the last one counts. */
function lastOfEach(bytes: Uint8Array, name: string): OpenFiles {
  const files = new Map<number, FileEntry>();
  for (const file of parseEntriesExcept('files', bytes, name, () => false)) files.set(file.id, file);
  return files;
}
