/** Writes the protobuf wire format into a growing buffer; the counterpart of wire-reader.ts. */

const TWO_32 = 0x1_0000_0000;

/** Splits a bigint without arithmetic. */
const wide = new BigUint64Array(1);
const halves = new Uint32Array(wide.buffer);

export class WireWriter {
  private bytes: Uint8Array;
  /** Bytes written. */
  length = 0;
  /** `bytes`, for texts. */
  private buffer: Buffer | undefined;

  constructor(capacity = 256) {
    this.bytes = new Uint8Array(capacity);
  }

  /** What was written, as a view: valid until the next write. */
  get written(): Uint8Array {
    return this.bytes.subarray(0, this.length);
  }

  /** The bytes to write to from `length` on: at least so many. Whoever does moves `length` himself. */
  room(count: number): Uint8Array {
    this.reserve(count);
    return this.bytes;
  }

  /** A 64-bit varint given as unsigned halves. */
  varint(low: number, high: number): void {
    this.reserve(10);
    const { bytes } = this;
    let { length } = this;
    while (high !== 0) {
      bytes[length++] = (low & 0x7f) | 0x80;
      low = ((low >>> 7) | (high << 25)) >>> 0;
      high >>>= 7;
    }
    while (low > 0x7f) {
      bytes[length++] = (low & 0x7f) | 0x80;
      low >>>= 7;
    }
    bytes[length++] = low;
    this.length = length;
  }

  uint32(value: number): void {
    if (value < 0x80) {
      this.reserve(1);
      this.bytes[this.length++] = value;
    } else this.varint(value, 0);
  }

  /** A whole field that holds a varint, given as unsigned halves. */
  field(tag: number, low: number, high: number): void {
    if (this.length + 15 > this.bytes.length) this.grow(this.length + 15);
    const { bytes } = this;
    let { length } = this;
    while (tag > 0x7f) {
      bytes[length++] = (tag & 0x7f) | 0x80;
      tag >>>= 7;
    }
    bytes[length++] = tag;
    while (high !== 0) {
      bytes[length++] = (low & 0x7f) | 0x80;
      low = ((low >>> 7) | (high << 25)) >>> 0;
      high >>>= 7;
    }
    while (low > 0x7f) {
      bytes[length++] = (low & 0x7f) | 0x80;
      low >>>= 7;
    }
    bytes[length++] = low;
    this.length = length;
  }

  /** A whole field that holds an unsigned 64-bit varint; false, and nothing is written, when the value is not one. */
  bigintField(tag: number, value: bigint): boolean {
    wide[0] = value;
    if (wide[0] !== value) return false;
    this.field(tag, halves[0] as number, halves[1] as number);
    return true;
  }

  /** Writes all since `start` again, `count` times. */
  repeat(start: number, count: number): void {
    const size = this.length - start;
    const total = size * (count + 1);
    this.reserve(total - size);
    // Doubles what is there until it is enough.
    for (let done = size; done < total; done *= 2) {
      this.bytes.copyWithin(start + done, start, start + Math.min(done, total - done));
    }
    this.length = start + total;
  }

  /** Puts a byte string at a place, where there is room for it. */
  putText(at: number, text: string): void {
    this.buffer ??= Buffer.from(this.bytes.buffer);
    this.buffer.write(text, at, 'latin1');
  }

  /** Negative values are sign-extended to 64 bits, as protobuf asks for int32 and int64. */
  int32(value: number): void {
    this.varint(value >>> 0, value < 0 ? 0xffff_ffff : 0);
  }

  /** An unsigned integer that a number holds exactly. */
  unsignedNumber(value: number): void {
    this.varint(value >>> 0, Math.floor(value / TWO_32));
  }

  /** Modulo 2^64, as protobuf asks for negative values. */
  bigint(value: bigint): void {
    wide[0] = value;
    this.varint(halves[0] as number, halves[1] as number);
  }

  fixed64(value: bigint): void {
    this.reserve(8);
    new DataView(this.bytes.buffer).setBigUint64(this.length, BigInt.asUintN(64, value), true);
    this.length += 8;
  }

  /** Four bytes, little-endian: sizes and magics of the image framing. */
  rawUint32(value: number): void {
    this.reserve(4);
    this.putRawUint32(this.length, value);
    this.length += 4;
  }

  putRawUint32(position: number, value: number): void {
    const { bytes } = this;
    bytes[position] = value;
    bytes[position + 1] = value >>> 8;
    bytes[position + 2] = value >>> 16;
    bytes[position + 3] = value >>> 24;
  }

  raw(data: Uint8Array): void {
    this.reserve(data.length);
    this.bytes.set(data, this.length);
    this.length += data.length;
  }

  zeros(count: number): void {
    this.reserve(count);
    this.bytes.fill(0, this.length, this.length + count);
    this.length += count;
  }

  block(data: Uint8Array): void {
    this.uint32(data.length);
    this.raw(data);
  }

  /** Writes a byte string (chars of 0-255) with its length. */
  byteString(text: string): void {
    this.uint32(text.length);
    this.reserve(text.length);
    for (let index = 0; index < text.length; index++) this.bytes[this.length + index] = text.charCodeAt(index);
    this.length += text.length;
  }

  /** Begins a nested message; give the result to `endNested`. */
  beginNested(): number {
    this.reserve(1);
    // Nearly all messages are shorter than 128 bytes: one byte for the length, and a move when that was too little.
    return ++this.length;
  }

  endNested(start: number): void {
    const size = this.length - start;
    if (size < 0x80) {
      this.bytes[start - 1] = size;
      return;
    }
    let extra = 0;
    for (let rest = size >>> 7; rest !== 0; rest >>>= 7) extra++;
    this.reserve(extra);
    if (extra > 0) this.bytes.copyWithin(start + extra, start, this.length);
    const end = this.length + extra;
    this.length = start - 1;
    this.uint32(size);
    this.length = end;
  }

  private reserve(count: number): void {
    const needed = this.length + count;
    if (needed > this.bytes.length) this.grow(needed);
  }

  private grow(needed: number): void {
    const grown = new Uint8Array(Math.max(needed, this.bytes.length * 2));
    grown.set(this.bytes.subarray(0, this.length));
    this.bytes = grown;
    this.buffer = undefined;
  }
}
