/**
 * Encodes and decodes protobuf messages by their description (message-type.ts). A description is compiled on first use
 * into a table indexed by field number.
 *
 * Decoding is strict, for images come from elsewhere: every required field must be there, enums are closed, numbers must
 * fit, wire types must match. Unknown fields are kept under the symbol `UNKNOWN_FIELDS` and written back by `encode`, so
 * that an image of a newer criu survives a round trip. `bytes` fields are views into the decoded array.
 */
import { FieldPath, type ImagePlace } from './image-error.ts';
import { MANY_MESSAGES, manyEncoder } from './many-encoder.ts';
import { type EnumType, type FieldType, type MessageType, UNKNOWN_FIELDS } from './message-type.ts';
import { enumScalar, type Scalar, scalarOf } from './scalars.ts';
import { LENGTH, WireReader, wireName } from './wire-reader.ts';
import { WireWriter } from './wire-writer.ts';

type Message = Record<string, unknown> & { [UNKNOWN_FIELDS]?: Uint8Array };

/** Decodes one message. Throws an ImageError that names the place and the field. */
export function decode<T>(type: MessageType<T>, bytes: Uint8Array, place: ImagePlace | string): T {
  return decodeFrom(type, new WireReader(bytes, typeof place === 'string' ? { file: place } : place));
}

/** Decodes what lies between `position` and `end` of a reader: for images with many entries. */
export function decodeFrom<T>(type: MessageType<T>, reader: WireReader): T {
  return decodeMessage(compile(type), reader, undefined) as T;
}

/** Encodes one message; fields are ordered by number. Throws an ImageError when a value cannot be stored. */
export function encode<T>(type: MessageType<T>, value: T, place: ImagePlace | string = type.name): Uint8Array {
  const writer = new WireWriter();
  encodeTo(type, value, writer, new FieldPath(typeof place === 'string' ? { file: place } : place));
  return writer.written;
}

/** The same, behind what a writer has already. */
export function encodeTo<T>(type: MessageType<T>, value: T, writer: WireWriter, path: FieldPath): void {
  encodeMessage(compile(type), value as Message, writer, path);
}

/** Messages that are part of many others, and their encoding when it is known. */
const kept = new WeakMap<object, Uint8Array | undefined>();
/** Once it is true it stays so in each run: then `kept` is asked. */
let hasKept = false;

/** From now on a message is encoded once, wherever it is written to. It may not change any more. */
export function keepEncoded<T extends object>(message: T): T {
  kept.set(message, undefined);
  hasKept = true;
  return message;
}

/** A field ready for use; exactly one of `scalar` and `message` is set. */
interface Field {
  readonly number: number;
  readonly name: string;
  readonly wireType: number;
  /** Number and wire type as they are written. */
  readonly tag: number;
  readonly isRepeated: boolean;
  readonly isPacked: boolean;
  readonly isRequired: boolean;
  /** One bit of the mask of required fields; 0 for others. */
  readonly requiredBit: number;
  readonly scalar: Scalar | undefined;
  readonly message: MessageType<unknown> | undefined;
  /** Of `message`; filled in on first use, for messages may hold themselves. */
  compiled: Compiled | undefined;
}

/** A description ready for use. */
interface Compiled {
  /** Ordered by number. */
  readonly fields: readonly Field[];
  readonly requiredMask: number;
  /** More than 31 required fields: the mask does not cover all. */
  readonly isMaskPartial: boolean;
}

/** The same in each run. */
const compiledTypes = new Map<MessageType<unknown>, Compiled>();

