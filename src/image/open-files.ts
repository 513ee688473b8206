/** The files that a tree has open, by the numbers that descriptors refer to. */
import { expectMany } from '../base/hot-code.ts';
import { EndRows } from './end-rows.ts';
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
  /** All but those that are rows. */
  values(): Iterable<FileEntry>;
  /** Regular files, where there are many: looking at each as an entry takes long. */
  readonly plain?: PlainFiles | undefined;
  /** Ends of pipes and connections, where there are many. Not all of these rows are used: see `endRow`. */
  readonly ends?: EndRows | undefined;
  /** The row of a file that is an end and no entry; −1 for any other. */
  endRow?(id: number): number;
  /** The same files, where some of these rows are entries. */
  withEntries?(rows: readonly number[]): OpenFiles;
}

/** Plain files and ends are rows, the others entries. */
class ManyOpenFiles implements OpenFiles {
  readonly plain: PlainFiles | undefined;
  readonly ends: EndRows | undefined;
  readonly #others: ReadonlyMap<number, FileEntry>;

  constructor(plain: PlainFiles, ends: EndRows, others: ReadonlyMap<number, FileEntry>) {
    this.plain = plain.count === 0 ? undefined : plain;
    this.ends = ends.count === 0 ? undefined : ends;
    this.#others = others;
  }

  get(id: number): FileEntry | undefined {
    const row = this.plain?.rowOf(id) ?? -1;
    if (row >= 0) return this.plain?.entry(row);
    const end = this.endRow(id);
    return end < 0 ? this.#others.get(id) : this.ends?.entry(end);
  }

  has(id: number): boolean {
    return this.typeOf(id) !== undefined;
  }

  typeOf(id: number): FdTypes | undefined {
    const end = this.endRow(id);
    if (end >= 0) return this.ends?.typeAt(end);
    return this.plain !== undefined && this.plain.rowOf(id) >= 0 ? FdTypes.REG : this.#others.get(id)?.type;
  }

  values(): Iterable<FileEntry> {
    return this.#others.values();
  }

  endRow(id: number): number {
    return this.ends === undefined || this.#others.has(id) ? -1 : this.ends.rowOf(id);
  }

  withEntries(rows: readonly number[]): OpenFiles {
    const { plain, ends } = this;
    if (ends === undefined || rows.length === 0) return this;
    const others = new Map(this.#others);
    for (const row of rows) others.set(ends.ids[row] ?? 0, ends.entry(row));
    return new ManyOpenFiles(plain ?? new PlainFiles(NOTHING), ends, others);
  }
}

const NOTHING = new Uint8Array(0);

/** The type of a file; undefined when there is none of that number. */
export const typeOf = (files: OpenFiles, id: number): FdTypes | undefined =>
  files instanceof ManyOpenFiles ? files.typeOf(id) : files.get(id)?.type;

/** Whether a file is an end that is a row. */
export const isPaired = (files: OpenFiles, id: number): boolean => (files.endRow?.(id) ?? -1) >= 0;

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
  if (bytes.length < MANY_BYTES) return addAll(files, bytes, name, () => false);
  const [plain, ends] = [new PlainFiles(bytes), new EndRows(bytes)];
  addAll(files, bytes, name, (start, end) => plain.tryAdd(start, end) || ends.tryAdd(start, end));
  if (plain.count + ends.count === 0) return files;
  if (isTwice(plain, ends, files)) return addAll(new Map(), bytes, name, () => false);
  return new ManyOpenFiles(plain, ends, files);
}

/** Adds those that are not taken; of two with one number, as damaged images may have, the last one counts. */
function addAll(
  files: Map<number, FileEntry>,
  bytes: Uint8Array,
  name: string,
  isTaken: (start: number, end: number) => boolean,
): OpenFiles {
  for (const file of parseEntriesExcept('files', bytes, name, isTaken)) files.set(file.id, file);
  return files;
}

/** Whether a row has the number of another file. */
function isTwice(plain: PlainFiles, ends: EndRows, others: ReadonlyMap<number, FileEntry>): boolean {
  for (const id of others.keys()) if (plain.rowOf(id) >= 0 || ends.rowOf(id) >= 0) return true;
  if (plain.count === 0) return false;
  for (let row = 0; row < ends.count; row++) if (plain.rowOf(ends.ids[row] ?? 0) >= 0) return true;
  return false;
}
