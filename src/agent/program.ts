/**
 * Programs for the agent: system calls in order, with references to earlier results, strings and buffers, laid out in
 * one block of memory for a known address in the task.
 *
 *     const p = new Program('pipes of task 12');
 *     const fd = p.must(SYS.openat, AT_FDCWD, p.string('/etc/passwd'), O_RDONLY);
 *     p.must(SYS.lseek, fd, 4096, SEEK_SET);
 *     p.stop();
 *     const bytes = p.assemble(address);
 *
 * Layout of the block: the ops, then the data. Nothing here touches the kernel.
 */
import { putText, TWO_32 } from '../base/bytes.ts';
import { assert } from '../base/errors.ts';
import { ABI_32, ABI_64, type Abi, type AbiCall } from './abi.ts';
import { KIND, OP_ARGS, OP_BYTES, OP_EXPECT, OP_FLAGS, OP_INDIRECT, OP_MUST, OP_RESULT } from './agent-code.ts';
import { aligned, Blobs, type PlacedBlob } from './blobs.ts';
import { type Frame, Frames } from './frames.ts';
import { CHECKS, type FailedOp, kindFor, Ops, type Reason } from './ops.ts';

/** The result of an earlier op, to be passed by value. */
export interface Result {
  readonly kind: 'result';
  readonly op: number;
}

/** A place in the program's data, to be passed by address. */
export interface Place {
  readonly kind: 'place';
  readonly offset: number;
  readonly bytes: number;
}

/** The word stored at a place when the op runs. */
export interface Word {
  readonly kind: 'word';
  readonly place: Place;
}

/** The address of another op (the target of a jump or the start of a child). */
export interface Label {
  readonly kind: 'label';
  op: number;
}

type Reference = Result | Place | Word | Label;

export type ProgramArg = number | bigint | Reference;

const NR_TGKILL = 234;
const SIGSTOP = 19;
/** Places from here on are in the blobs. */
const BLOBS_AT = 2 ** 40;

export class Program {
  #ops = new Ops<Reference>();
  readonly #strings = new Map<string, Place>();
  readonly #ints = new Map<number, Place>();
  #data: Uint8Array = new Uint8Array(1024);
  #dataBytes = 0;
  /** What is copied only when the program is laid out, behind the data. */
  #blobs = new Blobs();
  #frames = new Frames();
  #scratch: Place | undefined = undefined;

