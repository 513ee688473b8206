/**
 * Reads the protobuf wire format (https://protobuf.dev/programming-guides/encoding/) from a byte array. Knows where it
 * is: a failure throws an ImageError with file, entry and field path. 64-bit values are read as two 32-bit halves, since
 * making a bigint for each would be the most expensive part of decoding.
 */
import { FieldPath, type ImagePlace } from './image-error.ts';

/** Wire types; groups (3, 4) are not used in images. */
export const VARINT = 0;
export const FIXED64 = 1;
export const LENGTH = 2;
export const FIXED32 = 5;

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
    const { bytes } = this;
    let position = this.position;
    let low = 0;
    let high = 0;
    for (let index = 0; index < 10; index++) {
      if (position >= this.end) this.fail(field, 'the data ends inside a number');
      const byte = bytes[position++] as number;
      const bits = byte & 0x7f;
      if (index < 4) low |= bits << (index * 7);
      else if (index === 4) {
        low |= bits << 28;
        high = bits >> 4;
      } else if (index < 9) high |= bits << (index * 7 - 32);
      else if (byte > 1) break;
      else high |= byte << 31;
      if (byte < 0x80) {
        this.position = position;
        this.low = low >>> 0;
        this.high = high >>> 0;
        return;
      }
    }
    this.fail(field, 'a number is longer than 64 bits');
  }

  fixed64(field: string): void {
    if (this.end - this.position < 8) this.fail(field, 'the data ends inside a number');
    this.low = this.fixed32();
    this.high = this.fixed32();
  }

  private fixed32(): number {
    const { bytes, position } = this;
    this.position = position + 4;
    const byte = (index: number) => bytes[position + index] as number;
    return (byte(0) | (byte(1) << 8) | (byte(2) << 16) | (byte(3) << 24)) >>> 0;
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
    return this.high === 0 ? BigInt(this.low) : (BigInt(this.high) << 32n) | BigInt(this.low);
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
    if (end - position > 64)
      return Buffer.from(bytes.buffer, bytes.byteOffset + position, end - position).toString('latin1');
    let text = '';
    for (let index = position; index < end; index++) text += String.fromCharCode(bytes[index] as number);
    return text;
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

export function wireName(wireType: number): string {
  return WIRE_NAMES[wireType] ?? `type ${wireType}`;
}
