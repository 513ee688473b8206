/**
 * Ends of pipes and UNIX sockets of files.img, of which there may be thousands that differ in their numbers only: the id of
 * the file, the number of pipe or socket, and that of the other end. They are rows of columns; what they have in common is
 * decoded once, from the first one of them.
 */
import { decode } from './codec.ts';
import { FdTypes, FileEntry } from './gen/fdinfo.ts';
import { ImageError } from './image-error.ts';
import { NumberCursor } from './number-cursor.ts';
import { LENGTH } from './wire-reader.ts';

const tag = (field: number, wireType = 0) => (field << 3) | wireType;
const FILE_TYPE = tag(1);
const FILE_ID = tag(2);
/** Of a pipe and of a socket: its id, and its own number. */
const END_ID = tag(1);
const END_NUMBER = tag(2);
/** The fields of a file that have these, both with tags of two bytes (proto/fdinfo.proto). */
const USK = 16;
const PIPE = 18;
/** In unix_sk_entry, where type, state, flags, uflags and backlog come before it. */
const PEER = 8;
/** Of a field above 15: the number's lower bits with the mark that there are more, and the upper ones. */
const lowTag = (field: number) => (tag(field, LENGTH) & 127) | 128;
const highTag = (field: number) => tag(field, LENGTH) >> 7;

/** Other templates than these last ones are not looked at. */
const TEMPLATES_TRIED = 4;
/** So many entries in a row that are like none before: then each of them will be. */
const MISSES_MAX = 32;
/** Shorter pieces are compared faster byte by byte. */
const PIECE_BYTES_MIN = 4;
const ROOM_MIN = 64;

/** What rows have in common. */
interface Template {
  readonly entry: FileEntry;
  /** The bytes between its own number and that of the other end; of a pipe there are none. */
  readonly middleAt: number;
  readonly middleBytes: number;
  /** The bytes behind both, up to the end of the entry. */
  readonly tailAt: number;
  readonly tailBytes: number;
}

export class EndRows {
  /** By row: the ids of files, in no order. */
  ids = new Uint32Array(0);
  /** Inode number of a socket, number of a pipe. */
  numbers = new Uint32Array(0);
  /** Inode number of the other end of a socket; of a pipe its own number. */
  peers = new Uint32Array(0);
  /** Index in `templates`. */
  kinds = new Uint32Array(0);
  count = 0;
  readonly #templates: Template[] = [];
  readonly #bytes: Uint8Array;
  readonly #text: Buffer;
  readonly #cursor: NumberCursor;
  readonly #rows = new Map<number, number>();
  #misses = 0;

