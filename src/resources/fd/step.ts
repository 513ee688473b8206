/**
 * Steps of a restore: system calls of one task, each with its reason. A plan can be printed and tested as data without a
 * kernel; when it is carried out, its steps become ops of an agent program.
 */

import type { Abi } from '../../agent/abi.ts';
import { ABI_64 } from '../../agent/abi.ts';
import { KIND, OP_ARGS, OP_BYTES, OP_EXPECT, OP_RESULT } from '../../agent/agent-code.ts';
import { BLOB_GAP_MAX } from '../../agent/blobs.ts';
import {
  argumentAt,
  CHECKS,
  kindFor,
  OP_WORDS,
  Ops,
  type Reason,
  type SharedReasons,
  type TextReason,
  textOf,
} from '../../agent/ops.ts';
import type { Place, Program, ProgramArg } from '../../agent/program.ts';
import { assert } from '../../base/errors.ts';
import { countBefore } from '../../base/sorted.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { ImagePart, IntArg, PAIR_ROOM, type Pointing, type StepArg, type StepObject } from './step-args.ts';
import { type FrameCopy, StepFrame } from './step-frame.ts';

/** One system call that has to succeed, and to return `expected` when that is known. */
export interface Step {
  readonly nr: number;
  readonly args: readonly (number | bigint | StepObject)[];
  readonly because: string;
  readonly expected?: number | undefined;
  /** It may also fail: nobody looks at the result. */
  readonly mayFail?: boolean;
}

export interface StepFailure {
  readonly step: number;
  readonly because: string;
  readonly result: number;
  readonly expected: number | undefined;
}

/** Steps in the form that a program has them. Where the result of each will be is the number of its arguments. */
export class StepList {
  readonly #ops = new Ops<StepObject>();
  /** What those that may fail are for. */
  readonly #unchecked = new Map<number, TextReason>();
  /** The last step that can be part of no frame that is made: it may fail, or a frame begins with it. */
  #lastApart = -1;
  readonly #frames: FrameCopy[] = [];

  get length(): number {
    return this.#ops.length;
  }

  add(because: Reason, nr: number, args: readonly StepArg[], expected?: number): void {
    const ops = this.#ops;
    const flags = expected === undefined ? CHECKS.must : CHECKS.expect;
    const op = ops.add(KIND.syscall, nr, flags, args, because, expected);
    ops.words[(op * OP_BYTES + OP_RESULT) / 4] = args.length;
  }

  /** setsockopt(2) of an option that is an int. */
  addOption(because: Reason, fd: number, level: number, option: number, value: number): void {
    const ops = this.#ops;
    const op = ops.add(KIND.syscall, SYS.setsockopt, CHECKS.expect, NO_ARGS, because);
    const at = op * OP_WORDS;
    const { words } = ops;
    words[at + OPTION_FD] = fd;
    words[at + OPTION_LEVEL] = level;
    words[at + OPTION_NUMBER] = option;
    words[at + OPTION_BYTES] = INT_BYTES;
    words[at + OP_RESULT / 4] = OPTION_ARGS;
    ops.addReference(at + OPTION_VALUE, new IntArg(value));
  }

  /** Room for so many more steps. */
  reserve(count: number): void {
    this.#ops.reserve(count);
  }

  /** A step that may also fail. */
  addTolerant(because: TextReason, nr: number, args: readonly StepArg[]): void {
    const ops = this.#ops;
    const op = ops.add(KIND.syscall, nr, CHECKS.call, args, undefined);
    ops.words[(op * OP_BYTES + OP_RESULT) / 4] = args.length;
    this.#unchecked.set(op, because);
    this.#lastApart = op;
  }

  /** The same step for many things. */
  addMany(count: number, nr: number, args: readonly StepArg[], expected?: number): ManySteps {
    const ops = this.#ops;
    this.add('', nr, args, expected);
    ops.because.pop();
    ops.repeatFrom(ops.length - 1, count);
    return new ManySteps(ops, ops.length - count);
  }

