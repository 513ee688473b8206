/**
 * The images of what waits in pipes and sockets: entries with bytes behind them. Mostly an entry says nothing but whose the
 * bytes are, and how many, so these are rows of columns; all others are decoded.
 */
import { expectMany } from '../base/hot-code.ts';
import type { ImageDir } from './image-dir.ts';
import { parseWithPayloadExcept } from './image-file.ts';
import { type ElementOf, imageFileName } from './image-kinds.ts';
import { NumberCursor } from './number-cursor.ts';

export type RowsKind = 'pipes-data' | 'fifo-data' | 'sk-queues';

/** The first fields of sk_packet_entry and pipe_data_entry are numbers: whose it is, how many bytes, and of a pipe its size. */
const OWNER = 1 << 3;
const LENGTH = 2 << 3;
const SIZE = 3 << 3;
/** A size that is not said. */
const NO_SIZE = -1;
const ROOM_MIN = 64;
/** About the size of an entry. */
const ENTRY_BYTES = 64;

export class DataRows<K extends RowsKind> {
  /** All of the image. */
  readonly bytes: Uint8Array;
  /** By row, in the order of the image: id of the socket's file, or number of the pipe. */
  owners = new Uint32Array(0);
  /** Where the data is in `bytes`, and how much. */
  starts = new Uint32Array(0);
  lengths = new Uint32Array(0);
  sizes = new Float64Array(0);
  count = 0;
  /** By row: entries that say more. */
  readonly others = new Map<number, ElementOf<K>>();
  readonly #kind: K;
  readonly #cursor: NumberCursor;

  /** Throws ImageError. */
  constructor(kind: K, bytes: Uint8Array) {
    this.#kind = kind;
    this.bytes = bytes;
    this.#cursor = new NumberCursor(bytes);
    if (bytes.length === 0) return;
    parseWithPayloadExcept(
      kind,
      bytes,
      imageFileName(kind),
      (start, end) => this.#take(start, end),
      (element) => this.others.set(this.#push(0, 0, 0, NO_SIZE), element),
    );
  }

  /** Reads an image; where there is none, there are no rows. Throws ImageError. */
  static read<K extends RowsKind>(kind: K, images: ImageDir): DataRows<K> {
    const bytes = images.tryReadBytes(imageFileName(kind));
    if (bytes === undefined) return new DataRows(kind, new Uint8Array(0));
    expectMany(bytes.length / ENTRY_BYTES);
    return new DataRows(kind, bytes);
  }

  #take(start: number, end: number): number {
    const cursor = this.#cursor;
    cursor.at = start;
    if (!cursor.skip(OWNER)) return -1;
    const owner = cursor.uint32();
    if (!cursor.skip(LENGTH)) return -1;
    const length = cursor.uint32();
    let size = NO_SIZE;
    if (cursor.at < end && this.#kind !== 'sk-queues' && cursor.skip(SIZE)) size = cursor.uint32();
    if (cursor.at !== end || Number.isNaN(owner + length + size)) return -1;
    this.#push(owner, end, length, size);
    return length;
  }

  #push(owner: number, start: number, length: number, size: number): number {
    const row = this.count++;
    if (row === this.owners.length) this.#grow();
    this.owners[row] = owner;
    this.starts[row] = start;
    this.lengths[row] = length;
    this.sizes[row] = size;
    return row;
  }

  /** The row as an element of the image. */
  element(row: number): ElementOf<K> {
    const other = this.others.get(row);
    if (other !== undefined) return other;
    const [owner, length, size] = [this.owners[row] ?? 0, this.lengths[row] ?? 0, this.sizes[row] ?? NO_SIZE];
    const start = this.starts[row] ?? 0;
    const payload = this.bytes.subarray(start, start + length);
    const hasSize = size === NO_SIZE ? {} : { size };
    const message =
      this.#kind === 'sk-queues' ? { id_for: owner, length, scm: [] } : { pipe_id: owner, bytes: length, ...hasSize };
    return { message, payload } as ElementOf<K>;
  }

  #grow(): void {
    const room = Math.max(ROOM_MIN, this.count * 4);
    const words = (old: Uint32Array) => {
      const grown = new Uint32Array(room);
      grown.set(old);
      return grown;
    };
    this.owners = words(this.owners);
    this.starts = words(this.starts);
    this.lengths = words(this.lengths);
    const sizes = new Float64Array(room);
    sizes.set(this.sizes);
    this.sizes = sizes;
  }
}
