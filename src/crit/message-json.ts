/**
 * A message as JSON and back, the way CRIU's crit does it: fields by name in the order of their numbers, absent ones and
 * empty lists left out, enums by name, bytes as base64. What it has no description for is kept, under `unknown_fields`.
 */
import { isEnum, isMessage } from '../image/codec.ts';
import { FieldPath, type ImagePlace } from '../image/image-error.ts';
import { type FieldSpec, type MessageType, UNKNOWN_FIELDS } from '../image/message-type.ts';
import { formatNumber, tryFormatAddress, tryParseAddress, tryParseNumber } from './field-formats.ts';
import { isJsonObject, type JsonObject, type JsonValue } from './json-value.ts';
import { base64Lines } from './json-writer.ts';
import {
  decodeQuotedPrintable,
  encodeQuotedPrintable,
  tryByteTextOf,
  tryDecodeBase64,
  unicodeOf,
} from './text-codings.ts';

/** Key of the fields that our schemas do not know; CRIU's crit has no such key and ignores it. */
const UNKNOWN_KEY = 'unknown_fields';

type Message = Record<string, unknown> & { [UNKNOWN_FIELDS]?: Uint8Array };

/** Fields by their numbers, as they stand in an image: the same in each run. */
const sortedFields = new Map<MessageType<unknown>, readonly FieldSpec[]>();

function fieldsOf(type: MessageType<unknown>): readonly FieldSpec[] {
  let fields = sortedFields.get(type);
  if (fields === undefined) {
    fields = type.fields().toSorted((a, b) => a[0] - b[0]);
    sortedFields.set(type, fields);
  }
  return fields;
}

/** `isHex` shows every number inside in hexadecimal, as an outer field wants it. */
export function messageToJson(
  type: MessageType<unknown>,
  message: unknown,
  isPretty: boolean,
  isHex = false,
): JsonObject {
  const object: JsonObject = {};
  const values = message as Message;
  for (const field of fieldsOf(type)) {
    const [, name, , label, options] = field;
    const value = values[name];
    if (value === undefined || (Array.isArray(value) && value.length === 0)) continue;
    if (label !== 'repeated') object[name] = valueToJson(field, value, isPretty, isHex);
    else {
      const address = isPretty && options?.ipadd === true ? tryFormatAddress(value as number[]) : undefined;
      object[name] =
        address === undefined
          ? (value as unknown[]).map((element) => valueToJson(field, element, isPretty, isHex))
          : [address];
    }
  }
  const unknown = values[UNKNOWN_FIELDS];
  if (unknown !== undefined) object[UNKNOWN_KEY] = base64Lines(unknown);
  return object;
}

function valueToJson(
  [, name, type, , options]: FieldSpec,
  value: unknown,
  isPretty: boolean,
  isHex: boolean,
): JsonValue {
  if (isMessage(type)) return messageToJson(type, value, isPretty, isHex || options?.hex === true);
  if (isEnum(type)) return Object.entries(type.values).find(([, number]) => number === value)?.[0] ?? Number(value);
  if (value instanceof Uint8Array)
    return options?.conv === 'unix_name' ? encodeQuotedPrintable(value) : base64Lines(value);
  if (typeof value === 'string') return unicodeOf(value);
  if (typeof value === 'boolean') return value;
  // A number that is not safe would lose its last digits when it is written.
  const number = Number.isSafeInteger(value) ? (value as number) : BigInt(value as number | bigint);
  return isPretty ? formatNumber(number, name, options, isHex) : number;
}

/** What is read from JSON, and what about it was strange. */
export interface FromJson {
  readonly place: ImagePlace;
  /** Told about keys that are no fields; their values are left out. */
  readonly onUnknownKey: (path: string) => void;
}

/** Throws an ImageError that names the field. The message may still lack required fields; the codec sees to that. */
export function messageFromJson(type: MessageType<unknown>, object: JsonObject, context: FromJson): unknown {
  return new JsonToMessage(context).message(type, object, '');
}