/** One plain loop: dump and restore compile hundreds of fields, each of them once, and the time is start-up time. */
function compile(type: MessageType<unknown>): Compiled {
  const known = compiledTypes.get(type);
  if (known !== undefined) return known;
  const fields: Field[] = [];
  let requiredCount = 0;
  let requiredMask = 0;
  let isSorted = true;
  for (const spec of type.fields()) {
    // Not destructured: that goes through an iterator.
    const number = spec[0];
    const kind = spec[2];
    const options = spec[4];
    let message: MessageType<unknown> | undefined;
    let scalar: Scalar | undefined;
    if (typeof kind === 'string') scalar = scalarOf(kind, options?.number);
    else if ('enum' in kind) scalar = enumScalar(kind);
    else message = kind;
    const wireType = scalar === undefined ? LENGTH : scalar.wireType;
    const isRequired = spec[3] === 'required';
    const field = {
      number,
      name: spec[1],
      wireType,
      tag: (number << 3) | wireType,
      isRepeated: spec[3] === 'repeated',
      isPacked: options?.packed === true,
      isRequired,
      requiredBit: isRequired && requiredCount < 31 ? 1 << requiredCount : 0,
      scalar,
      message,
      compiled: undefined,
    };
    if (isRequired) requiredCount++;
    requiredMask |= field.requiredBit;
    isSorted &&= number > (fields[fields.length - 1]?.number ?? 0);
    fields.push(field);
  }
  if (!isSorted) fields.sort((a, b) => a.number - b.number);
  const compiled: Compiled = { fields, requiredMask, isMaskPartial: requiredCount > 31 };
  compiledTypes.set(type, compiled);
  return compiled;
}

function compiledMessage(field: Field): Compiled {
  field.compiled ??= compile(field.message as MessageType<unknown>);
  return field.compiled;
}

/** Whether a field type is a message (else a scalar or an enum). */
export function isMessage(type: FieldType): type is MessageType<unknown> {
  return typeof type === 'object' && !isEnum(type);
}

export function isEnum(type: FieldType): type is EnumType {
  return typeof type === 'object' && 'enum' in type;
}

function decodeMessage(type: Compiled, reader: WireReader, previous: Message | undefined): Message {
  const message = previous ?? newMessage(type);
  const { fields } = type;
  let seen = 0;
  let index = 0;
  while (reader.position < reader.end) {
    const start = reader.position;
    const tag = reader.uint32('');
    const number = tag >>> 3;
    // Writers order fields by number: the field is the same as before or one of the next.
    if ((fields[index]?.number ?? 0) > number) index = 0;
    while (index < fields.length - 1 && (fields[index]?.number ?? 0) < number) index++;
    const field = fields[index];
    if (field?.number !== number) keepUnknown(message, reader, tag, start);
    else {
      seen |= field.requiredBit;
      if ((tag & 7) === field.wireType) decodeField(field, reader, message);
      else decodePacked(field, reader, message, tag & 7);
    }
  }
  if (seen !== type.requiredMask || type.isMaskPartial) checkRequired(type, message, reader);
  return message;
}

/** With all fields, so that messages of a type are of one kind for the compilers, whichever fields each of them has. */
function newMessage({ fields }: Compiled): Message {
  const message: Message = {};
  for (const { name, isRepeated } of fields) message[name] = isRepeated ? [] : undefined;
  return message;
}

function decodeField(field: Field, reader: WireReader, message: Message): void {
  const { name, scalar } = field;
  if (scalar !== undefined && !field.isRepeated) {
    message[name] = scalar.read(reader, name);
    return;
  }
  if (scalar !== undefined) {
    const list = message[name] as unknown[];
    const { zero } = scalar;
    // Elements follow each other; registers come as lists of hundreds, most of them 0.
    do {
      const zeros = zero === undefined ? 0 : reader.skipZeros(field.tag);
      for (let i = 0; i < zeros; i++) list.push(zero);
      list.push(scalar.read(reader, name));
    } while (reader.skipTag(field.tag));
    return;
  }
  const list = field.isRepeated ? (message[name] as unknown[]) : undefined;
  const type = compiledMessage(field);
  const outerEnd = reader.enter(name, list?.length ?? -1);
  // A message field that comes twice is merged, as protobuf asks.
  const previous = list === undefined ? (message[name] as Message | undefined) : undefined;
  const value = decodeMessage(type, reader, previous);
  reader.leave(outerEnd);
  if (list === undefined) message[name] = value;
  else list.push(value);
}

/** The wire type is not the field's own: right only for several numbers packed into one block. */
function decodePacked(field: Field, reader: WireReader, message: Message, wireType: number): void {
  const { name, scalar } = field;
  if (wireType !== LENGTH || !field.isRepeated || scalar === undefined) {
    reader.fail(name, `wire type ${wireName(wireType)} where ${wireName(field.wireType)} is expected`);
  }
  const list = message[name] as unknown[];
  const outerEnd = reader.enter(name, -1);
  while (reader.position < reader.end) list.push(scalar.read(reader, ''));
  reader.leave(outerEnd);
}

