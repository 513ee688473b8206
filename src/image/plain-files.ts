/**
 * Regular files of files.img about which there is nothing special: a path, flags and a position. There may be many
 * thousands, so they are columns instead of objects, and paths that several of them have are there once.
 */
import { FdTypes, type FileEntry } from './gen/fdinfo.ts';
import type { RegFileEntry } from './gen/regfile.ts';
import { LENGTH } from './wire-reader.ts';

/** Tags of fields, with their wire types (proto/fdinfo.proto, proto/regfile.proto). */
const tag = (field: number, wireType = 0) => (field << 3) | wireType;
const FILE_TYPE = tag(1);
const FILE_ID = tag(2);
const FILE_REG = tag(3, LENGTH);
const REG_ID = tag(1);
const REG_FLAGS = tag(2);
const REG_POS = tag(3);
const REG_FOWN = tag(5, LENGTH);
const REG_NAME = tag(6, LENGTH);
const REG_SIZE = tag(8);
const REG_MODE = tag(10);

/** fown of a file without an owner. */
const NO_OWNER = [tag(1), 0, tag(2), 0, tag(3), 0, tag(4), 0, tag(5), 0];
const FASYNC = 0o20000;
const WORD = 2 ** 32;
/** A size or mode that is not said. */
const UNKNOWN = -1;
/** The position that is not to be set is no exact number, and so not plain. */
const EXACT_BITS = 49;
/** Rows of the first columns. */
const ROOM_MIN = 64;

/** What a Buffer has too, without looking at the name of an encoding. */
interface ByteText {
  latin1Slice(start: number, end: number): string;
}

export class PlainFiles {
  /** By row; ids ascend. */
  ids = new Uint32Array(0);
  flags = new Uint32Array(0);
  positions = new Float64Array(0);
  sizes = new Float64Array(0);
  modes = new Float64Array(0);
  /** Index in `names`. */
  paths = new Uint32Array(0);
  /** Each once. */
  readonly names: string[] = [];
  count = 0;
  readonly #bytes: Uint8Array;
  readonly #text: ByteText;
  readonly #byName = new Map<string, number>();
  #at = 0;
  #next = 0;

  /** For entries that are all in these bytes. */
  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength) as Buffer & ByteText;
  }

  /** Takes the entry between two places of the image; false when it is another one, or damaged, or its id is no new one. */
  tryAdd(start: number, end: number): boolean {
    const bytes = this.#bytes;
    if (bytes[start] !== FILE_TYPE || bytes[start + 1] !== FdTypes.REG || bytes[start + 2] !== FILE_ID) return false;
    this.#at = start + 3;
    const id = this.#varint();
    const row = this.count;
    if (!(id < WORD) || (row > 0 && id <= (this.ids[row - 1] ?? 0))) return false;
    if (bytes[this.#at++] !== FILE_REG) return false;
    const length = this.#varint();
    if (this.#at + length !== end || bytes[this.#at++] !== REG_ID || this.#varint() !== id) return false;
    if (bytes[this.#at++] !== REG_FLAGS) return false;
    const flags = this.#varint();
    if (!(flags < WORD) || (flags & FASYNC) !== 0 || bytes[this.#at++] !== REG_POS) return false;
    const position = this.#varint();
    if (!(position >= 0) || !this.#skipOwner() || bytes[this.#at++] !== REG_NAME) return false;
    const nameEnd = this.#varint() + this.#at;
    if (!(nameEnd <= end)) return false;
    const nameStart = this.#at;
    this.#at = nameEnd;
    const size = this.#optional(REG_SIZE, end);
    const mode = this.#optional(REG_MODE, end);
    if (this.#at !== end || !(size >= UNKNOWN) || !(mode < WORD)) return false;
    const path = this.#pathOf(nameStart, nameEnd);
    if (path < 0) return false;
    if (row === this.ids.length) this.#grow();
    this.ids[row] = id;
    this.flags[row] = flags;
    this.positions[row] = position;
    this.sizes[row] = size;
    this.modes[row] = mode;
    this.paths[row] = path;
    this.count++;
    return true;
  }

  /** The row of a file; −1 when it is none of these. */
  rowOf(id: number): number {
    const { ids, count } = this;
    // Mostly they are asked for in order.
    if (this.#next < count && ids[this.#next] === id) return this.#next++;
    let low = 0;
    for (let high = count; low < high; ) {
      const middle = (low + high) >>> 1;
      if ((ids[middle] ?? 0) < id) low = middle + 1;
      else high = middle;
    }
    if (low >= count || ids[low] !== id) return -1;
    this.#next = low + 1;
    return low;
  }

  nameOf(row: number): string {
    return this.names[this.paths[row] ?? 0] ?? '';
  }

  /** The file as an entry. */
  entry(row: number): FileEntry {
    const reg = this.reg(row);
    return { type: FdTypes.REG, id: reg.id, reg };
  }

  reg(row: number): RegFileEntry {
    const [size, mode] = [this.sizes[row] ?? UNKNOWN, this.modes[row] ?? UNKNOWN];
    const reg: RegFileEntry = {
      id: this.ids[row] ?? 0,
      flags: this.flags[row] ?? 0,
      pos: BigInt(this.positions[row] ?? 0),
      fown: { uid: 0, euid: 0, signum: 0, pid_type: 0, pid: 0 },
      name: this.nameOf(row),
      build_id: [],
    };
    if (size !== UNKNOWN) reg.size = size;
    if (mode !== UNKNOWN) reg.mode = mode;
    return reg;
  }

  #grow(): void {
    const room = Math.max(ROOM_MIN, this.count * 4);
    const words = (old: Uint32Array) => {
      const grown = new Uint32Array(room);
      grown.set(old);
      return grown;
    };
    const numbers = (old: Float64Array) => {
      const grown = new Float64Array(room);
      grown.set(old);
      return grown;
    };
    this.ids = words(this.ids);
    this.flags = words(this.flags);
    this.paths = words(this.paths);
    this.positions = numbers(this.positions);
    this.sizes = numbers(this.sizes);
    this.modes = numbers(this.modes);
  }

  /** A number; NaN when it is not exact. */
  #varint(): number {
    const bytes = this.#bytes;
    let at = this.#at;
    let byte = bytes[at++] ?? 0;
    let value = byte & 127;
    for (let bits = 7; byte > 127; bits += 7) {
      if (bits >= EXACT_BITS) return Number.NaN;
      byte = bytes[at++] ?? 0;
      value += (byte & 127) * 2 ** bits;
    }
    this.#at = at;
    return value;
  }

  #optional(wanted: number, end: number): number {
    if (this.#at >= end || this.#bytes[this.#at] !== wanted) return UNKNOWN;
    this.#at++;
    return this.#varint();
  }

  #skipOwner(): boolean {
    const bytes = this.#bytes;
    let at = this.#at;
    if (bytes[at++] !== REG_FOWN || bytes[at++] !== NO_OWNER.length) return false;
    for (let i = 0; i < NO_OWNER.length; i++) if (bytes[at++] !== NO_OWNER[i]) return false;
    this.#at = at;
    return true;
  }

  #pathOf(start: number, end: number): number {
    const name = this.#text.latin1Slice(start, end);
    const known = this.#byName.get(name);
    if (known !== undefined) return known;
    if (name.includes('\0')) return -1;
    this.#byName.set(name, this.names.length);
    return this.names.push(name) - 1;
  }
}
