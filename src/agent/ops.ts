/**
 * A list of ops as they will be in memory (agent-code.ts has the layout), but for arguments that are not known yet: those
 * are kept beside it. Thousands of ops are no objects this way, and are copied as a whole.
 */

import { assert } from '../base/errors.ts';
import { lowerBound } from '../base/sorted.ts';
import type { Abi } from './abi.ts';
import { KIND, OP_ARGS, OP_BYTES, OP_EXPECT, OP_FLAGS, OP_MUST, OP_NR, OP_RESULT } from './agent-code.ts';

export const OP_WORDS = OP_BYTES / 4;
/** Where an argument is in an op, in words. */
export const argumentAt = (index: number) => OP_ARGS / 4 + 2 * index;

/** Room of a new list: most are small. */
const OPS_MIN = 32;
const REFERENCES_MIN = 32;
const WORD = 2 ** 32;
/** Where the sixth argument is, in words. */
const EXPECTED_AT = argumentAt(5);

/** What an op is for: a text, or its parts, for putting them together takes longer than planning the op. */
export type TextReason = string | readonly (string | number)[];
export type Reason = TextReason | SharedReasons;

/** What each of some ops in a row is for: all of them have this object, and nobody else has it. */
export interface SharedReasons {
  /** Of one of them, counted from the first. */
  readonly textOf: (op: number) => string;
}

export const textOf = (reason: TextReason): string => (typeof reason === 'string' ? reason : reason.join(' '));

/** The text of an op's reason; '' when there is none. */
function textAt(reasons: readonly (Reason | undefined)[], op: number): string {
  const reason = reasons[op] ?? '';
  if (typeof reason === 'string' || !('textOf' in reason)) return textOf(reason);
  let first = op;
  while (reasons[first - 1] === reason) first--;
  return reason.textOf(op - first);
}

/** What to do when a system call fails. */
export const CHECKS = { call: 0, must: OP_MUST, expect: OP_MUST | OP_EXPECT } as const;

/** The kind of op that makes a system call of an ABI. */
export const kindFor = ({ bits }: Abi) => (bits === 32 ? KIND.syscall32 : KIND.syscall);

/** In a reason: the first two arguments of the op, an address and a length, as a range. */
export const RANGE = '{range}';

/** An op that has failed. */
export interface FailedOp {
  readonly index: number;
  readonly nr: number;
  readonly because: string;
  readonly result: number;
}

/** `R`: what stands for an argument that is not a number yet. */
export class Ops<R extends object> {
  /** x86-64 is little-endian. */
  words = new Uint32Array(OPS_MIN * OP_WORDS);
  length = 0;
  /** What each op is for; undefined when it may fail. */
  because: (Reason | undefined)[] = [];
  /**
   * Where arguments that are not known belong, in words, ascending; and what they are. The places are no array: its kind may be
   * another one in each build of the executable, and compiled code is left at each look at one of a kind that it has not seen.
   */
  referenceAt = new Uint32Array(REFERENCES_MIN);
  references: R[] = [];

  copy(): Ops<R> {
    const copy = new Ops<R>();
    copy.words = this.words.slice();
    copy.length = this.length;
    copy.because = this.because.slice();
    copy.referenceAt = this.referenceAt.slice();
    copy.references = this.references.slice();
    return copy;
  }

  /** Adds an op; returns its index. `expected` takes the place of the sixth argument. */
  add(
    kind: number,
    nr: number,
    flags: number,
    args: readonly (number | bigint | R)[],
    because: Reason | undefined,
    expected?: number,
  ): number {
    const count = args.length;
    if (count > 6) assert(false, 'an op has at most six arguments');
    const op = this.length++;
    let at = op * OP_WORDS;
    if (at === this.words.length) this.#grow(this.length);
    const { words } = this;
    words[at + OP_FLAGS / 4] = (kind << 8) | flags;
    words[at + OP_NR / 4] = nr;
    at += OP_ARGS / 4;
    for (let i = 0; i < count; i++, at += 2) {
      const arg = args[i];
      if (typeof arg !== 'number') this.#setAt(at, arg ?? 0);
      else if (arg >= 0 && arg < WORD) words[at] = arg;
      else this.#setNumber(at, arg);
    }
    if (expected !== undefined) {
      if (count > 5) assert(false, 'an expected value takes the place of the sixth argument');
      at = op * OP_WORDS + EXPECTED_AT;
      if (expected >= 0 && expected < WORD) words[at] = expected;
      else this.#setNumber(at, expected);
    }
    this.because.push(because);
    return op;
  }

