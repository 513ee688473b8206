/** How each scalar type of the schemas is read, checked and written. */
import type { EnumType, ScalarType } from './message-type.ts';
import { FIXED64, LENGTH, VARINT, type WireReader } from './wire-reader.ts';
import type { WireWriter } from './wire-writer.ts';

export interface Scalar {
  readonly wireType: number;
  read(reader: WireReader, field: string): unknown;
  /** Whether the value can be stored; `write` may be called only then. */
  accepts(value: unknown): boolean;
  write(writer: WireWriter, value: never): void;
  /** For the error text: "… is not <expected>". */
  readonly expected: string;
  /** The value that the varint 0 stands for, in lists that are full of it. */
  readonly zero?: 0 | 0n;
  /** Numbers from 0 to 2^31-1 are accepted, and written as they are. */
  readonly isPlainInteger?: true;
  /** Bigints from 0 to 2^64-1 are. */
  readonly isPlainBigint?: true;
}

const TWO_63 = 2 ** 63;
const TWO_64 = 2 ** 64;

const UNSIGNED64_MAX = 0xffff_ffff_ffff_ffffn;

const UNSIGNED64_EXPECTED = 'an integer of 0 to 2^64-1';
const SIGNED64_EXPECTED = 'an integer of -2^63 to 2^63-1';

const uint32: Scalar = {
  wireType: VARINT,
  read: (reader, field) => reader.uint32(field),
  accepts: (value) => typeof value === 'number' && value >>> 0 === value,
  write: (writer, value: number) => writer.uint32(value),
  expected: 'an integer of 0 to 4294967295',
  zero: 0,
  isPlainInteger: true,
};

const int32: Scalar = {
  wireType: VARINT,
  read: (reader, field) => reader.int32(field),
  accepts: (value) => typeof value === 'number' && (value | 0) === value,
  write: (writer, value: number) => writer.int32(value),
  expected: 'an integer of -2147483648 to 2147483647',
  isPlainInteger: true,
};

const sint32: Scalar = {
  wireType: VARINT,
  accepts: int32.accepts,
  expected: int32.expected,
  read: (reader, field) => reader.sint32(field),
  write: (writer, value: number) => writer.uint32(((value << 1) ^ (value >> 31)) >>> 0),
};

const bool: Scalar = {
  wireType: VARINT,
  read(reader, field) {
    reader.varint(field);
    return reader.low !== 0 || reader.high !== 0;
  },
  accepts: (value) => typeof value === 'boolean',
  write: (writer, value: boolean) => writer.uint32(value ? 1 : 0),
  expected: 'true or false',
};

const uint64: Scalar = {
  wireType: VARINT,
  read(reader, field) {
    reader.varint(field);
    return reader.unsigned64();
  },
  accepts: (value) => typeof value === 'bigint' && value >= 0n && value <= UNSIGNED64_MAX,
  write: (writer, value: bigint) => writer.bigint(value),
  expected: `${UNSIGNED64_EXPECTED} as bigint`,
  zero: 0n,
  isPlainBigint: true,
};

const fixed64: Scalar = {
  accepts: uint64.accepts,
  expected: uint64.expected,
  wireType: FIXED64,
  read(reader, field) {
    reader.fixed64(field);
    return reader.unsigned64();
  },
  write: (writer, value: bigint) => writer.fixed64(value),
};

const int64: Scalar = {
  wireType: VARINT,
  read(reader, field) {
    reader.varint(field);
    return reader.signed64();
  },
  accepts: (value) => typeof value === 'bigint' && BigInt.asIntN(64, value) === value,
  write: (writer, value: bigint) => writer.bigint(value),
  expected: `${SIGNED64_EXPECTED} as bigint`,
};

const sint64: Scalar = {
  ...int64,
  read(reader, field) {
    reader.varint(field);
    return reader.zigzag64();
  },
  write: (writer, value: bigint) => writer.bigint((value << 1n) ^ (value >> 63n)),
};