  /** For entries that are all in these bytes. */
  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#cursor = new NumberCursor(bytes);
  }

  /** What the rows of that kind have in common; its numbers are those of one of them. */
  template(kind: number): FileEntry {
    return (this.#templates[kind] as Template).entry;
  }

  get kindCount(): number {
    return this.#templates.length;
  }

  /** Takes the entry between two places of the image; false when it is another one, or damaged, or its id is no new one. */
  tryAdd(start: number, end: number): boolean {
    const cursor = this.#cursor;
    const { bytes } = cursor;
    if (bytes[start] !== FILE_TYPE || bytes[start + 2] !== FILE_ID) return false;
    const type = bytes[start + 1];
    const isSocket = type === FdTypes.UNIXSK;
    if (!isSocket && type !== FdTypes.PIPE) return false;
    cursor.at = start + 3;
    const id = cursor.uint32();
    const field = isSocket ? USK : PIPE;
    if (!cursor.skip(lowTag(field)) || !cursor.skip(highTag(field))) return false;
    const length = cursor.uint32();
    if (cursor.at + length !== end || !cursor.skip(END_ID) || cursor.uint32() !== id) return false;
    if (!cursor.skip(END_NUMBER)) return false;
    const number = cursor.uint32();
    // NaN is not equal to itself.
    if (Number.isNaN(number) || this.#rows.has(id)) return false;
    const kind = this.#findTemplate(cursor.at, start, end, isSocket);
    if (kind < 0) return false;
    this.#push(id, number, isSocket ? this.#peer : number, kind);
    return true;
  }

  /** Of the entry that was compared last. */
  #peer = 0;

  /** The template that the entry is like, which may be itself; −1 when there is none. `at`: behind its own number. */
  #findTemplate(at: number, start: number, end: number, isSocket: boolean): number {
    const templates = this.#templates;
    for (let kind = templates.length - 1, tried = 0; kind >= 0 && tried < TEMPLATES_TRIED; kind--, tried++) {
      if (!this.#isLike(templates[kind] as Template, at, end, isSocket)) continue;
      this.#misses = 0;
      return kind;
    }
    if (++this.#misses > MISSES_MAX) return -1;
    const template = this.#tryMakeTemplate(at, start, end, isSocket);
    return template === undefined ? -1 : templates.push(template) - 1;
  }

  #isLike({ entry, middleAt, middleBytes, tailAt, tailBytes }: Template, at: number, end: number, isSocket: boolean) {
    if ((entry.type === FdTypes.UNIXSK) !== isSocket || !this.#isSame(middleAt, at, middleBytes)) return false;
    const cursor = this.#cursor;
    cursor.at = at + middleBytes;
    const peer = isSocket ? cursor.uint32() : 0;
    if (end - cursor.at !== tailBytes || Number.isNaN(peer) || !this.#isSame(tailAt, cursor.at, tailBytes))
      return false;
    this.#peer = peer;
    return true;
  }

  #isSame(one: number, other: number, count: number): boolean {
    const bytes = this.#bytes;
    if (count >= PIECE_BYTES_MIN) return this.#text.compare(this.#text, one, one + count, other, other + count) === 0;
    for (let i = 0; i < count; i++) if (bytes[one + i] !== bytes[other + i]) return false;
    return true;
  }

  #tryMakeTemplate(at: number, start: number, end: number, isSocket: boolean): Template | undefined {
    const cursor = this.#cursor;
    cursor.at = at;
    let peer = 0;
    if (isSocket) {
      for (let field = 3; field < PEER; field++) {
        if (!cursor.skip(tag(field)) || Number.isNaN(cursor.uint32())) return undefined;
      }
      if (!cursor.skip(tag(PEER))) return undefined;
    }
    const tagEnd = cursor.at;
    if (isSocket) peer = cursor.uint32();
    const tailAt = cursor.at;
    if (Number.isNaN(peer) || !this.#isOrdered(tailAt, end, isSocket ? PEER : 2)) return undefined;
    const entry = this.#tryDecode(start, end);
    this.#peer = peer;
    return entry && { entry, middleAt: at, middleBytes: tagEnd - at, tailAt, tailBytes: end - tailAt };
  }

  /** Whether the fields up to the end have ascending numbers above that one: a number that comes twice would count. */
  #isOrdered(start: number, end: number, above: number): boolean {
    const cursor = this.#cursor;
    cursor.at = start;
    let before = above + 1;
    while (cursor.at < end) {
      const key = cursor.uint32();
      const field = key >>> 3;
      if (Number.isNaN(key) || field < before) return false;
      before = field;
      if ((key & 7) === LENGTH) {
        const length = cursor.uint32();
        cursor.at += length;
      } else {
        if ((key & 7) !== 0) return false;
        while ((this.#bytes[cursor.at++] ?? 0) > 127);
      }
    }
    return cursor.at === end;
  }

  #tryDecode(start: number, end: number): FileEntry | undefined {
    try {
      return decode(FileEntry, this.#bytes.subarray(start, end), 'files.img');
    } catch (error) {
      // Whoever reads the others says it again, and where.
      if (error instanceof ImageError) return undefined;
      throw error;
    }
  }

  #push(id: number, number: number, peer: number, kind: number): void {
    const row = this.count++;
    if (row === this.ids.length) this.#grow();
    this.ids[row] = id;
    this.numbers[row] = number;
    this.peers[row] = peer;
    this.kinds[row] = kind;
    this.#rows.set(id, row);
  }

  /** The row of a file; −1 when it is none of these. */
  rowOf(id: number): number {
    return this.#rows.get(id) ?? -1;
  }

  typeAt(row: number): FdTypes {
    return this.template(this.kinds[row] as number).type;
  }

  /** The file as an entry. */
  entry(row: number): FileEntry {
    const { type, usk, pipe } = this.template(this.kinds[row] as number);
    const [id, number, peer] = [this.ids[row] ?? 0, this.numbers[row] ?? 0, this.peers[row] ?? 0];
    if (usk !== undefined) return { type, id, usk: { ...usk, id, ino: number, peer } };
    return pipe === undefined ? { type, id } : { type, id, pipe: { ...pipe, id, pipe_id: number } };
  }

  #grow(): void {
    const room = Math.max(ROOM_MIN, this.count * 4);
    const grown = (old: Uint32Array) => {
      const words = new Uint32Array(room);
      words.set(old);
      return words;
    };
    this.ids = grown(this.ids);
    this.numbers = grown(this.numbers);
    this.peers = grown(this.peers);
    this.kinds = grown(this.kinds);
  }
}
