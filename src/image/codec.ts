/**
 * Encodes and decodes protobuf messages by their description (message-type.ts). A description is compiled on first use
 * into a table indexed by field number.
 *
 * Decoding is strict, for images come from elsewhere: every required field must be there, enums are closed, numbers must
 * fit, wire types must match. Unknown fields are kept under the symbol `UNKNOWN_FIELDS` and written back by `encode`, so
 * that an image of a newer criu survives a round trip. `bytes` fields are views into the decoded array.
 */
import { FieldPath, type ImagePlace } from './image-error.ts';
import type { EnumType, FieldSpec, FieldType, MessageType } from './message-type.ts';
import { enumScalar, type Scalar, scalarOf } from './scalars.ts';
import { LENGTH, WireReader, wireName } from './wire-reader.ts';
import { WireWriter } from './wire-writer.ts';

/** Under this key a decoded message keeps the fields its description does not know, as they were in the image. */
export const UNKNOWN_FIELDS: unique symbol = Symbol('unknown fields');

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
  encodeTo(type, value, writer, place);
  return writer.written;
}

export function encodeTo<T>(type: MessageType<T>, value: T, writer: WireWriter, place: ImagePlace | string): void {
  const path = new FieldPath(typeof place === 'string' ? { file: place } : place);
  encodeMessage(compile(type), value as Message, writer, path);
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
  readonly fields: readonly Field[];
  readonly byNumber: readonly (Field | undefined)[];
  readonly repeatedNames: readonly string[];
  readonly requiredMask: number;
  /** More than 31 required fields: the mask does not cover all. */
  readonly isMaskPartial: boolean;
}

const compiledTypes = new Map<MessageType<unknown>, Compiled>();

function compile(type: MessageType<unknown>): Compiled {
  const known = compiledTypes.get(type);
  if (known !== undefined) return known;
  let requiredCount = 0;
  const specs = type.fields().toSorted((a, b) => a[0] - b[0]);
  const fields = specs.map((spec) => compileField(spec, spec[3] === 'required' ? requiredCount++ : 31));
  const byNumber: (Field | undefined)[] = [];
  for (const field of fields) {
    // Extension fields have high numbers: the array gets a hole, which the engine keeps as a sparse array.
    byNumber[field.number] = field;
  }
  const compiled: Compiled = {
    fields,
    byNumber,
    repeatedNames: fields.filter((field) => field.isRepeated).map((field) => field.name),
    requiredMask: fields.reduce((mask, field) => mask | field.requiredBit, 0),
    isMaskPartial: requiredCount > 31,
  };
  compiledTypes.set(type, compiled);
  return compiled;
}

function compileField([number, name, type, label, options]: FieldSpec, requiredIndex: number): Field {
  const message = isMessage(type) ? type : undefined;
  const scalar = isMessage(type)
    ? undefined
    : typeof type === 'string'
      ? scalarOf(type, options?.number === true)
      : enumScalar(type.enum, type.values);
  const wireType = scalar?.wireType ?? LENGTH;
  return {
    number,
    name,
    wireType,
    tag: (number << 3) | wireType,
    isRepeated: label === 'repeated',
    isPacked: options?.packed === true,
    isRequired: label === 'required',
    requiredBit: requiredIndex < 31 ? 1 << requiredIndex : 0,
    scalar,
    message,
    compiled: undefined,
  };
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
  let seen = 0;
  while (reader.position < reader.end) {
    const start = reader.position;
    const tag = reader.uint32('');
    const field = type.byNumber[tag >>> 3];
    if (field === undefined) keepUnknown(message, reader, tag, start);
    else {
      seen |= field.requiredBit;
      if ((tag & 7) === field.wireType) decodeField(field, reader, message);
      else decodePacked(field, reader, message, tag & 7);
    }
  }
  if (seen !== type.requiredMask || type.isMaskPartial) checkRequired(type, message, reader);
  return message;
}

function newMessage(type: Compiled): Message {
  const message: Message = {};
  for (const name of type.repeatedNames) message[name] = [];
  return message;
}

function decodeField(field: Field, reader: WireReader, message: Message): void {
  const { name, scalar } = field;
  if (scalar !== undefined) {
    const value = scalar.read(reader, name);
    if (field.isRepeated) (message[name] as unknown[]).push(value);
    else message[name] = value;
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
    const { scalar } = field;
    if (value === undefined) {
      if (field.isRequired) path.fail(field.name, 'required field is missing');
    } else if (scalar !== undefined && !field.isRepeated) {
      // Most fields of most messages; kept free of calls that are not needed.
      if (!scalar.accepts(value)) path.fail(field.name, `${display(value)} is not ${scalar.expected}`);
      writer.uint32(field.tag);
      scalar.write(writer, value as never);
    } else if (field.isRepeated) encodeRepeated(field, value, writer, path);
    else encodeValue(field, value, -1, writer, path);
  }
  const unknown = message[UNKNOWN_FIELDS];
  if (unknown !== undefined) writer.raw(unknown);
}

function encodeRepeated(field: Field, list: unknown, writer: WireWriter, path: FieldPath): void {
  if (!Array.isArray(list)) path.fail(field.name, `${display(list)} is not an array`);
  if (field.isPacked && field.scalar !== undefined) {
    if (list.length === 0) return;
    writer.uint32((field.number << 3) | LENGTH);
    const start = writer.beginNested();
    const { zero } = field.scalar;
    for (let index = 0; index < list.length; index++) {
      if (zero !== undefined && list[index] === zero) writer.uint32(0);
      else encodeScalar(field, field.scalar, list[index], index, writer, path);
    }
    writer.endNested(start);
  } else {
    const zero = field.scalar?.zero;
    for (let index = 0; index < list.length; index++) {
      if (zero !== undefined && list[index] === zero) writer.zero(field.tag);
      else encodeValue(field, list[index], index, writer, path);
    }
  }
}

function encodeValue(field: Field, value: unknown, index: number, writer: WireWriter, path: FieldPath): void {
  writer.uint32(field.tag);
  if (field.scalar !== undefined) {
    encodeScalar(field, field.scalar, value, index, writer, path);
    return;
  }
  if (typeof value !== 'object' || value === null) path.fail(at(field, index), `${display(value)} is not a message`);
  path.enter(field.name, index);
  const start = writer.beginNested();
  encodeMessage(compiledMessage(field), value as Message, writer, path);
  writer.endNested(start);
  path.leave();
}

function encodeScalar(
  field: Field,
  scalar: Scalar,
  value: unknown,
  index: number,
  writer: WireWriter,
  path: FieldPath,
): void {
  if (!scalar.accepts(value)) path.fail(at(field, index), `${display(value)} is not ${scalar.expected}`);
  scalar.write(writer, value as never);
}

function at(field: Field, index: number): string {
  return index < 0 ? field.name : `${field.name}[${index}]`;
}

function display(value: unknown): string {
  return typeof value === 'string' ? JSON.stringify(value) : typeof value === 'object' ? 'an object' : String(value);
}
