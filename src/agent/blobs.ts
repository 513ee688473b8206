/** Large data of a program, which is only copied when the program is laid out. */

/** What may lie between two blobs of one array and still be copied with them. */
export const BLOB_GAP_MAX = 64;

export const aligned = (bytes: number) => (bytes + 7) & ~7;

export interface PlacedBlob {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

export class Blobs {
  #list: { readonly offset: number; bytes: Uint8Array }[] = [];
  /** What all of them take. */
  byteLength = 0;

  copy(): Blobs {
    const copy = new Blobs();
    copy.#list = this.#list.map((blob) => ({ ...blob }));
    copy.byteLength = this.byteLength;
    return copy;
  }

  /** Adds one; returns its offset. */
  add(bytes: Uint8Array): number {
    const extended = this.#tryExtend(bytes);
    if (extended !== undefined) return extended;
    const offset = this.byteLength;
    this.byteLength += aligned(bytes.length);
    this.#list.push({ offset, bytes });
    return offset;
  }

  /** Parts of an image with little in between are one blob. */
  #tryExtend({ buffer, byteOffset, length }: Uint8Array): number | undefined {
    const last = this.#list[this.#list.length - 1];
    if (last === undefined || last.bytes.buffer !== buffer) return undefined;
    const { byteOffset: start, length: before } = last.bytes;
    const gap = byteOffset - start - before;
    if (gap < 0 || gap > BLOB_GAP_MAX) return undefined;
    last.bytes = new Uint8Array(buffer, start, before + gap + length);
    this.byteLength = last.offset + aligned(last.bytes.length);
    return last.offset + byteOffset - start;
  }

  /** All of them, when the first one is at `start`. */
  at(start: number): readonly PlacedBlob[] {
    return this.#list.map(({ offset, bytes }) => ({ offset: start + offset, bytes }));
  }
}