class JsonToMessage {
  private readonly context: FromJson;
  private readonly path: FieldPath;

  constructor(context: FromJson) {
    this.context = context;
    this.path = new FieldPath(context.place);
  }

  message(type: MessageType<unknown>, object: JsonObject, prefix: string): Message {
    const message: Message = {};
    const fields = fieldsOf(type);
    for (const field of fields) {
      const [, name, , label] = field;
      const value = Object.hasOwn(object, name) ? object[name] : undefined;
      if (label === 'repeated') message[name] = value === undefined ? [] : this.list(field, value, prefix);
      else if (value !== undefined) message[name] = this.value(field, value, -1, prefix);
    }
    for (const key of Object.keys(object)) {
      if (key === UNKNOWN_KEY) message[UNKNOWN_FIELDS] = this.bytes(object[key], key);
      else if (!fields.some(([, name]) => name === key)) this.context.onUnknownKey(`${prefix}${key}`);
    }
    return message;
  }

  private list(field: FieldSpec, value: JsonValue, prefix: string): unknown[] {
    const [, name, , , options] = field;
    if (!Array.isArray(value)) return this.path.fail(name, `${display(value)} is not a list`);
    const [first] = value;
    if (options?.ipadd === true && typeof first === 'string' && value.length === 1) {
      const words = tryParseAddress(first);
      if (words !== undefined) return words;
    }
    return value.map((element, index) => this.value(field, element, index, prefix));
  }

  private value(field: FieldSpec, value: JsonValue, index: number, prefix: string): unknown {
    const [, name, type, , options] = field;
    const at = index < 0 ? name : `${name}[${index}]`;
    if (isMessage(type)) {
      if (!isJsonObject(value)) return this.path.fail(at, `${display(value)} is not an object`);
      this.path.enter(name, index);
      const message = this.message(type, value, `${prefix}${at}.`);
      this.path.leave();
      return message;
    }
    if (isEnum(type)) return this.enumValue(type.values, value, at, type.enum);
    if (type === 'bytes') {
      const isName = options?.conv === 'unix_name' && typeof value === 'string';
      return isName ? decodeQuotedPrintable(value) : this.bytes(value, at);
    }
    if (type === 'string') {
      const text = typeof value === 'string' ? tryByteTextOf(value) : undefined;
      return text ?? this.path.fail(at, `${display(value)} is not a text`);
    }
    if (type === 'bool') {
      if (value === true || value === 1) return true;
      if (value === false || value === 0) return false;
      return this.path.fail(at, `${display(value)} is not true or false`);
    }
    const isBig = type.endsWith('64') && options?.number !== true;
    return this.number(field, value, at, isBig);
  }

  private number([, name, , , options]: FieldSpec, value: JsonValue, at: string, isBig: boolean): number | bigint {
    const number =
      typeof value === 'string'
        ? tryParseNumber(value, name, options)
        : typeof value === 'number' || typeof value === 'bigint'
          ? BigInt(value)
          : undefined;
    if (number === undefined) return this.path.fail(at, `${display(value)} is not a number`);
    if (isBig) return number;
    const rounded = Number(number);
    if (BigInt(rounded) !== number) this.path.fail(at, `${display(value)} does not fit`);
    return rounded;
  }

  private enumValue(values: Readonly<Record<string, number>>, value: JsonValue, at: string, name: string): number {
    if (typeof value === 'string' && Object.hasOwn(values, value)) return values[value] as number;
    if (typeof value === 'number' && Object.values(values).includes(value)) return value;
    return this.path.fail(at, `${display(value)} is not a value of ${name}`);
  }

  private bytes(value: JsonValue | undefined, at: string): Uint8Array {
    const bytes = typeof value === 'string' ? tryDecodeBase64(value) : undefined;
    return bytes ?? this.path.fail(at, `${display(value)} is not base64`);
  }
}

/** Short enough for one line. */
function display(value: JsonValue | undefined): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}...` : value);
  if (typeof value === 'object') return Array.isArray(value) ? 'a list' : 'an object';
  return String(value);
}
