/**
 * An encoded message in which numbers are exchanged for others in place: for thousands of messages that differ in some
 * numbers, each of which would take far longer to encode. Numbers are unsigned, of up to 64 bits, in two halves.
 */
import { assert } from '../base/errors.ts';
import { fieldsByNumber, type MessageType } from './message-type.ts';
import { LENGTH, VARINT, WireReader } from './wire-reader.ts';

/** A varint in the bytes: a number, or the length of a message. */
interface Varint {
  at: number;
  bytes: number;
  low: number;
  high: number;
  /** Of the messages that it is in, the outer ones first. */
  readonly lengths: readonly Varint[];
}

/** A varint of 64 bits has so many bytes at most. */
const VARINT_BYTES_MAX = 10;

export class NumberPatches {
  readonly #bytes: Uint8Array;
  #end: number;
  /** Undefined: the message does not have the field. */
  readonly #patches: (Varint | undefined)[];
  readonly #lengths: Varint[] = [];
  /** The numbers as they are now. */
  readonly #words: Uint32Array;

  /** `paths`: names of the fields, with those of the messages that they are in, none of which is repeated. */
  constructor(type: MessageType<unknown>, message: Uint8Array, paths: readonly string[]) {
    const patches = new Map<string, Varint>();
    find(type, new WireReader(message, { file: '' }), '', [], patches, this.#lengths);
    this.#patches = paths.map((path) => patches.get(path));
    this.#words = new Uint32Array(2 * paths.length);
    for (const [i, patch] of this.#patches.entries()) this.#words.set([patch?.low ?? 0, patch?.high ?? 0], 2 * i);
    this.#bytes = new Uint8Array(message.length + (paths.length + this.#lengths.length) * VARINT_BYTES_MAX);
    this.#bytes.set(message);
    this.#end = message.length;
  }

  /** The message as it is now; the next change overwrites it. */
  get message(): Uint8Array {
    return this.#bytes.subarray(0, this.#end);
  }

  /**
   * Sets all numbers, in the order of their paths: words of 32 bits, the lower one first. False when a field is not there
   * whose number is not 0; the message is of no use then.
   */
  trySet(words: Uint32Array): boolean {
    const known = this.#words;
    for (let i = 0; i < known.length; i++) {
      if (words[i] === known[i]) continue;
      const patch = this.#patches[i >> 1];
      if (patch === undefined) return false;
      this.#set(patch, words[i & ~1] as number, words[i | 1] as number);
      i |= 1;
    }
    known.set(words);
    return true;
  }

  #set(varint: Varint, low: number, high: number): void {
    const bytes = varintBytes(low, high);
    varint.low = low;
    varint.high = high;
    if (bytes !== varint.bytes) this.#resize(varint, bytes);
    putVarint(this.#bytes, varint.at, low, high);
  }

  /** Moves what is behind the number, and changes the lengths that it is part of. */
  #resize(varint: Varint, bytes: number): void {
    const { at } = varint;
    const more = bytes - varint.bytes;
    this.#bytes.copyWithin(at + bytes, at + varint.bytes, this.#end);
    this.#end += more;
    varint.bytes = bytes;
    for (const other of this.#patches) if (other !== undefined && other.at > at) other.at += more;
    for (const length of this.#lengths) if (length.at > at) length.at += more;
    for (const length of varint.lengths) this.#set(length, length.low + more, 0);
  }
}

/** Finds the numbers of a message that the codec has encoded. */
function find(
  type: MessageType<unknown>,
  reader: WireReader,
  prefix: string,
  around: readonly Varint[],
  patches: Map<string, Varint>,
  lengths: Varint[],
): void {
  const specs = fieldsByNumber(type);
  const { end } = reader;
  while (reader.position < end) {
    const tag = reader.uint32('');
    const [, name, fieldType, label] = specs.get(tag >>> 3) ?? assertKnown(tag);
    const path = prefix + name;
    const at = reader.position;
    if (label === 'repeated' || (tag & 7) !== (isMessage(fieldType) ? LENGTH : VARINT)) {
      reader.skip(tag & 7, '');
    } else if (isMessage(fieldType)) {
      const value = reader.uint32('');
      const length = { at, bytes: reader.position - at, low: value, high: 0, lengths: around };
      lengths.push(length);
      const next = reader.position + value;
      reader.limit(reader.position, next);
      find(fieldType, reader, `${path}.`, [...around, length], patches, lengths);
      reader.limit(next, end);
    } else {
      reader.varint('');
      const { low, high } = reader;
      patches.set(path, { at, bytes: reader.position - at, low: low >>> 0, high: high >>> 0, lengths: around });
    }
  }
}

const isMessage = (type: unknown): type is MessageType<unknown> =>
  typeof type === 'object' && type !== null && !('enum' in type);

function assertKnown(tag: number): never {
  assert(false, `field ${tag >>> 3} is known`);
}

function varintBytes(low: number, high: number): number {
  if (high === 0) return low < 0x80 ? 1 : low < 0x4000 ? 2 : low < 0x20_0000 ? 3 : low < 0x1000_0000 ? 4 : 5;
  // 32 bits of the lower half are four bytes of seven bits and four more.
  return high < 0x8 ? 5 : high < 0x400 ? 6 : high < 0x2_0000 ? 7 : high < 0x100_0000 ? 8 : high < 0x8000_0000 ? 9 : 10;
}

function putVarint(bytes: Uint8Array, at: number, low: number, high: number): void {
  // With words of 32 bits that have a sign: code for integers is left when a number is above them.
  while (high !== 0 || (low & ~0x7f) !== 0) {
    bytes[at++] = (low & 0x7f) | 0x80;
    low = (low >>> 7) | (high << 25);
    high >>>= 7;
  }
  bytes[at] = low;
}