  /** Copies the ops from `first` on until they are there `count` times. The caller changes the copies, and adds a reason for each. */
  repeatFrom(first: number, count: number): void {
    const start = first * OP_WORDS;
    let done = this.length * OP_WORDS;
    const end = start + count * (done - start);
    this.length = end / OP_WORDS;
    if (end > this.words.length) this.#grow(this.length);
    while (done < end) {
      const more = Math.min(done - start, end - done);
      this.words.copyWithin(done, start, start + more);
      done += more;
    }
  }

  /** Sets an argument of an op that is there, and is no reference yet. */
  set(op: number, index: number, arg: number | bigint | R): void {
    this.#setAt(op * OP_WORDS + argumentAt(index), arg);
  }

  clearFlags(op: number, flags: number): void {
    const at = op * OP_WORDS + OP_FLAGS / 4;
    this.words[at] = (this.words[at] ?? 0) & ~flags;
  }

  /** Adds an op as it was added before, but for the first arguments; it has none that is not known yet. */
  addAgain(like: number, first: number, second?: number, third?: number): number {
    const op = this.length++;
    let at = op * OP_WORDS;
    if (at === this.words.length) this.#grow(this.length);
    const { words } = this;
    words.copyWithin(at, like * OP_WORDS, (like + 1) * OP_WORDS);
    at += OP_ARGS / 4;
    words[at] = first;
    words[at + 1] = first / WORD;
    if (second !== undefined) {
      words[at + 2] = second;
      words[at + 3] = second / WORD;
    }
    if (third !== undefined) {
      words[at + 4] = third;
      words[at + 5] = third / WORD;
    }
    this.because.push(this.because[like]);
    return op;
  }

  /** An argument as a number. */
  argument(op: number, index: number): number {
    const at = op * OP_WORDS + OP_ARGS / 4 + 2 * index;
    return (this.words[at] ?? 0) + ((this.words[at + 1] ?? 0) | 0) * WORD;
  }

  /** What an op is for; '' when that is not known. */
  reason(op: number): string {
    const text = textAt(this.because, op);
    if (!text.includes(RANGE)) return text;
    const start = this.argument(op, 0);
    return text.replace(RANGE, `${start.toString(16)}-${(start + this.argument(op, 1)).toString(16)}`);
  }

  /** Ops that should have succeeded and did not, in a block that begins with these. */
  failures(block: Uint8Array): FailedOp[] {
    const view = new DataView(block.buffer, block.byteOffset);
    const failed: FailedOp[] = [];
    for (let index = 0; index < this.length; index++) {
      const at = index * OP_BYTES + OP_RESULT;
      const result = view.getInt32(at, true);
      // Addresses have another upper half than −errno.
      if (result >= 0 || result < -4095 || view.getInt32(at + 4, true) !== -1) continue;
      if (this.because[index] !== undefined)
        failed.push({ index, nr: this.nr(index), because: this.reason(index), result });
    }
    return failed;
  }

  nr(op: number): number {
    return this.words[op * OP_WORDS + OP_NR / 4] ?? 0;
  }

  flags(op: number): number {
    return this.words[op * OP_WORDS + OP_FLAGS / 4] ?? 0;
  }

  /** Makes an op another system call, which takes the same arguments. */
  setCall(op: number, kind: number, nr: number): void {
    this.words[op * OP_WORDS + OP_FLAGS / 4] = (kind << 8) | (this.flags(op) & 0xff);
    this.words[op * OP_WORDS + OP_NR / 4] = nr;
  }

