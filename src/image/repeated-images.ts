/**
 * Images of tasks that were forked are often the same, byte for byte. Then what is in them is the same object, which nobody
 * may change.
 */
import type { ImageDir } from './image-dir.ts';
import { parseImage } from './image-file.ts';
import {
  type ContentOf,
  type ElementOf,
  IMG_COMMON_MAGIC,
  type ImageKindName,
  imageFileName,
  type ListKindName,
  type Pagemap,
} from './image-kinds.ts';
import { readUint32 } from './wire-reader.ts';

interface Last {
  readonly bytes: Uint8Array;
  readonly content: unknown;
}

export class RepeatedImages {
  readonly #images: ImageDir;
  /** By kind, whole images, and those of which the only entry is wanted. */
  readonly #last = new Map<string, Last>();

  constructor(images: ImageDir) {
    this.#images = images;
  }

  /** As `ImageDir.tryRead`. */
  tryRead<K extends ImageKindName>(kind: K, id: number): ContentOf<K> | undefined {
    return this.#tryRepeat(kind, kind, id, () => this.#images.read(kind, id));
  }

  /** As `ImageDir.read`. */
  read<K extends ImageKindName>(kind: K, id: number): ContentOf<K> {
    return this.tryRead(kind, id) ?? this.#images.read(kind, id);
  }

  /** As `ImageDir.readOne`. */
  readOne<K extends ListKindName>(kind: K, id: number): ElementOf<K> {
    const read = () => this.#images.readOne(kind, id);
    return this.#tryRepeat(`one ${kind}`, kind, id, read) ?? read();
  }

  #tryRepeat<T>(key: string, kind: ImageKindName, id: number, read: () => T): T | undefined {
    const name = imageFileName(kind, id);
    const bytes = this.#images.tryReadBytes(name);
    if (bytes === undefined) return undefined;
    const last = this.#last.get(key);
    if (last !== undefined) {
      if (isSame(bytes, last.bytes)) return last.content as T;
      const pagemap = kind === 'pagemap' ? tryRepeatEntries(bytes, last, name) : undefined;
      if (pagemap !== undefined) return pagemap as T;
    }
    this.#images.hold(name, bytes);
    const content = read();
    this.#last.set(key, { bytes, content });
    return content;
  }
}

const isSame = (one: Uint8Array, other: Uint8Array) => Buffer.compare(one, other) === 0;

/** Two words of magic, and the size of the head. */
const BEFORE_HEAD = 12;

/** A pagemap that differs from the last one in its head, which has the number of a pages file. */
function tryRepeatEntries(bytes: Uint8Array, last: Last, name: string): Pagemap | undefined {
  if (bytes.length !== last.bytes.length || bytes.length < BEFORE_HEAD) return undefined;
  const size = readUint32(bytes, BEFORE_HEAD - 4);
  const end = BEFORE_HEAD + size;
  if (readUint32(bytes, 0) !== IMG_COMMON_MAGIC || end > bytes.length) return undefined;
  if (readUint32(last.bytes, BEFORE_HEAD - 4) !== size || !isSame(bytes.subarray(end), last.bytes.subarray(end)))
    return undefined;
  const { head } = parseImage('pagemap', bytes.subarray(0, end), name);
  return { head, entries: (last.content as Pagemap).entries };
}
