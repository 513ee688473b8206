/**
 * Reads the protobuf wire format (https://protobuf.dev/programming-guides/encoding/) from a byte array. Knows where it
 * is: a failure throws an ImageError with file, entry and field path. 64-bit values are read as two 32-bit halves, since
 * making a bigint for each would be the most expensive part of decoding.
 */
import { byteString } from '../base/bytes.ts';
import { FieldPath, type ImagePlace } from './image-error.ts';

/** Wire types; groups (3, 4) are not used in images. */
export const VARINT = 0;
export const FIXED64 = 1;
export const LENGTH = 2;
const FIXED32 = 5;

const WIRE_NAMES = ['varint', 'fixed64', 'length-delimited', 'group start', 'group end', 'fixed32', 'type 6', 'type 7'];

const TWO_32 = 0x1_0000_0000;

export class WireReader {
  readonly bytes: Uint8Array;
  position = 0;
  end: number;
  /** Halves of the last varint or fixed64, unsigned. */
  low = 0;
  high = 0;
  private readonly path: FieldPath;

  constructor(bytes: Uint8Array, place: ImagePlace) {
    this.bytes = bytes;
    this.path = new FieldPath(place);
    this.end = bytes.length;
  }

  /** Restricts reading to a part of the bytes, for images with many entries. */
  limit(start: number, end: number): void {
    this.position = start;
    this.end = end;
  }

  /** Reads a varint into `low` and `high`. */
  varint(field: string): void {
    const { bytes, end } = this;
    let { position } = this;
    let low = 0;
    const first = bytes[position] as number;
    if (first < 0x80 && position < end) {
      this.position = position + 1;
      this.low = first;
      this.high = 0;
      return;
    }
    // The first four bytes hold 28 bits, which is enough for most values.
    for (let shift = 0; shift < 28; shift += 7) {
      if (position >= end) this.fail(field, 'the data ends inside a number');
      const byte = bytes[position++] as number;
      low |= (byte & 0x7f) << shift;
      if (byte < 0x80) {
        this.position = position;
        this.low = low;
        this.high = 0;
        return;
      }
    }
    this.position = position;
    this.longVarint(field, low);
  }

  private longVarint(field: string, low: number): void {
    const { bytes, end } = this;
    let { position } = this;
    let high = 0;
    for (let index = 4; index < 10; index++) {
      if (position >= end) this.fail(field, 'the data ends inside a number');
      const byte = bytes[position++] as number;
      if (index === 9 && byte > 1) break;
      if (index === 4) low |= byte << 28;
      high |= index === 4 ? (byte & 0x7f) >> 4 : (byte & 0x7f) << (index * 7 - 32);
      if (byte < 0x80) {
        this.position = position;
        this.low = low >>> 0;
        this.high = high >>> 0;
        return;
      }
    }
    this.fail(field, 'a number is longer than 64 bits');
  }

  /** Goes on when this tag, of one byte or two, comes next; false when it does not. */
  skipTag(tag: number): boolean {
    const { bytes, position } = this;
    if (tag < 0x80) {
      if (position >= this.end || bytes[position] !== tag) return false;
      this.position++;
      return true;
    }
    const isNext =
      position + 1 < this.end && bytes[position] === ((tag & 0x7f) | 0x80) && bytes[position + 1] === tag >>> 7;
    if (isNext) this.position += 2;
    return isNext;
  }

  /** Goes past values 0 that have this tag, of one byte, behind them; returns how many. */
  skipZeros(tag: number): number {
    if (tag >= 0x80) return 0;
    const { bytes, position } = this;
    const last = this.end - 2;
    let at = position;
    while (at <= last && bytes[at] === 0 && bytes[at + 1] === tag) at += 2;
    this.position = at;
    return (at - position) / 2;
  }

  fixed64(field: string): void {
    if (this.end - this.position < 8) this.fail(field, 'the data ends inside a number');
    this.low = readUint32(this.bytes, this.position);
    this.high = readUint32(this.bytes, this.position + 4);
    this.position += 8;
  }

