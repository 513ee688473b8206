/** Large data of a program, which is only copied when the program is laid out. */

/** What may lie between two blobs of one array and still be copied with them. */
export const BLOB_GAP_MAX = 64;

export const aligned = (bytes: number) => (bytes + 7) & ~7;

export interface PlacedBlob {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** A part of a buffer, which must not change until the program is laid out. */
interface Part {
  readonly offset: number;
  readonly buffer: ArrayBufferLike;
  readonly start: number;
  end: number;
}

export class Blobs {
  #list: Part[] = [];
  /** What all of them take. */
  byteLength = 0;

  copy(): Blobs {
    const copy = new Blobs();
    copy.#list = this.#list.map((part) => ({ ...part }));
    copy.byteLength = this.byteLength;
    return copy;
  }

  /** Adds the bytes of a buffer between two places; returns their offset. Parts of an image with little in between are one blob. */
  add(buffer: ArrayBufferLike, start: number, end: number): number {
    const last = this.#list[this.#list.length - 1];
    if (last !== undefined && last.buffer === buffer && start >= last.end && start - last.end <= BLOB_GAP_MAX) {
      last.end = end;
      this.byteLength = last.offset + aligned(end - last.start);
      return last.offset + start - last.start;
    }
    const offset = this.byteLength;
    this.byteLength += aligned(end - start);
    this.#list.push({ offset, buffer, start, end });
    return offset;
  }

  /** All of them, when the first one is at `at`. */
  at(at: number): readonly PlacedBlob[] {
    return this.#list.map(({ offset, buffer, start, end }) => ({
      offset: at + offset,
      bytes: new Uint8Array(buffer, start, end - start),
    }));
  }
}
