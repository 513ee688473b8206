/**
 * The values of a fixed list of options, of one socket after the other: one program asks for all of them, and mostly they
 * are those of the socket before.
 */
import { type Place, Program, type Result } from '../../../agent/program.ts';
import { SyscallError } from '../../../base/errors.ts';
import { errnoName } from '../../../linux/abi/errno.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { OwnCalls } from '../../../tracee/own-calls.ts';

/** An option, and the size of its value. */
export type OptionSpec = readonly [level: number, option: number, bytes: number];

interface Call {
  readonly result: Result;
  readonly value: Place;
  readonly size: Place;
}

/** What no call has touched looks like this. */
const UNTOUCHED = 0xa5;
const WORD_BYTES = 8;

export class OptionValues {
  readonly #calls: OwnCalls;
  readonly #byOption = new Map<number, Call>();
  readonly #fdAt: number;
  /** Sizes and values, as they are before the program runs, and now. */
  readonly #fresh: Uint8Array;
  readonly #data: Uint8Array;
  #last: Uint8Array | undefined;

  constructor(specs: readonly OptionSpec[]) {
    const program = new Program();
    const fd = program.words(0);
    for (const [level, option, bytes] of specs) {
      const value = program.data(new Uint8Array(Math.max(bytes, WORD_BYTES)).fill(UNTOUCHED));
      const size = program.words(bytes);
      const result = program.call(SYS.getsockopt, program.wordAt(fd), level, option, value, size);
      this.#byOption.set(keyOf(level, option), { result, value, size });
    }
    this.#calls = new OwnCalls(program);
    this.#fdAt = this.#calls.offsetOf(fd);
    this.#data = this.#calls.block.subarray(this.#fdAt);
    this.#fresh = this.#data.slice();
  }

  /** Asks a socket; returns whether all values are those of the socket before. */
  read(fd: number): boolean {
    this.#data.set(this.#fresh);
    this.#calls.view.setInt32(this.#fdAt, fd, true);
    this.#calls.run();
    this.#calls.view.setInt32(this.#fdAt, 0, true);
    if (this.#last !== undefined && Buffer.compare(this.#data, this.#last) === 0) return true;
    this.#last = this.#data.slice();
    return false;
  }

  /** An option that is an int; undefined when the kernel or this kind of socket has no such option. */
  tryInt(level: number, option: number): number | undefined {
    const { result, value } = this.#callOf(level, option);
    return this.#calls.result(result) < 0 ? undefined : this.#calls.view.getInt32(this.#calls.offsetOf(value), true);
  }

  /** An option that is an int. Throws SyscallError, naming the option. */
  int(level: number, option: number): number {
    return this.tryInt(level, option) ?? this.#fail(level, option);
  }

  /** A value, until another socket is asked; undefined as above. */
  tryBytes(level: number, option: number): Uint8Array | undefined {
    const { result, value, size } = this.#callOf(level, option);
    if (this.#calls.result(result) < 0) return undefined;
    const start = this.#calls.offsetOf(value);
    // What does not fit is not there.
    const length = Math.min(this.#calls.view.getUint32(this.#calls.offsetOf(size), true), value.bytes);
    return this.#calls.block.subarray(start, start + length);
  }

  /** A value. Throws SyscallError. */
  bytes(level: number, option: number): Uint8Array {
    return this.tryBytes(level, option) ?? this.#fail(level, option);
  }

  /** The length of a value, or −errno. */
  tryLength(level: number, option: number): number {
    const { result, size } = this.#callOf(level, option);
    const failure = this.#calls.result(result);
    return failure < 0 ? failure : this.#calls.view.getUint32(this.#calls.offsetOf(size), true);
  }

  /** All values as they are now, for `isAsIn`. */
  snapshot(): Uint8Array {
    return this.#data.slice();
  }

  /** Whether an option, or without one every option, is as it was in a snapshot. */
  isAsIn(snapshot: Uint8Array, level?: number, option?: number): boolean {
    if (level === undefined || option === undefined) return Buffer.compare(this.#data, snapshot) === 0;
    const { value, size } = this.#callOf(level, option);
    const start = this.#calls.offsetOf(value) - this.#fdAt;
    const end = this.#calls.offsetOf(size) - this.#fdAt + WORD_BYTES;
    return Buffer.compare(this.#data.subarray(start, end), snapshot.subarray(start, end)) === 0;
  }

  #fail(level: number, option: number): never {
    const errno = -this.#calls.result(this.#callOf(level, option).result);
    throw new SyscallError('getsockopt', errno, errnoName(errno), `${level}, ${option}`);
  }

  #callOf(level: number, option: number): Call {
    const call = this.#byOption.get(keyOf(level, option));
    if (call === undefined) throw new RangeError(`option ${level}, ${option} was not asked for`);
    return call;
  }
}

/** Numbers of options are smaller. */
const OPTIONS = 65_536;
const keyOf = (level: number, option: number) => level * OPTIONS + option;