/** The 64-bit types with `jstype = JS_NUMBER`. */
const uint64Number: Scalar = {
  wireType: VARINT,
  read(reader, field) {
    reader.varint(field);
    return reader.unsignedNumber(field);
  },
  accepts: (value) => typeof value === 'number' && Number.isInteger(value) && value >= 0 && value < TWO_64,
  write: (writer, value: number) => writer.unsignedNumber(value),
  expected: UNSIGNED64_EXPECTED,
  isPlainInteger: true,
};

const fixed64Number: Scalar = {
  wireType: FIXED64,
  accepts: uint64Number.accepts,
  expected: uint64Number.expected,
  read(reader, field) {
    reader.fixed64(field);
    return reader.unsignedNumber(field);
  },
  write: (writer, value: number) => writer.fixed64(BigInt(value)),
};

const int64Number: Scalar = {
  wireType: VARINT,
  read(reader, field) {
    reader.varint(field);
    return reader.exact(field, reader.signed64());
  },
  accepts: (value) => typeof value === 'number' && Number.isInteger(value) && value >= -TWO_63 && value < TWO_63,
  write: (writer, value: number) => writer.bigint(BigInt(value)),
  expected: SIGNED64_EXPECTED,
  isPlainInteger: true,
};

const sint64Number: Scalar = {
  wireType: VARINT,
  accepts: int64Number.accepts,
  expected: int64Number.expected,
  read(reader, field) {
    reader.varint(field);
    const { low, high } = reader;
    // -1 is what nearly all values are.
    return high === 0 && low < 0x8000_0000 ? (low >>> 1) ^ -(low & 1) : reader.exact(field, reader.zigzag64());
  },
  write: (writer, value: number) => sint64.write(writer, BigInt(value) as never),
};

const bytes: Scalar = {
  wireType: LENGTH,
  read: (reader, field) => reader.view(field),
  accepts: (value) => value instanceof Uint8Array,
  write: (writer, value: Uint8Array) => writer.block(value),
  expected: 'a Uint8Array',
};

const string: Scalar = {
  wireType: LENGTH,
  read(reader, field) {
    const text = reader.byteString(field);
    if (text.includes('\0')) reader.fail(field, 'a text has a zero byte in it');
    return text;
  },
  accepts: (value) => typeof value === 'string' && isCString(value),
  write: (writer, value: string) => writer.byteString(value),
  expected: 'a byte string (chars of 1 to 255)',
};

/** Most texts have nothing else. */
const PRINTABLE = /^[ -\u00ff]*$/;
/** After so many texts an expression, which has to be compiled, is faster than a loop. */
const MANY = 256;
/** Over each run; it only chooses the faster way. */
let looked = 0;

/** Texts are strings of C in CRIU: what comes behind a zero byte would be lost there. */
export function isCString(text: string): boolean {
  if (looked++ > MANY && PRINTABLE.test(text)) return true;
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code === 0 || code > 255) return false;
  }
  return true;
}

const SCALARS = { bool, bytes, fixed64, int32, int64, sint32, sint64, string, uint32, uint64 };
const NUMBER_SCALARS = { fixed64: fixed64Number, int64: int64Number, sint64: sint64Number, uint64: uint64Number };

export function scalarOf(type: ScalarType, asNumber: true | undefined): Scalar {
  return asNumber === true && type in NUMBER_SCALARS
    ? NUMBER_SCALARS[type as keyof typeof NUMBER_SCALARS]
    : SCALARS[type];
}

/** A closed enum: only the listed numbers are values. */
export function enumScalar({ enum: name, values }: EnumType): Scalar {
  const known = new Set(Object.values(values));
  return {
    wireType: VARINT,
    read(reader, field) {
      const value = reader.int32(field);
      if (!known.has(value)) reader.fail(field, `${value} is not a value of ${name}`);
      return value;
    },
    accepts: (value) => typeof value === 'number' && known.has(value),
    write: (writer, value: number) => writer.int32(value),
    expected: `a value of ${name}`,
  };
}
