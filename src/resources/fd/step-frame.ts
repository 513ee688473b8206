/** Steps that make one descriptor, to be copied for others that are made alike (agent/frames.ts). */

import { OP_NR } from '../../agent/agent-code.ts';
import { aligned } from '../../agent/blobs.ts';
import type { Frame } from '../../agent/frames.ts';
import { argumentAt, OP_WORDS, type Reason } from '../../agent/ops.ts';

export class StepFrame implements Frame {
  /** Its ops as they are in memory, but for addresses. */
  readonly words: Uint32Array;
  readonly addressesAt: number[] = [];
  readonly dataAt: number[] = [];
  /** The words that are addresses of what is given with each copy; ascending. */
  readonly givenAt: number[] = [];
  /** What each step is for. */
  readonly reasons: readonly (Reason | undefined)[];
  /** How long each piece of data is, and whether it is an int. */
  readonly #pieces: { readonly length: number; readonly isInt: boolean }[] = [];
  #data = new Uint8Array(0);

  constructor(words: Uint32Array, reasons: readonly (Reason | undefined)[]) {
    this.words = words;
    this.reasons = reasons;
  }

  get length(): number {
    return this.reasons.length;
  }

  /** The data of the steps it was made of. */
  get data(): Uint8Array {
    return this.#data;
  }

  /** Adds what the word `at` is the address of. */
  add(at: number, bytes: Uint8Array, isInt: boolean): void {
    const start = this.#data.length;
    this.addressesAt.push(at);
    this.dataAt.push(start);
    this.#pieces.push({ length: bytes.length, isInt });
    const data = new Uint8Array(start + aligned(bytes.length));
    data.set(this.#data);
    data.set(bytes, start);
    this.#data = data;
  }

  nr(step: number): number {
    return this.words[step * OP_WORDS + OP_NR / 4] ?? 0;
  }

  /** An argument that is a number, and not negative. */
  argument(step: number, index: number): number {
    return this.words[step * OP_WORDS + argumentAt(index)] ?? 0;
  }

  /** Where the data of a step is, which has one address at most; −1 when it has none. */
  dataOf(step: number): number {
    const index = this.addressesAt.findIndex((at) => Math.floor(at / OP_WORDS) === step);
    return this.dataAt[index] ?? -1;
  }

  /** What a word is the address of in a copy with that data; undefined when it is no address. */
  pieceAt(word: number, data: Uint8Array): { readonly bytes: Uint8Array; readonly isInt: boolean } | undefined {
    const index = this.addressesAt.indexOf(word);
    const [start, piece] = [this.dataAt[index], this.#pieces[index]];
    if (start === undefined || piece === undefined) return undefined;
    return { bytes: data.slice(start, start + piece.length), isInt: piece.isInt };
  }
}

/** A copy of a frame in a list of steps. */
export interface FrameCopy {
  /** Its first step. */
  readonly step: number;
  readonly frame: StepFrame;
  readonly data: Uint8Array;
}