  /** Reads a varint that must fit 32 bits, as unsigned number. One byte is the common case. */
  uint32(field: string): number {
    if (this.position < this.end) {
      const byte = this.bytes[this.position] as number;
      if (byte < 0x80) {
        this.position++;
        return byte;
      }
    }
    this.varint(field);
    if (this.high !== 0) this.fail(field, `the value ${this.unsigned64()} does not fit in 32 bits`);
    return this.low;
  }

  /** int32: negative values come sign-extended to 64 bits; some writers leave them at 32. */
  int32(field: string): number {
    this.varint(field);
    const negative = this.high === 0xffff_ffff && this.low >= 0x8000_0000;
    if (this.high !== 0 && !negative) this.fail(field, `the value ${this.signed64()} does not fit in 32 bits`);
    return this.low | 0;
  }

  sint32(field: string): number {
    const value = this.uint32(field);
    return (value >>> 1) ^ -(value & 1);
  }

  /** The last 64-bit value as bigint. */
  unsigned64(): bigint {
    const { low, high } = this;
    // One bigint instead of four, for what a number can hold.
    if (high < 0x20_0000) return high === 0 && low === 0 ? 0n : BigInt(high * TWO_32 + low);
    return (BigInt(high) << 32n) | BigInt(low);
  }

  signed64(): bigint {
    return BigInt.asIntN(64, this.unsigned64());
  }

  zigzag64(): bigint {
    const value = this.unsigned64();
    return (value >> 1n) ^ -(value & 1n);
  }

  /** The last 64-bit value as number; an error when a number cannot hold it exactly. */
  unsignedNumber(field: string): number {
    if (this.high < 0x20_0000) return this.high * TWO_32 + this.low;
    return this.exact(field, this.unsigned64());
  }

  exact(field: string, value: bigint): number {
    const number = Number(value);
    if (BigInt(number) !== value) this.fail(field, `the value ${value} is too big`);
    return number;
  }

  /** Reads a length and returns the end of what follows. */
  private block(field: string): number {
    const length = this.uint32(field);
    const end = this.position + length;
    if (end > this.end) this.fail(field, `${length} bytes announced, but only ${this.end - this.position} are left`);
    return end;
  }

  /** A view into the bytes read from, not a copy. */
  view(field: string): Uint8Array {
    const end = this.block(field);
    const start = this.position;
    this.position = end;
    return this.bytes.subarray(start, end);
  }

  /** A byte string: one char of 0-255 for each byte. */
  byteString(field: string): string {
    const end = this.block(field);
    const { bytes, position } = this;
    this.position = end;
    return byteString(bytes.subarray(position, end));
  }

  /** Goes into a nested message; `index` is that of a repeated field, else -1. Give the result to `leave`. */
  enter(field: string, index: number): number {
    const outerEnd = this.end;
    this.end = this.block(field);
    this.path.enter(field, index);
    return outerEnd;
  }

  leave(outerEnd: number): void {
    this.end = outerEnd;
    this.path.leave();
  }

  /** Skips the value of an unknown field. */
  skip(wireType: number, field: string): void {
    if (wireType === VARINT) this.varint(field);
    else if (wireType === LENGTH) this.view(field);
    else if (wireType === FIXED64 || wireType === FIXED32) {
      const length = wireType === FIXED64 ? 8 : 4;
      if (this.end - this.position < length) this.fail(field, 'the data ends inside a number');
      this.position += length;
    } else this.fail(field, `wire type '${wireName(wireType)}' is not used in images`);
  }

  fail(field: string, problem: string): never {
    return this.path.fail(field, problem);
  }
}

/** Four bytes, little-endian. The caller has checked that they are there. */
export function readUint32(bytes: Uint8Array, position: number): number {
  const b0 = bytes[position] as number;
  const b1 = bytes[position + 1] as number;
  const b2 = bytes[position + 2] as number;
  const b3 = bytes[position + 3] as number;
  return (b0 | (b1 << 8) | (b2 << 16) | (b3 << 24)) >>> 0;
}

export function wireName(wireType: number): string {
  return WIRE_NAMES[wireType] ?? `type ${wireType}`;
}
