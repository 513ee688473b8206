/**
 * Decodes many messages of one type: a function of straight code is made from the description of each type, which takes
 * what writers write, one field after the other in the order of their numbers. Whatever else there is, damage included,
 * it leaves to the codec, which then says what is wrong. A message takes a fifth of the codec's time; making the
 * functions takes as long as decoding some hundred messages. Equal parts of messages, such as the options of sockets, may be
 * the same object, which nobody may change.
 */
import { ImageError } from './image-error.ts';
import type { EnumType, FieldSpec, MessageType } from './message-type.ts';
import { enumScalar, type Scalar, scalarOf } from './scalars.ts';
import { LENGTH, WireReader } from './wire-reader.ts';

/** Decodes the message between two places; undefined when that is up to the codec. */
export type ManyDecoder<T> = (start: number, end: number) => T | undefined;

/** `depth`: of messages that it is in. */
type Decode = (start: number, end: number, depth: number) => unknown;

/** Deeper ones are left to the codec, which has a limit. */
const DEPTH_MAX = 50;

/** A decoder for messages that all lie in `bytes`. */
export function manyDecoder<T>(type: MessageType<T>, bytes: Uint8Array): ManyDecoder<T> {
  const cell = new Compiler(bytes).cell(type);
  return (start, end) => {
    try {
      return cell.decode(start, end, 0) as T | undefined;
    } catch (error) {
      // The codec says it again, and where.
      if (error instanceof ImageError) return undefined;
      throw error;
    }
  };
}

/** The decoder of a type. */
interface Cell {
  decode: Decode;
}

class Compiler {
  readonly #bytes: Uint8Array;
  readonly #text: Buffer;
  readonly #reader: WireReader;
  readonly #cells = new Map<MessageType<unknown>, Cell>();

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#reader = new WireReader(bytes, { file: '' });
  }

  /** Most types of a schema do not occur: each is compiled when it is first met. */
  cell(type: MessageType<unknown>): Cell {
    const known = this.#cells.get(type);
    if (known !== undefined) return known;
    const cell: Cell = {
      decode: (start, end, depth) => {
        const decode = this.#compile(type);
        cell.decode = depth > 0 ? reusing(cell, decode, this.#text) : decode;
        return cell.decode(start, end, depth);
      },
    };
    this.#cells.set(type, cell);
    return cell;
  }

  #compile(type: MessageType<unknown>): Decode {
    const { fields, make } = makerOf(type);
    const nested = fields.map(({ message }) => (message === undefined ? undefined : this.cell(message)));
    return make(this.#bytes, this.#text, this.#reader, fields, nested) as Decode;
  }
}

/** What makes the decoder of a type for bytes: all that it makes are one code, which is compiled once. */
interface Maker {
  readonly fields: readonly Field[];
  readonly make: (...values: unknown[]) => unknown;
}

/** The same in each run: in the start image they have been run, and compiled. */
const makers = new Map<MessageType<unknown>, Maker>();

function makerOf(type: MessageType<unknown>): Maker {
  let maker = makers.get(type);
  if (maker === undefined) {
    const fields = [...type.fields()].sort((a, b) => a[0] - b[0]).map((spec, index) => describe(spec, index));
    const make = new Function('bytes', 'text', 'reader', 'fields', 'nested', sourceOf(fields)) as Maker['make'];
    maker = { fields, make };
    makers.set(type, maker);
  }
  return maker;
}

/** Gives the same object for the same bytes as one of the last times, until it has turned out that there are none. */
function reusing(cell: Cell, decode: Decode, text: Buffer): Decode {
  const last: { readonly start: number; readonly end: number; readonly value: unknown }[] = [];
  let misses = 0;
  return (start, end, depth) => {
    if (end - start < PART_BYTES_MIN) return decode(start, end, depth);
    for (let i = 0; i < last.length; i++) {
      const known = last[i] as (typeof last)[number];
      if (known.end - known.start !== end - start) continue;
      if (text.compare(text, known.start, known.end, start, end) !== 0) continue;
      misses = 0;
      return known.value;
    }
    const value = decode(start, end, depth);
    if (value === undefined) return undefined;
    if (last.unshift({ start, end, value }) > PARTS_MAX) last.pop();
    if (++misses > MISSES_MAX) cell.decode = decode;
    return value;
  };
}

