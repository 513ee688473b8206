/**
 * Decodes messages that are much like one before, such as the cores of threads. What is not the same in all of them, the
 * holes, is some registers and addresses: what lies between is compared in one go, and taken over. Unlike many-decoder.ts
 * it compiles nothing, so it pays from the second message on, where most code is interpreted.
 *
 * Where lengths are others it goes along the example field by field, and finds new holes. A message whose fields come in
 * another order than in those before is left to the codec, and so is whatever is wrong.
 */
import { ImageError } from './image-error.ts';
import { type FieldSpec, fieldsByNumber, type MessageType } from './message-type.ts';
import { enumScalar, type Scalar, scalarOf } from './scalars.ts';
import { FIXED64, LENGTH, VARINT, WireReader } from './wire-reader.ts';

type Message = Record<string, unknown>;

/** A field as it comes on the wire. */
interface Part {
  readonly name: string;
  /** Number and wire type, byte by byte. */
  readonly tag: readonly number[];
  readonly wireType: number;
  /** In a repeated field: the how manieth it is; else -1. */
  readonly index: number;
  /** One of them. */
  readonly scalar: Scalar | undefined;
  readonly parts: Shape | undefined;
}

/** A message as a list of its fields. */
type Shape = readonly Part[];

/** A value that is not the same in all messages: where it is in the example, and for a message what is not the same in it. */
interface Hole {
  readonly part: Part;
  readonly start: number;
  readonly end: number;
  readonly holes: Hole[];
  /** Of a message: one that is not that of the example, and how many in a row were neither of the two. */
  other: { readonly start: number; readonly end: number; readonly message: Message } | undefined;
  misses: number;
}

/** A message that was decoded. */
interface Example {
  readonly start: number;
  readonly end: number;
  readonly message: Message;
  /** Undefined when it is not known yet, null when there is none. */
  shape: Shape | null | undefined;
  readonly holes: Hole[];
  /** Starts and ends of what is between the holes; undefined when there are new ones. */
  same: number[] | undefined;
}

/**
 * So many examples of a type are looked at, for numbers of other lengths make messages of other lengths; and after so many
 * messages in a row that are like none, no more are kept.
 */
const EXAMPLES_MAX = 8;
const MISSES_MAX = 20;

/** For messages of one type that all lie in `bytes`. */
export class AlikeDecoder {
  readonly #type: MessageType<unknown>;
  readonly #bytes: Uint8Array;
  #compared: Buffer | undefined = undefined;
  readonly #reader: WireReader;
  readonly #examples: Example[] = [];
  #misses = 0;
  #hasNewHole = false;

  constructor(type: MessageType<unknown>, bytes: Uint8Array) {
    this.#type = type;
    this.#bytes = bytes;
    this.#reader = new WireReader(bytes, { file: '' });
  }

