/** Reads numbers of an image one after the other without saying what is wrong with them: for rows, of which there are thousands. */

/** What a byte before the last one counts for, where a number has more than 32 bits. */
const SCALE_MAX = 2 ** 28;
const WORD = 2 ** 32;

export class NumberCursor {
  readonly bytes: Uint8Array;
  at = 0;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  /** A varint below 2^32; NaN for any other. It may go past the end of what is looked at, which is for the caller to see. */
  uint32(): number {
    const { bytes } = this;
    let byte = bytes[this.at++] as number;
    if (byte < 128) return byte;
    let value = byte & 127;
    for (let scale = 128; scale <= SCALE_MAX; scale *= 128) {
      byte = bytes[this.at++] as number;
      value += (byte & 127) * scale;
      if (byte < 128) return value < WORD ? value : Number.NaN;
    }
    return Number.NaN;
  }

  /** Whether the byte here is that tag; goes on if so. */
  skip(tag: number): boolean {
    if (this.bytes[this.at] !== tag) return false;
    this.at++;
    return true;
  }
}
