/**
 * Regular files of files.img about which there is nothing special: a path, flags and a position. There may be many
 * thousands, so they are columns instead of objects, and paths that several of them have are there once.
 */
import { lowerBound } from '../base/sorted.ts';
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

const OWNER_BYTES = 12;
const FASYNC = 0o20000;
const WORD = 2 ** 32;
/** A size or mode that is not said. */
const UNKNOWN = -1;
/** Numbers of more than seven bytes are not exact; the position that is not to be set is one. */
const SCALE_MAX = 2 ** 42;
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
    // Numbers of one byte are read here: calls are what takes time.
    let at = start + 3;
    let id = bytes[at++] as number;
    if (id > 127) {
      id = this.#varint(at - 1);
      at = this.#at;
    }
    const row = this.count;
    if (!(id < WORD) || (row > 0 && id <= (this.ids[row - 1] as number)) || bytes[at++] !== FILE_REG) return false;
    let length = bytes[at++] as number;
    if (length > 127) {
      length = this.#varint(at - 1);
      at = this.#at;
    }
    if (at + length !== end || bytes[at++] !== REG_ID) return false;
    let same = bytes[at++] as number;
    if (same > 127) {
      same = this.#varint(at - 1);
      at = this.#at;
    }
    if (same !== id || bytes[at++] !== REG_FLAGS) return false;
    let flags = bytes[at++] as number;
    if (flags > 127) {
      flags = this.#varint(at - 1);
      at = this.#at;
    }
    if (!(flags < WORD) || (flags & FASYNC) !== 0 || bytes[at++] !== REG_POS) return false;
    let position = bytes[at++] as number;
    if (position > 127) {
      position = this.#varint(at - 1);
      at = this.#at;
    }
    if (!(position >= 0) || !hasNoOwner(bytes, at) || bytes[at + OWNER_BYTES] !== REG_NAME) return false;
    at += OWNER_BYTES + 1;
    length = bytes[at++] as number;
    if (length > 127) {
      length = this.#varint(at - 1);
      at = this.#at;
    }
    const nameStart = at;
    at += length;
    if (!(at <= end)) return false;
    const nameEnd = at;
    let size = UNKNOWN;
    if (at < end && bytes[at] === REG_SIZE) {
      size = this.#varint(at + 1);
      at = this.#at;
    }
    let mode = UNKNOWN;
    if (at < end && bytes[at] === REG_MODE) {
      mode = this.#varint(at + 1);
      at = this.#at;
    }
    if (at !== end || !(size >= UNKNOWN) || !(mode < WORD)) return false;
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
    const row = lowerBound(ids, id, count);
    if (row >= count || ids[row] !== id) return -1;
    this.#next = row + 1;
    return row;
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

  /** The number at a place; NaN when it is not exact. Afterwards `#at` is behind it. */
  #varint(start: number): number {
    const bytes = this.#bytes;
    let at = start;
    let byte = bytes[at++] ?? 0;
    let value = byte & 127;
    for (let scale = 128; byte > 127; scale *= 128) {
      if (scale > SCALE_MAX) {
        value = Number.NaN;
        break;
      }
      byte = bytes[at++] ?? 0;
      value += (byte & 127) * scale;
    }
    this.#at = at;
    return value;
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

/** Whether the field fown is there, as it is of a file without an owner: five numbers, all zero; their tags are eight times 1 to 5. */
function hasNoOwner(bytes: Uint8Array, at: number): boolean {
  return (
    bytes[at] === REG_FOWN &&
    bytes[at + 1] === OWNER_BYTES - 2 &&
    bytes[at + 2] === 8 &&
    bytes[at + 4] === 16 &&
    bytes[at + 6] === 24 &&
    bytes[at + 8] === 32 &&
    bytes[at + 10] === 40 &&
    ((bytes[at + 3] as number) | (bytes[at + 5] as number) | (bytes[at + 7] as number)) === 0 &&
    ((bytes[at + 9] as number) | (bytes[at + 11] as number)) === 0
  );
}