  /** The same bytes, for comparing: in a small restore there is nothing to compare, and the first Buffer takes 0.2 ms. */
  get #text(): Buffer {
    this.#compared ??= Buffer.from(this.#bytes.buffer, this.#bytes.byteOffset, this.#bytes.byteLength);
    return this.#compared;
  }

  /** Takes note of a message that the codec has decoded. */
  note(start: number, end: number, message: unknown): void {
    if (this.#misses++ > MISSES_MAX) return;
    this.#keep(start, end, message as Message, undefined);
  }

  #keep(start: number, end: number, message: Message, shape: Shape | undefined): void {
    this.#examples.unshift({ start, end, message, shape, holes: [], same: undefined });
    if (this.#examples.length > EXAMPLES_MAX) this.#examples.pop();
  }

  /** Undefined when the message is like none before, or damaged. Messages in it may be those of others. */
  tryDecode(start: number, end: number): Message | undefined {
    try {
      const message = this.#tryFill(start, end) ?? this.#tryCompare(start, end);
      if (message !== undefined) this.#misses = 0;
      return message;
    } catch (error) {
      // The codec says it again, and where.
      if (!(error instanceof ImageError)) throw error;
      return undefined;
    }
  }

  #tryFill(start: number, end: number): Message | undefined {
    for (const example of this.#examples) {
      const message = this.#fill(example, start, end);
      if (message !== undefined) return message;
    }
    return undefined;
  }

  #tryCompare(start: number, end: number): Message | undefined {
    for (const example of this.#examples) {
      const message = this.#compare(example, start, end);
      if (message === undefined) continue;
      // The next one of this length will be filled.
      const isOfLength = (other: Example) => end - start === other.end - other.start;
      if (!this.#examples.some(isOfLength)) this.#keep(start, end, message, example.shape ?? undefined);
      return message;
    }
    return undefined;
  }

  /** A message that is as long as the example, and has other values where others had. This is what nearly all are. */
  #fill(example: Example, start: number, end: number): Message | undefined {
    if (end - start !== example.end - example.start || example.holes.length === 0) return undefined;
    example.same ??= sameOf(example);
    const { same } = example;
    const offset = start - example.start;
    const text = this.#text;
    for (let i = 0; i < same.length; i += 2) {
      const [from, to] = [same[i] as number, same[i + 1] as number];
      if (text.compare(text, from, to, from + offset, to + offset) !== 0) return undefined;
    }
    return this.#fillIn(example.holes, example.message, offset);
  }

  #fillIn(holes: readonly Hole[], like: Message, offset: number): Message | undefined {
    const message = { ...like };
    const reader = this.#reader;
    for (const hole of holes) {
      const { part, start, end } = hole;
      let value: unknown;
      if (hole.holes.length > 0) value = this.#fillInner(hole, valueIn(like, part) as Message, offset);
      else {
        reader.limit(start + offset, end + offset);
        value = part.scalar?.read(reader, part.name);
        if (reader.position !== end + offset) return undefined;
      }
      if (value === undefined) return undefined;
      put(message, part, value, like);
    }
    return message;
  }

  /** A message in a message: one before that has the same bytes, such as one of the two states of the FPU that are usual. */
  #fillInner(hole: Hole, known: Message, offset: number): Message | undefined {
    if (hole.misses > MISSES_MAX) return this.#fillIn(hole.holes, known, offset);
    const text = this.#text;
    const { other } = hole;
    const start = hole.start + offset;
    const end = hole.end + offset;
    const isKnown = text.compare(text, hole.start, hole.end, start, end) === 0;
    if (isKnown || (other !== undefined && text.compare(text, other.start, other.end, start, end) === 0)) {
      hole.misses = 0;
      return isKnown ? known : other?.message;
    }
    const message = this.#fillIn(hole.holes, known, offset);
    if (message === undefined) return undefined;
    hole.misses++;
    hole.other = { start, end, message };
    return message;
  }

  /** A message that is like the example in the order of its fields; notes where it is not the same. */
  #compare(example: Example, start: number, end: number): Message | undefined {
    if (example.shape === undefined) example.shape = this.#learn(this.#type, example.start, example.end) ?? null;
    if (example.shape === null) return undefined;
    this.#hasNewHole = false;
    const message = this.#follow(example.shape, example.message, example.start, start, end, example.holes);
    if (this.#hasNewHole) example.same = undefined;
    return message;
  }

  /** The shape of a message that has been decoded; undefined when there is something in it that is not usual. */
  #learn(type: MessageType<unknown>, start: number, end: number): Shape | undefined {
    const reader = this.#reader;
    const specs = fieldsByNumber(type);
    const counts = new Map<number, number>();
    const shape: Part[] = [];
    reader.limit(start, end);
    while (reader.position < end) {
      const tagAt = reader.position;
      const tag = reader.uint32('');
      const spec = specs.get(tag >>> 3);
      const count = counts.get(tag >>> 3) ?? 0;
      const isRepeated = spec?.[3] === 'repeated';
      const part = spec === undefined ? undefined : { ...kindOf(spec), index: isRepeated ? count : -1 };
      if (spec === undefined || part?.wireType !== (tag & 7) || (count > 0 && !isRepeated)) return undefined;
      counts.set(tag >>> 3, count + 1);
      const tagBytes = [...this.#bytes.subarray(tagAt, reader.position)];
      const valueAt = reader.position;
      reader.skip(tag & 7, '');
      const next = reader.position;
      let parts: Shape | undefined;
      if (part.message !== undefined) {
        reader.position = valueAt;
        const length = reader.uint32('');
        parts = this.#learn(part.message, next - length, next);
        if (parts === undefined) return undefined;
        reader.limit(next, end);
      }
      const { name, wireType, scalar, index } = part;
      shape.push({ name, tag: tagBytes, wireType, index, scalar, parts });
    }
    return shape;
  }

  /** Decodes what lies between `p` and `end` along a message with this shape, whose bytes begin at `q`. */
  #follow(shape: Shape, like: Message, q: number, p: number, end: number, holes: Hole[]): Message | undefined {
    const bytes = this.#bytes;
    const text = this.#text;
    const message = { ...like };
    for (let i = 0; i < shape.length; i++) {
      const part = shape[i] as Part;
      const { tag, wireType } = part;
      for (let j = 0; j < tag.length; j++, p++, q++) if (bytes[p] !== tag[j]) return undefined;
      const [from, fromOther] = [p, q];
      p = this.#skip(wireType, from);
      q = this.#skip(wireType, fromOther);
      if (p > end) return undefined;
      if (text.compare(text, fromOther, q, from, p) === 0) continue;
      const value = this.#read(part, like, fromOther, from, p, this.#holeAt(holes, part, fromOther, q));
      if (value === undefined) return undefined;
      put(message, part, value, like);
    }
    return p === end ? message : undefined;
  }

  /** A value that is another one. */
  #read(part: Part, like: Message, q: number, p: number, end: number, { holes }: Hole): unknown {
    if (part.parts !== undefined) {
      const known = valueIn(like, part) as Message;
      return this.#follow(part.parts, known, this.#contentOf(q), this.#contentOf(p), end, holes);
    }
    this.#reader.limit(p, end);
    return part.scalar?.read(this.#reader, part.name);
  }

  /** The hole for a value, which is made when there is none; they are in the order of their places. */
  #holeAt(holes: Hole[], part: Part, start: number, end: number): Hole {
    let index = 0;
    while (index < holes.length && (holes[index] as Hole).start < start) index++;
    const known = holes[index];
    if (known?.start === start) return known;
    const hole: Hole = { part, start, end, holes: [], other: undefined, misses: 0 };
    holes.splice(index, 0, hole);
    this.#hasNewHole = true;
    return hole;
  }

  /** Where a value ends; beyond all bytes when it does not. */
  #skip(wireType: number, at: number): number {
    const bytes = this.#bytes;
    if (wireType === FIXED64) return at + 8;
    let byte = bytes[at++];
    let length = (byte ?? 0) & 0x7f;
    for (let shift = 7; byte !== undefined && byte > 0x7f; shift += 7) {
      byte = bytes[at++];
      // Nothing is so long that more would matter.
      if (shift < 28) length |= ((byte ?? 0) & 0x7f) << shift;
    }
    if (byte === undefined) return Number.POSITIVE_INFINITY;
    return wireType === VARINT ? at : at + length;
  }

  /** Where the bytes behind a length begin. */
  #contentOf(at: number): number {
    while ((this.#bytes[at] ?? 0) > 0x7f) at++;
    return at + 1;
  }
}

function sameOf({ start, end, holes }: Example): number[] {
  const same = [start];
  const add = (hole: Hole) => {
    if (hole.holes.length > 0) hole.holes.forEach(add);
    else same.push(hole.start, hole.end);
  };
  holes.forEach(add);
  same.push(end);
  return same;
}

const valueIn = (message: Message, { name, index }: Part) =>
  index < 0 ? message[name] : (message[name] as unknown[])[index];

/** Lists are shared until something in them is not the same. */
function put(message: Message, { name, index }: Part, value: unknown, like: Message): void {
  if (index < 0) {
    message[name] = value;
    return;
  }
  if (message[name] === like[name]) message[name] = (message[name] as unknown[]).slice();
  (message[name] as unknown[])[index] = value;
}

/** How a field is read. */
function kindOf([, name, type, , options]: FieldSpec) {
  if (typeof type !== 'string' && !('enum' in type))
    return { name, wireType: LENGTH, scalar: undefined, message: type };
  const scalar = typeof type === 'string' ? scalarOf(type, options?.number) : enumScalar(type);
  return { name, wireType: scalar.wireType, scalar, message: undefined };
}
