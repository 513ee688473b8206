/**
 * How a protobuf message is described to the codec. The generated files in gen/ hold one `MessageType` constant for each
 * message of proto/; codec.ts compiles it on first use, and crit reads the display options (`hex`, `flags`…) from it.
 */

/** Scalar types of the schemas. `string` is a byte string: one char of 0-255 for each byte. */
export type ScalarType =
  | 'bool'
  | 'bytes'
  | 'fixed64'
  | 'int32'
  | 'int64'
  | 'sint32'
  | 'sint64'
  | 'string'
  | 'uint32'
  | 'uint64';

/** A closed proto2 enum: an unknown number is an error. */
export interface EnumType {
  readonly enum: string;
  readonly values: Readonly<Record<string, number>>;
}

export interface FieldOptions {
  /** `[jstype = JS_NUMBER]` on a 64-bit field: the value is a `number`, else a `bigint`. */
  readonly number?: true;
  readonly packed?: true;
  /** The proto2 default, for readers of an absent field. Decoding does not fill it in. */
  readonly default?: number | boolean | string;
  /** The `(criu).*` display options: how crit prints the field. */
  readonly hex?: true;
  readonly ipadd?: true;
  readonly flags?: string;
  readonly dev?: true;
  readonly odev?: true;
  readonly dict?: string;
  readonly conv?: string;
}

// The type parameter of a nested message does not matter to the codec, and `unknown` fits all of them.
export type FieldType = ScalarType | EnumType | MessageType<unknown>;

/** Field number, name, type, label, options. */
export type FieldSpec = readonly [
  number: number,
  name: string,
  type: FieldType,
  label: 'required' | 'optional' | 'repeated',
  options?: FieldOptions,
];

declare const decoded: unique symbol;

export interface MessageType<T> {
  /** Name in the schema: `pstree_entry`. */
  readonly name: string;
  /** A function, so that loading a schema costs nothing and schemas may refer to each other in any order. */
  readonly fields: () => readonly FieldSpec[];
  /** Never set; ties the TypeScript type of the decoded message to its description. */
  readonly [decoded]?: T;
}

/** Under this key a decoded message keeps the fields its description does not know, as they were in the image. */
export const UNKNOWN_FIELDS: unique symbol = Symbol('unknown fields');

/** The same in each run. */
const specs = new Map<MessageType<unknown>, ReadonlyMap<number, FieldSpec>>();

/** The fields of a type by number. */
export function fieldsByNumber(type: MessageType<unknown>): ReadonlyMap<number, FieldSpec> {
  const known = specs.get(type) ?? new Map(type.fields().map((spec) => [spec[0], spec]));
  specs.set(type, known);
  return known;
}