const MISSES_MAX = 20;
/** As many as there are in a row: the segments of a thread. */
const PARTS_MAX = 3;
/** Shorter messages are decoded faster than compared. */
const PART_BYTES_MIN = 16;

/** A field for the text of a decoder. */
interface Field {
  readonly index: number;
  readonly name: string;
  readonly isRepeated: boolean;
  readonly isRequired: boolean;
  /** Number and wire type, byte by byte. */
  readonly tag: readonly number[];
  readonly type: FieldSpec[2];
  readonly scalar: Scalar | undefined;
  readonly message: MessageType<unknown> | undefined;
  /** Of an enum: true at its values. */
  readonly values: readonly (true | undefined)[];
}

function describe([number, name, type, label, options]: FieldSpec, index: number): Field {
  const isEnum = typeof type === 'object' && 'enum' in type;
  const message = typeof type === 'string' || isEnum ? undefined : type;
  const scalar = typeof type === 'string' ? scalarOf(type, options?.number) : isEnum ? enumScalar(type) : undefined;
  const tag: number[] = [];
  let rest = (number << 3) | (scalar?.wireType ?? LENGTH);
  for (; rest > 127; rest >>>= 7) tag.push((rest & 127) | 128);
  tag.push(rest);
  const labels = { isRepeated: label === 'repeated', isRequired: label === 'required' };
  return { index, name, ...labels, tag, type, scalar, message, values: isEnum ? valuesOf(type) : [] };
}

/** Only small ones: others are left to the codec. */
function valuesOf({ values }: EnumType): (true | undefined)[] {
  const isValue: (true | undefined)[] = [];
  for (const value of Object.values(values)) if (value >= 0 && value < 256) isValue[value] = true;
  return isValue;
}

/**
 * The body of a function that returns the decoder. In it `p` is the place, `v` a value that was read. Reading may go
 * past the end, into what comes behind; then the place is not the end when all is done, and the codec looks at it.
 */
function sourceOf(fields: readonly Field[]): string {
  const lines = fields.flatMap(({ isRepeated, index }) => (isRepeated ? [`const list${index} = [];`] : []));
  // All fields in their order, as the codec has them.
  const values = fields.map(({ isRepeated, index }) => (isRepeated ? `list${index}` : 'undefined'));
  const leading = fields.findIndex(({ isRequired }) => !isRequired);
  const count = leading < 0 ? fields.length : leading;
  const tail = tailOf(fields);
  for (const field of fields.slice(0, Math.min(count, tail))) {
    lines.push(`${needTag(field)} ${read(field)} const field${field.index} = v;`);
    values[field.index] = `field${field.index}`;
  }
  lines.push(
    `const message = { ${fields.map(({ name, index }) => `${name}: ${values[index]}`).join(', ')} };`,
    'done: {',
  );
  for (const field of fields.slice(Math.min(count, tail))) {
    if (field.index === tail) lines.push(reuseTail(fields.slice(tail)));
    lines.push(readField(field, fields));
  }
  const keepTail = tail < fields.length ? 'if (t >= 0) { last = message; lastAt = t; lastEnd = end; }' : '';
  return `let last, lastAt = 0, lastEnd = 0, misses = 0;
return function (p, end, depth) {
if (depth > ${DEPTH_MAX}) return undefined;
let v, w, x, t = -1;
${lines.join('\n')}
}
if (p !== end) return undefined;
${keepTail}
return message;
};`;
}

/** Where the first part is that is a message, if there are numbers before it: what comes then is often as in the last. */
function tailOf(fields: readonly Field[]): number {
  const tail = fields.findIndex(({ message, isRequired }) => message !== undefined && isRequired);
  return tail < TAIL_FIELDS_MIN ? fields.length : tail;
}

/** With fewer fields before it, the rest is as good as all of the message. */
const TAIL_FIELDS_MIN = 3;