function keepUnknown(message: Message, reader: WireReader, tag: number, start: number): void {
  const name = `field ${tag >>> 3}`;
  if (tag >>> 3 === 0) reader.fail('', 'a field has the number 0');
  reader.skip(tag & 7, name);
  const data = reader.bytes.subarray(start, reader.position);
  const before = message[UNKNOWN_FIELDS];
  message[UNKNOWN_FIELDS] = before === undefined ? data : Buffer.concat([before, data]);
}

function checkRequired(type: Compiled, message: Message, reader: WireReader): void {
  for (const field of type.fields) {
    if (field.isRequired && message[field.name] === undefined) reader.fail(field.name, 'required field is missing');
  }
}

function encodeMessage(type: Compiled, message: Message, writer: WireWriter, path: FieldPath): void {
  for (const field of type.fields) {
    const value = message[field.name];
    if (value === undefined) {
      if (field.isRequired) path.fail(field.name, 'required field is missing');
    } else if (field.isRepeated) encodeRepeated(field, value, writer, path);
    else encodeValue(field, value, -1, writer, path);
  }
  const unknown = message[UNKNOWN_FIELDS];
  if (unknown !== undefined) writer.raw(unknown);
}

function encodeRepeated(field: Field, list: unknown, writer: WireWriter, path: FieldPath): void {
  if (!Array.isArray(list)) path.fail(field.name, `${display(list)} is not an array`);
  const { scalar } = field;
  if (field.isPacked && scalar !== undefined) {
    if (list.length === 0) return;
    writer.uint32((field.number << 3) | LENGTH);
    const start = writer.beginNested();
    for (let index = 0; index < list.length; index++) {
      const value: unknown = list[index];
      if (!scalar.accepts(value)) path.fail(at(field, index), `${display(value)} is not ${scalar.expected}`);
      scalar.write(writer, value as never);
    }
    writer.endNested(start);
    return;
  }
  const type = field.message;
  const encodeMany =
    type !== undefined && list.length >= MANY_MESSAGES ? manyEncoder(type, { fieldNumber: field.number }) : undefined;
  for (let index = 0; index < list.length; index++) {
    if (encodeMany !== undefined) index = encodeMany(list, index, writer);
    if (index === list.length) break;
    const value: unknown = list[index];
    const first = index;
    // Lists of registers and of signal actions are mostly the same value again and again.
    while (index + 1 < list.length && list[index + 1] === value) index++;
    const start = writer.length;
    encodeValue(field, value, first, writer, path);
    if (index > first) writer.repeat(start, index - first);
  }
}

/** Writes a field, or one element of a repeated one. */
function encodeValue(field: Field, value: unknown, index: number, writer: WireWriter, path: FieldPath): void {
  const { scalar } = field;
  if (scalar === undefined) {
    if (typeof value !== 'object' || value === null) path.fail(at(field, index), `${display(value)} is not a message`);
    writer.uint32(field.tag);
    const known = hasKept ? kept.get(value) : undefined;
    if (known !== undefined) {
      writer.block(known);
      return;
    }
    path.enter(field.name, index);
    const start = writer.beginNested();
    encodeMessage(compiledMessage(field), value as Message, writer, path);
    if (hasKept && kept.has(value)) kept.set(value, writer.written.slice(start));
    writer.endNested(start);
    path.leave();
  } else if (typeof value === 'number' && scalar.isPlainInteger === true && value >= 0 && (value | 0) === value) {
    writer.field(field.tag, value, 0);
  } else if (typeof value !== 'bigint' || scalar.isPlainBigint !== true || !writer.bigintField(field.tag, value)) {
    if (!scalar.accepts(value)) path.fail(at(field, index), `${display(value)} is not ${scalar.expected}`);
    writer.uint32(field.tag);
    scalar.write(writer, value as never);
  }
}

function at(field: Field, index: number): string {
  return index < 0 ? field.name : `${field.name}[${index}]`;
}

function display(value: unknown): string {
  return typeof value === 'string' ? JSON.stringify(value) : typeof value === 'object' ? 'an object' : String(value);
}