  /**
   * Adds the steps to a program, in order. In a tree with 32-bit tasks (`abi`) files are opened as those do it: each open(2)
   * of a 64-bit task adds O_LARGEFILE (fs/open.c, force_o_largefile). `start` and `end`: only these steps.
   */
  addTo(program: Program, abi: Abi, start = 0, end = this.length): void {
    const { references } = this.#ops;
    // Strings and bytes first: they may need ops of their own.
    const args: ProgramArg[] = [];
    const [first, last] = [this.#ops.firstReference(start), this.#ops.firstReference(end)];
    for (let i = first; i < last; i++) args.push(toProgramArg(program, references[i] as StepObject));
    const shift = program.length - start;
    program.append(abi === ABI_64 ? this.#ops : this.#openedAs(abi), args, start, end);
    for (let i = this.#firstFrame(start); i < this.#firstFrame(end); i++) {
      const { step, frame, data } = this.#frames[i] as FrameCopy;
      program.frame(step + shift, frame, data);
    }
  }

  #openedAs(abi: Abi): Ops<StepObject> {
    const ops = this.#ops.copy();
    for (let op = 0; op < ops.length; op++) {
      const isOpen = ops.nr(op) === SYS.openat && (ops.flags(op) & OP_EXPECT) !== 0;
      if (isOpen) ops.setCall(op, kindFor(abi), abi.calls.openat);
    }
    return ops;
  }

  /** Adds them for a program that goes on when one fails, for nobody traces it; see `findFailure`. */
  addUnchecked(program: Program): void {
    const base = program.length;
    this.addTo(program, ABI_64);
    for (let step = 0; step < this.length; step++) program.uncheck(base + step);
  }

  /** The first step that has failed otherwise than it may, when `resultOf` says what each has returned. */
  findFailure(resultOf: (step: number) => number, tolerated: readonly number[]): StepFailure | undefined {
    const ops = this.#ops;
    for (let step = 0; step < ops.length; step++) {
      const because = ops.because[step];
      const result = resultOf(step);
      if (because === undefined || tolerated.includes(-result)) continue;
      const isExpecting = (ops.flags(step) & OP_EXPECT) !== 0;
      const expected = isExpecting ? ops.argument(step, EXPECTED_ARGUMENT) : undefined;
      if (result >= 0 && (expected === undefined || result === expected)) continue;
      return { step, because: ops.reason(step), result, expected };
    }
    return undefined;
  }

  /**
   * The steps from `start` on as a frame, but for the bytes of calls with the number `given`, which come with each copy.
   * Undefined when they cannot be one: one of them may fail, or has arguments of another kind.
   */
  tryFrameFrom(start: number, given: number): StepFrame | undefined {
    if (this.#lastApart >= start) return undefined;
    const { words, length, because, references, referenceAt } = this.#ops;
    const from = start * OP_WORDS;
    const frame = new StepFrame(words.slice(from, length * OP_WORDS), because.slice(start));
    for (let i = this.#ops.firstReference(start); i < references.length; i++) {
      const at = ((referenceAt[i] ?? 0) - from) | 0;
      if (frame.nr(Math.floor(at / OP_WORDS)) === given) frame.givenAt.push(at);
      else if (!tryAddTo(frame, at, references[i] as StepObject)) return undefined;
    }
    return frame;
  }

  /**
   * Adds the steps of a frame with other data: the first one returns descriptor `fd`, all others have it for their first
   * argument. What is given goes where it says, with its length as third argument and expected result.
   */
  addFrame(frame: StepFrame, fd: number, data: Uint8Array, given: readonly Uint8Array[], reasons: SharedReasons): void {
    const ops = this.#ops;
    const step = ops.appendWords(frame.words, reasons);
    const { words, length } = ops;
    let at = step * OP_WORDS;
    words[at + EXPECTED_AT] = fd;
    for (at += OP_WORDS; at < length * OP_WORDS; at += OP_WORDS) words[at + FIRST_AT] = fd;
    for (let i = 0; i < given.length; i++) {
      const bytes = given[i] as Uint8Array;
      const word = frame.givenAt[i] as number;
      const op = step + Math.floor(word / OP_WORDS);
      words[op * OP_WORDS + LENGTH_AT] = bytes.length;
      words[op * OP_WORDS + EXPECTED_AT] = bytes.length;
      ops.addReference(step * OP_WORDS + word, { bytes });
    }
    this.#frames.push({ step, frame, data });
    this.#lastApart = step;
  }

  /** Where the list may be cut: at a step or, when that is within a frame, behind the frame. */
  cutAt(step: number): number {
    const next = this.#firstFrame(step);
    if (next === 0) return step;
    const before = this.#frames[next - 1] as FrameCopy;
    return Math.max(step, before.step + before.frame.length);
  }

  /** The index of the first frame that begins at this step or behind it. */
  #firstFrame(step: number): number {
    const frames = this.#frames;
    return countBefore(frames.length, (i) => (frames[i] as FrameCopy).step < step);
  }

  /** How much room (bytes) they take in a program, at most. */
  get programBytes(): number {
    let bytes = this.#ops.length * OP_BYTES;
    for (const { data } of this.#frames) bytes += data.length + 8;
    for (const object of this.#ops.references) bytes += bytesOf(object);
    return bytes;
  }

  /** The same as data. */
  toSteps(): Step[] {
    const steps: Step[] = [];
    const ops = this.#ops;
    let next = 0;
    const frames = this.#frames.values();
    let copy = frames.next().value;
    for (let op = 0; op < ops.length; op++) {
      if (copy !== undefined && op === copy.step + copy.frame.length) copy = frames.next().value;
      const args: Step['args'][number][] = [];
      const count = ops.words[(op * OP_BYTES + OP_RESULT) / 4] ?? 0;
      for (let i = 0; i < count; i++) {
        const word = (op * OP_BYTES + OP_ARGS) / 4 + 2 * i;
        const object = ops.referenceAt[next] === word ? ops.references[next++] : copy && objectIn(copy, word);
        args.push(object ?? ops.argument(op, i));
      }
      const nr = ops.nr(op);
      const because = ops.because[op];
      const isExpecting = (ops.flags(op) & OP_EXPECT) !== 0;
      if (because === undefined) {
        steps.push({ nr, args, because: textOf(this.#unchecked.get(op) ?? ''), mayFail: true });
      } else if (isExpecting)
        steps.push({ nr, args, because: ops.reason(op), expected: ops.argument(op, EXPECTED_ARGUMENT) });
      else steps.push({ nr, args, because: ops.reason(op) });
    }
    return steps;
  }
}

/** Equal steps one after the other, whose arguments are to be written, and what each is for, before anything else is added. */
export class ManySteps {
  readonly #ops: Ops<StepObject>;
  readonly words: Uint32Array;
  /** Where the first one is in `words`; the next ones are OP_WORDS further each. */
  readonly start: number;

  constructor(ops: Ops<StepObject>, first: number) {
    this.#ops = ops;
    this.words = ops.words;
    this.start = first * OP_WORDS;
  }

  /** An argument (see argumentAt) of each of them. */
  refer(argument: number, objects: readonly StepObject[]): void {
    let at = this.start + argument;
    for (const object of objects) {
      this.#ops.addReference(at, object);
      at += OP_WORDS;
    }
  }

  /** The same object for an argument of all. */
  referAll(argument: number, object: StepObject, count: number): void {
    this.refer(argument, new Array<StepObject>(count).fill(object));
  }

  /** What each of them is for. */
  because(reasons: readonly Reason[]): void {
    this.#ops.because = this.#ops.because.concat(reasons);
  }
}

const EXPECTED_ARGUMENT = 5;
const EXPECTED_AT = argumentAt(EXPECTED_ARGUMENT);
const FIRST_AT = argumentAt(0);
const LENGTH_AT = argumentAt(2);
const NO_ARGS: readonly StepArg[] = [];
const INT_BYTES = 4;
/** Where the arguments of setsockopt(2) are in an op, in words. */
const OPTION_FD = argumentAt(0);
const OPTION_LEVEL = argumentAt(1);
const OPTION_NUMBER = argumentAt(2);
const OPTION_VALUE = argumentAt(3);
const OPTION_BYTES = argumentAt(4);
const OPTION_ARGS = 5;

function bytesOf(arg: StepObject): number {
  if (arg instanceof IntArg) return 8;
  if (arg instanceof ImagePart) return arg.length + 8 + BLOB_GAP_MAX;
  if ('text' in arg) return arg.text.length + 8;
  return 'bytes' in arg ? bytesOfBytes(arg) : PATH_BYTES;
}

/** Room for the name of a descriptor. */
const PATH_BYTES = 64;

function bytesOfBytes({ bytes, pointers }: Pointing): number {
  let sum = bytes.length + 8 + BLOB_GAP_MAX;
  if (pointers === undefined) return sum;
  for (const pointer of pointers) sum += OP_BYTES + ('bytes' in pointer ? bytesOfBytes(pointer) : 0);
  return sum;
}

/** False when the object cannot be in a frame. */
function tryAddTo(frame: StepFrame, at: number, object: StepObject): boolean {
  if (!('bytes' in object) || object instanceof ImagePart || object === PAIR_ROOM) return false;
  const isInt = object instanceof IntArg;
  if (!isInt && object.pointers !== undefined) return false;
  frame.add(at, object.bytes, isInt);
  return true;
}

function objectIn({ step, frame, data }: FrameCopy, word: number): StepObject | undefined {
  const piece = frame.pieceAt(word - step * OP_WORDS, data);
  if (piece?.isInt !== true) return piece && { bytes: piece.bytes };
  return new IntArg(new DataView(piece.bytes.buffer).getInt32(0, true));
}

function toProgramArg(program: Program, arg: StepObject): ProgramArg {
  if (arg instanceof ImagePart) return program.blob(arg.image, arg.start, arg.length);
  if (arg instanceof IntArg) return program.int(arg.value);
  if ('text' in arg) return program.string(arg.text);
  if (arg === PAIR_ROOM) return program.scratch;
  if ('bytes' in arg) return putBytes(program, arg);
  if ('later' in arg) return arg.later();
  const path = arg.path();
  assert(path !== '', 'the path of a step is known when it is added to a program');
  return program.string(path);
}

/** From this size on bytes are not copied before the program is laid out. */
const BLOB_BYTES = 512;

function putBytes(program: Program, { bytes, pointers = [] }: Pointing): Place {
  const place = bytes.length < BLOB_BYTES ? program.data(bytes) : program.blob(bytes);
  for (const pointer of pointers) {
    const target = 'bytes' in pointer ? putBytes(program, pointer) : program.at(program.scratch, pointer.roomAt);
    program.store64(program.at(place, pointer.offset), target);
  }
  return place;
}
