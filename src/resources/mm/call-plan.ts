/**
 * System calls that copy between tasks and a file (process_vm_readv, process_vm_writev): which ranges each of them names,
 * and how far threads of ours have come with them. There may be many thousands, so they are no objects.
 */
import { expectMany } from '../../base/hot-code.ts';
import { UIO_MAXIOV } from '../../linux/abi/uio.ts';
import { addressOf } from '../../linux/kernel.ts';
import type { Running } from '../../tracee/parallel.ts';
import type { Range } from './address-space.ts';

/** struct iovec, in halves of words. */
const IOV_HALVES = 4;
export const IOV_BYTES = 16;
const TWO_32 = 2 ** 32;

/** Told how many bytes have been copied since it was told last. */
export type OnCopied = (bytes: number) => void;

/** A range of a task and the offset of its bytes in a file. */
export interface FileRange extends Range {
  readonly offset: number;
}

export function bytesOf(ranges: readonly Range[]): number {
  let sum = 0;
  for (const { start, end } of ranges) sum += end - start;
  return sum;
}

export class CallPlan {
  /** By call: its range of the file, and its first iovec. */
  readonly offsets: number[] = [];
  readonly bytes: number[] = [];
  readonly #firsts: number[] = [];
  readonly #iov: Uint32Array;
  readonly #address: number;
  #iovCount = 0;

  /** Calls for ranges that follow each other in the file; each moves at most `bytesMax` bytes, of `iovMax` ranges. */
  constructor(ranges: readonly FileRange[], bytesMax: number, iovMax = UIO_MAXIOV) {
    expectMany(ranges.length);
    let most = 0;
    for (const { start, end } of ranges) most += 1 + Math.ceil((end - start) / bytesMax);
    // An array with a buffer of its own never moves.
    this.#iov = new Uint32Array(new ArrayBuffer(most * IOV_BYTES));
    this.#address = addressOf(this.#iov);
    let [left, room, next] = [0, 0, 0];
    for (const { start, end, offset } of ranges) {
      const shift = offset - start;
      for (let at = start; at < end; ) {
        if (left === 0 || room === 0 || at + shift !== next) {
          this.#begin(at + shift);
          [left, room] = [bytesMax, iovMax];
        }
        const bytes = Math.min(end - at, left);
        this.#add(at, bytes);
        left -= bytes;
        room--;
        at += bytes;
        next = at + shift;
      }
    }
  }

  #begin(offset: number): void {
    this.offsets.push(offset);
    this.bytes.push(0);
    this.#firsts.push(this.#iovCount);
  }

  #add(address: number, bytes: number): void {
    const at = this.#iovCount++ * IOV_HALVES;
    const iov = this.#iov;
    iov[at] = address;
    iov[at + 1] = address / TWO_32;
    iov[at + 2] = bytes;
    this.bytes[this.bytes.length - 1] = (this.bytes.at(-1) ?? 0) + bytes;
  }

  get length(): number {
    return this.bytes.length;
  }

  /** Where the iovecs of a call are in our memory, for as long as the plan is kept. */
  iovAddress(call: number): number {
    return this.#address + (this.#firsts[call] ?? 0) * IOV_BYTES;
  }

  iovCount(call: number): number {
    return (this.#firsts[call + 1] ?? this.#iovCount) - (this.#firsts[call] ?? 0);
  }

  /** The first address of a call. */
  start(call: number): number {
    const at = (this.#firsts[call] ?? 0) * IOV_HALVES;
    return (this.#iov[at] ?? 0) + (this.#iov[at + 1] ?? 0) * TWO_32;
  }
}

/** Ops of a thread that are to return the numbers of bytes of a plan's calls. */
export class PlannedOps {
  readonly plan: CallPlan;
  readonly #op: number;
  readonly #opStep: number;
  readonly #call: number;
  readonly #callStep: number;
  /** How many of them have been seen done, and what they have copied. */
  #done = 0;
  #bytes = 0;

  /** The first of the ops and how far apart they are; which call the first one makes, and the next one. */
  constructor(plan: CallPlan, op: number, opStep: number, call = 0, callStep = 1) {
    this.plan = plan;
    this.#op = op;
    this.#opStep = opStep;
    this.#call = call;
    this.#callStep = callStep;
  }

  /** How many bytes have been copied so far. */
  countBytes(thread: Running): number {
    for (; this.#call + this.#callStep * this.#done < this.plan.length; this.#done++) {
      const bytes = thread.resultAt(this.#op + this.#opStep * this.#done);
      if (bytes === 0) break;
      this.#bytes += Math.max(bytes, 0);
    }
    return this.#bytes;
  }

  /** When the thread has ended: the first call that has not copied all of its bytes, and what it returned. */
  findShort(thread: Running): { call: number; result: number } | undefined {
    let op = this.#op;
    for (let call = this.#call; call < this.plan.length; call += this.#callStep, op += this.#opStep) {
      const result = thread.resultAt(op);
      if (result !== this.plan.bytes[call]) return { call, result };
    }
    return undefined;
  }
}

/** Waits for threads, and tells how many bytes they have copied so far. */
export function tellProgress(
  threads: readonly { readonly thread: Running; readonly ops: readonly PlannedOps[] }[],
  onCopied: OnCopied | undefined,
): void {
  let told = 0;
  const tell = () => {
    let bytes = 0;
    for (const { thread, ops } of threads) for (const one of ops) bytes += one.countBytes(thread);
    onCopied?.(bytes - told);
    told = bytes;
  };
  for (const { thread } of threads) thread.join(onCopied === undefined ? undefined : tell);
  if (onCopied !== undefined) tell();
}