  /** Appends a copy of ops of this list; returns what stands for their arguments that are not known. */
  repeat(from: number, to: number): R[] {
    const shift = (this.length - from) * OP_WORDS;
    this.length += to - from;
    if (this.length * OP_WORDS > this.words.length) this.#grow(this.length);
    this.words.copyWithin(from * OP_WORDS + shift, from * OP_WORDS, to * OP_WORDS);
    for (let op = from; op < to; op++) this.because.push(this.because[op]);
    const count = this.references.length;
    const copied: R[] = [];
    for (let i = this.firstReference(from); i < count && (this.referenceAt[i] ?? 0) < to * OP_WORDS; i++) {
      const reference = this.references[i] as R;
      this.addReference((this.referenceAt[i] ?? 0) + shift, reference);
      copied.push(reference);
    }
    return copied;
  }

  /** Notes what belongs at a place (in words) behind those of all others. */
  addReference(at: number, reference: R): void {
    const { length } = this.references;
    if (length === this.referenceAt.length) this.referenceAt = grown(this.referenceAt, length + 1);
    this.referenceAt[length] = at;
    this.references.push(reference);
  }

  /** The index of the first reference in the ops from `op` on. */
  firstReference(op: number): number {
    return lowerBound(this.referenceAt, op * OP_WORDS, this.references.length);
  }

  /** Appends ops of another list, with what their unknown arguments are now. */
  append<Other extends object>(
    other: Ops<Other>,
    args: readonly (number | bigint | R)[],
    first = 0,
    end = other.length,
  ): void {
    const start = this.length * OP_WORDS;
    const length = this.length + end - first;
    // More will follow.
    if (length * OP_WORDS > this.words.length) this.#grow(length + OPS_MIN);
    this.words.set(other.words.subarray(first * OP_WORDS, end * OP_WORDS), start);
    this.length = length;
    if (end - first > this.because.length) this.because = this.because.concat(other.because.slice(first, end));
    else for (let i = first; i < end; i++) this.because.push(other.because[i]);
    const { referenceAt } = other;
    const skipped = other.firstReference(first);
    const moved = start - first * OP_WORDS;
    for (let i = 0; i < args.length; i++) this.#setAt(moved + (referenceAt[skipped + i] ?? 0), args[i] ?? 0);
  }

  /** Appends ops as they are in memory, all for one reason; addresses in them are the caller's. Returns the index of the first. */
  appendWords(words: Uint32Array, because: Reason): number {
    const first = this.length;
    this.length += words.length / OP_WORDS;
    // More will follow.
    if (this.length * OP_WORDS > this.words.length) this.#grow(this.length + OPS_MIN);
    this.words.set(words, first * OP_WORDS);
    for (let op = first; op < this.length; op++) this.because.push(because);
    return first;
  }

  /** Makes room for so many more, when it is known that they will come. */
  reserve(count: number): void {
    const length = this.length + count;
    if (length * OP_WORDS > this.words.length) this.#grow(length);
  }

  #grow(length: number): void {
    this.words = grown(this.words, length * OP_WORDS);
  }

  #setAt(at: number, arg: number | bigint | R): void {
    if (typeof arg === 'number') this.#setNumber(at, arg);
    else if (typeof arg === 'bigint') {
      const number = Number(arg);
      if (number >= 0 && number < 2 ** 53) {
        this.#setNumber(at, number);
        return;
      }
      this.words[at] = Number(BigInt.asUintN(32, arg));
      this.words[at + 1] = Number(BigInt.asUintN(32, arg >> 32n));
    } else this.addReference(at, arg);
  }

  #setNumber(at: number, value: number): void {
    this.words[at] = value;
    this.words[at + 1] = Math.floor(value / WORD);
  }
}

/** The same words, with room for `length` at least: pages that are not used cost nothing. */
function grown(words: Uint32Array<ArrayBuffer>, length: number): Uint32Array<ArrayBuffer> {
  const longer = new Uint32Array(Math.max(length, words.length * 4));
  longer.set(words);
  return longer;
}