/** Takes the fields of the last message when their bytes are the same, until it has turned out that they never are. */
function reuseTail(fields: readonly Field[]): string {
  const lines = fields.map(({ name }) => `message.${name} = last.${name};`);
  return `if (misses < ${MISSES_MAX}) {
t = p;
if (end - p === lastEnd - lastAt && text.compare(text, lastAt, lastEnd, p, end) === 0) { misses = 0; ${lines.join(' ')} return message; }
misses++;
}`;
}

function readField(field: Field, fields: readonly Field[]): string {
  const { name, index, isRepeated, isRequired } = field;
  if (isRequired) return `${needTag(field)} ${read(field)} message.${name} = v;`;
  const hasTag = `p < end && ${tagTest(field)}`;
  if (isRepeated) return `while (${hasTag}) { p += ${field.tag.length}; ${read(field)} list${index}.push(v); }`;
  const isLast = !fields.slice(index + 1).some((later) => later.isRequired);
  const leave = isLast ? ' if (p === end) break done;' : '';
  return `if (${hasTag}) { p += ${field.tag.length}; ${read(field)} message.${name} = v;${leave} }`;
}

const tagTest = ({ tag }: Field) => tag.map((byte, i) => `bytes[p + ${i}] === ${byte}`).join(' && ');
const needTag = (field: Field) => `if (!(${tagTest(field)})) return undefined; p += ${field.tag.length};`;

/** Reads into v. Numbers of up to three bytes are what most are; longer ones are read as the codec does. */
function read(field: Field): string {
  const { index, type, scalar } = field;
  if (scalar === undefined)
    return `${readLength()} v = nested[${index}].decode(p, w, depth + 1); if (v === undefined) return undefined; p = w;`;
  const other = (at: string) =>
    `reader.position = ${at}; reader.end = end; v = fields[${index}].scalar.read(reader, ''); p = reader.position;`;
  if (type === 'string')
    return `${readLength()} v = text.latin1Slice(p, w); if (v.includes('\\0')) return undefined; p = w;`;
  const isNumber = typeof type === 'string' && type.endsWith('64') && scalar === scalarOf(type, true);
  const use = USES[typeof type === 'object' ? 'enum' : type]?.(field, isNumber);
  if (use === undefined) return other('p');
  return `v = bytes[p++]; if (v < 128) { ${use} } else {
if ((w = bytes[p++]) < 128) { v += (w - 1) * 128; ${use} }
else if ((x = bytes[p++]) < 128) { v += w * 128 + x * 16384 - 16512; ${use} }
else { ${type === 'uint64' && isNumber ? readAddress(other) : other('p - 3')} } }`;
}

/** The rest of a number of which v, w and x are the first three bytes: addresses have seven, more is left to the reader. */
const readAddress = (
  other: (at: string) => string,
) => `v = (v & 127) + (w & 127) * 128 + (x & 127) * 16384; w = 2097152;
do { x = bytes[p++]; v += (x & 127) * w; w *= 128; } while (x > 127 && w < 2 ** 49);
if (x > 127) { ${other('p - 7')} }`;

/** Reads a length; afterwards w is where what it is the length of ends. */
const readLength =
  () => `v = bytes[p++]; if (v > 127) { w = bytes[p++]; if (w > 127) return undefined; v += (w - 1) * 128; }
w = p + v; if (!(w <= end)) return undefined;`;

/** What a small number on the wire is, by type. Other types are read as the codec does. */
const USES: Readonly<Record<string, (field: Field, isNumber: boolean) => string | undefined>> = {
  uint32: () => '',
  int32: () => '',
  uint64: (_field, isNumber) => (isNumber ? '' : 'v = v === 0 ? 0n : BigInt(v);'),
  int64: (_field, isNumber) => (isNumber ? '' : 'v = v === 0 ? 0n : BigInt(v);'),
  sint32: () => 'v = (v >>> 1) ^ -(v & 1);',
  sint64: (_field, isNumber) => (isNumber ? 'v = (v >>> 1) ^ -(v & 1);' : undefined),
  bool: () => 'v = v !== 0;',
  enum: ({ index }) => `if (fields[${index}].values[v] !== true) return undefined;`,
};