  /** A program that begins like this one: what this one's ops return and its places mean the same in it. */
  copy(): Program {
    const copy = new Program();
    copy.#ops = this.#ops.copy();
    copy.#data = this.#data.slice();
    copy.#dataBytes = this.#dataBytes;
    copy.#blobs = this.#blobs.copy();
    copy.#frames = this.#frames.copy();
    for (const [value, place] of this.#ints) copy.#ints.set(value, place);
    for (const [text, place] of this.#strings) copy.#strings.set(text, place);
    return copy;
  }

  /** How many ops there are so far. */
  get length(): number {
    return this.#ops.length;
  }

  /** Ops and data, in bytes. */
  get byteLength(): number {
    return this.opBytes + this.#dataBytes + this.#blobs.byteLength;
  }

  /** The ops alone. */
  get opBytes(): number {
    return this.#ops.length * OP_BYTES;
  }

  /** A system call whose failure the controller looks at afterwards. */
  call(nr: number, ...args: ProgramArg[]): Result {
    return this.#add(KIND.syscall, nr, CHECKS.call, args, undefined);
  }

  /** The same system call for each of many first arguments, such as descriptors; their results follow each other. */
  callEach(nr: number, firsts: readonly number[], ...others: number[]): Result {
    const result = this.call(nr, firsts[0] ?? 0, ...others);
    for (const first of firsts.slice(1)) this.again(result, first);
    return result;
  }

  /** A system call that has to succeed; `because` says what it is for, in an error. */
  must(because: string, nr: number, ...args: ProgramArg[]): Result {
    return this.#add(KIND.syscall, nr, CHECKS.must, args, because);
  }

  /**
   * An op of before again, with other first arguments, none of them negative. For thousands of calls that differ in an
   * address; it must have only numbers.
   */
  again(like: Result, first: number, second?: number, third?: number): Result {
    return { kind: 'result', op: this.#ops.addAgain(like.op, first, second, third) };
  }

  /** Ops of before once more, with the same data; they use the results of no ops. */
  repeat(from: number, to: number): void {
    const references = this.#ops.repeat(from, to);
    assert(!references.some(({ kind }) => kind === 'result' || kind === 'label'), 'the ops use no results');
  }

  /** A system call (of up to five arguments) that has to return `value`. */
  expect(because: string, value: number, nr: number, ...args: ProgramArg[]): Result {
    return this.#add(KIND.syscall, nr, CHECKS.expect, args, because, value);
  }

  /** A system call as the task itself would make it; what it returns is looked at afterwards. */
  callAs(abi: Abi, name: AbiCall, ...args: ProgramArg[]): Result {
    return this.#add(kindFor(abi), abi.calls[name], CHECKS.call, args, undefined);
  }

  /** The same for a call that has to succeed. */
  mustAs(because: string, abi: Abi, name: AbiCall, ...args: ProgramArg[]): Result {
    return this.#add(kindFor(abi), abi.calls[name], CHECKS.must, args, because);
  }

  /** The same for a call that has to return `value`. */
  expectAs(because: string, value: number, abi: Abi, name: AbiCall, ...args: ProgramArg[]): Result {
    return this.#add(kindFor(abi), abi.calls[name], CHECKS.expect, args, because, value);
  }

  /** clone3 with `cloneArgs`; the child goes on at `child`. */
  clone(because: Reason, nr: number, cloneArgs: Place, size: number, child: Label): Result {
    return this.#add(KIND.clone, nr, CHECKS.must, [cloneArgs, size, 0, 0, 0, child], because);
  }

  /**
   * clone3 of a child that the tracer stops before its first instruction. It gets a program of its own then, or goes on at
   * `child`.
   */
  fork(nr: number, cloneArgs: Place, size: number, child: Label | 0 = 0): Result {
    return this.#add(KIND.clone, nr, CHECKS.call, [cloneArgs, size, 0, 0, 0, child], undefined);
  }

  store64(target: ProgramArg, value: ProgramArg): void {
    this.#add(KIND.store64, 0, 0, [target, value], undefined);
  }

  store32(target: ProgramArg, value: ProgramArg): void {
    this.#add(KIND.store32, 0, 0, [target, value], undefined);
  }

  /** int3: the controller takes over. Only for tasks that are being built. */
  stop(): void {
    this.#end = this.#add(KIND.stop, 0, 0, [], undefined).op;
  }

  /**
   * Stops by SIGSTOP instead of int3, which would reset the task's own action for SIGTRAP when that is to ignore it
   * (kernel/signal.c, force_sig_info_to_task).
   */
  stopBySignal(pid: number, tid = pid): void {
    // The signal is delivered on the way out of the system call: the op has not been left yet.
    this.#end = this.must('stop', NR_TGKILL, pid, tid, SIGSTOP).op;
  }

  #end = -1;

  /** True when the program ends in a stop (it may go on with parts for threads). */
  get isStopped(): boolean {
    return this.#end >= 0;
  }

  /** True when op number `index` is the stop at the end. */
  endsAt(index: number): boolean {
    return index === this.#end;
  }

  #isUnchecked = false;

  /** Ops added by `add` do not stop when they fail, since nobody traces the thread; see `failures`. */
  unchecked(add: () => void): void {
    this.#isUnchecked = true;
    add();
    this.#isUnchecked = false;
  }

  /** Ops that should have succeeded and did not, in a block that has been run. */
  failures(block: Uint8Array): FailedOp[] {
    return this.#ops.failures(block);
  }

  jump(target: Label | Word | number): Result {
    return this.#add(KIND.jump, 0, 0, [target], undefined);
  }

  /** Leaves the agent for machine code at `address`. */
  leave(address: number): Result {
    return this.#add(KIND.leave, 0, 0, [address], undefined);
  }

  /** A label to be placed later by `place`. */
  label(): Label {
    return { kind: 'label', op: -1 };
  }

  /** The next op is where `label` points. */
  place(label: Label): void {
    label.op = this.#ops.length;
  }

  /** A NUL-terminated byte string; equal strings share a place. */
  string(text: string): Place {
    let place = this.#strings.get(text);
    if (place === undefined) {
      place = this.reserve(text.length + 1);
      putText(text, this.#data, place.offset);
      this.#strings.set(text, place);
    }
    return place;
  }

  /** Eight bytes for what nobody reads. */
  get scratch(): Place {
    this.#scratch ??= this.reserve(8);
    return this.#scratch;
  }

  /** An int that is only read; equal ones share a place. */
  int(value: number): Place {
    let place = this.#ints.get(value);
    if (place === undefined) {
      place = this.reserve(4);
      for (let i = 0; i < 4; i++) this.#data[place.offset + i] = value >> (8 * i);
      this.#ints.set(value, place);
    }
    return place;
  }

  /** Bytes that the task can read and write. */
  data(bytes: Uint8Array): Place {
    const place = this.reserve(bytes.length);
    this.#data.set(bytes, place.offset);
    return place;
  }

  /** The same for much, or a part of it, which must not change until the program is laid out. */
  blob({ buffer, byteOffset, length }: Uint8Array, start = 0, bytes = length): Place {
    const at = byteOffset + start;
    return { kind: 'place', offset: BLOBS_AT + this.#blobs.add(buffer, at, at + bytes), bytes };
  }

  /** 64-bit words that the task can read and write. */
  words(...values: (number | bigint)[]): Place {
    // A plain loop: the first use of BigUint64Array.from with a function costs the runtime 0.2 ms.
    const words = new BigUint64Array(values.length);
    for (let i = 0; i < values.length; i++) words[i] = BigInt(values[i] ?? 0);
    return this.data(new Uint8Array(words.buffer));
  }

  /** Zeroed room for a result. */
  reserve(bytes: number): Place {
    const offset = this.#dataBytes;
    this.#dataBytes += aligned(bytes);
    if (this.#dataBytes > this.#data.length) {
      const grown = new Uint8Array(Math.max(this.#dataBytes, this.#data.length * 2));
      grown.set(this.#data.subarray(0, offset));
      this.#data = grown;
    }
    return { kind: 'place', offset, bytes };
  }

  /** A place `offset` bytes into another one. */
  at(place: Place, offset: number): Place {
    return { kind: 'place', offset: place.offset + offset, bytes: place.bytes - offset };
  }

  /** The word at a place, read when the op runs. */
  wordAt(place: Place): Word {
    return { kind: 'word', place };
  }

  /** The blobs, which belong behind the ops and the data: offset in the block, and bytes. */
  blobs(): readonly PlacedBlob[] {
    return this.#blobs.at(this.opBytes + this.#dataBytes);
  }

  /**
   * The finished block for memory at `address` of the task. `relocations` gets the offsets of all words in it that hold
   * addresses of the block. `hasBlobs`: false leaves them to the caller.
   */
  assemble(address: number, relocations?: number[], hasBlobs = true): Uint8Array {
    const block = new Uint8Array(hasBlobs ? this.byteLength : this.opBytes + this.#dataBytes);
    if (hasBlobs) for (const { offset, bytes } of this.blobs()) block.set(bytes, offset);
    const dataStart = this.#ops.length * OP_BYTES;
    block.set(new Uint8Array(this.#ops.words.buffer, 0, dataStart));
    block.set(this.#data.subarray(0, this.#dataBytes), dataStart);
    const words = new Uint32Array(block.buffer, 0, dataStart / 4);
    this.#frames.write(words, (place) => address + this.placeOffset(place), relocations);
    const { referenceAt, references } = this.#ops;
    for (let i = 0; i < references.length; i++) {
      const at = referenceAt[i] ?? 0;
      const reference = references[i];
      if (reference === undefined) continue;
      const isPlace = reference.kind === 'place';
      const target = address + (isPlace ? this.placeOffset(reference) : this.#offsetOf(reference));
      words[at] = target;
      words[at + 1] = Math.floor(target / TWO_32);
      relocations?.push(at * 4);
      if (isPlace || reference.kind === 'label') continue;
      const inOp = (at * 4) % OP_BYTES;
      const flagsAt = at - (inOp - OP_FLAGS) / 4;
      words[flagsAt] = (words[flagsAt] ?? 0) | OP_INDIRECT((inOp - OP_ARGS) / 8);
    }
    return block;
  }

  /** Byte offset of an op's result in the block. */
  resultOffset(result: Result): number {
    return result.op * OP_BYTES + OP_RESULT;
  }

  /** Byte offset of an op's argument in the block. */
  argumentOffset(op: Result, index: number): number {
    return op.op * OP_BYTES + OP_ARGS + 8 * index;
  }

  /** Byte offset of a place in the block. */
  placeOffset(place: Place): number {
    const { offset } = place;
    const inData = offset < BLOBS_AT ? offset : this.#dataBytes + offset - BLOBS_AT;
    // What is computed from BLOBS_AT is no integer for the compilers, and their code is left at each view that has it for an index.
    return (this.#ops.length * OP_BYTES + inData) | 0;
  }

  /** Byte offset of a label in the block. */
  labelOffset(label: Label): number {
    assert(label.op >= 0, 'the label was placed');
    return label.op * OP_BYTES;
  }

  /** What op number `index` is, for an error. */
  describe(index: number): { nr: number; because: string; abi: Abi } {
    assert(index >= 0 && index < this.#ops.length, `the program has op ${index}`);
    const abi = this.#ops.flags(index) >> 8 === KIND.syscall32 ? ABI_32 : ABI_64;
    return { nr: this.#ops.nr(index), because: this.#ops.reason(index), abi };
  }

  /** Appends ops that were made elsewhere, from `start` to `end`; `args`: what each of their unknown arguments is. */
  append<R extends object>(ops: Ops<R>, args: readonly ProgramArg[], start = 0, end = ops.length): void {
    this.#ops.append(ops, args, start, end);
  }

  /** The ops from `op` on, which have been appended, are those of a frame with this data. */
  frame(op: number, frame: Frame, data: Uint8Array): void {
    this.#frames.add(op, frame, this.data(data));
  }

  /** The agent does not look at what an op returns. */
  uncheck(op: number): void {
    this.#ops.clearFlags(op, OP_MUST | OP_EXPECT);
  }

  #add(
    kind: number,
    nr: number,
    flags: number,
    args: readonly ProgramArg[],
    because: Reason | undefined,
    expected?: number,
  ): Result {
    return { kind: 'result', op: this.#ops.add(kind, nr, this.#isUnchecked ? 0 : flags, args, because, expected) };
  }

  #offsetOf(reference: Exclude<Reference, Place>): number {
    switch (reference.kind) {
      case 'result':
        return this.resultOffset(reference);
      case 'word':
        return this.placeOffset(reference.place);
      case 'label':
        return this.labelOffset(reference);
    }
  }
}
