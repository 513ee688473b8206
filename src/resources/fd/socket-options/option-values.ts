/**
 * The values of a fixed list of options, of one socket after the other: one program asks for all of them, of many sockets
 * a table of it, and mostly they are those of a socket before.
 */
import { type Place, Program, type Result } from '../../../agent/program.ts';
import { SyscallError } from '../../../base/errors.ts';
import { errnoName } from '../../../linux/abi/errno.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { CallTable } from '../../../tracee/call-table.ts';
import type { SecondCore } from '../../../tracee/second-core.ts';

/** An option, and the size of its value. */
export type OptionSpec = readonly [level: number, option: number, bytes: number];

interface Call {
  readonly result: Result;
  /** In the data of a row. */
  readonly valueAt: number;
  readonly valueBytes: number;
  readonly sizeAt: number;
}

/** All values of a socket. It is the same object as long as sockets have the same ones, as those before or a moment ago. */
export interface ValueSet {
  readonly bytes: Uint8Array;
}

/** Sets that are kept: the two ends of connections differ, for one was accepted, so that two take turns. */
const SETS_MAX = 4;

/** What no call has touched looks like this. */
const UNTOUCHED = 0xa5;
const WORD_BYTES = 8;

export class OptionValues {
  readonly #table: CallTable;
  readonly #bytes: Buffer;
  readonly #byOption = new Map<number, Call>();
  /** Where the descriptor is in the first row; values and sizes follow, so many bytes. */
  readonly #fdAt: number;
  readonly #dataBytes: number;
  /** Values and sizes before the program runs. */
  readonly #fresh: Uint8Array;
  /** The last ones, the newest first. */
  #sets: ValueSet[] = [];
  #row = 0;

  constructor(specs: readonly OptionSpec[], rows = 1) {
    const program = new Program();
    const fd = program.words(0);
    const calls = specs.map(([level, option, bytes]) => {
      const value = program.data(new Uint8Array(Math.max(bytes, WORD_BYTES)).fill(UNTOUCHED));
      const size = program.words(bytes);
      const result = program.call(SYS.getsockopt, program.wordAt(fd), level, option, value, size);
      return { key: keyOf(level, option), result, value, size };
    });
    const table = new CallTable(program, rows);
    this.#table = table;
    this.#bytes = Buffer.from(table.block.buffer);
    this.#fdAt = table.at(0, fd);
    const dataAt = this.#fdAt + WORD_BYTES;
    this.#dataBytes = table.rowBytes - dataAt;
    const offset = (place: Place) => table.at(0, place) - dataAt;
    for (const { key, result, value, size } of calls) {
      this.#byOption.set(key, { result, valueAt: offset(value), valueBytes: value.bytes, sizeAt: offset(size) });
    }
    this.#fresh = table.block.slice(dataAt, dataAt + this.#dataBytes);
  }

  get rows(): number {
    return this.#table.rows;
  }

  /** No socket that is read from now on has the set of one before. */
  forget(): void {
    this.#sets = [];
  }

  /** Asks a socket, whose values may be looked at until another one is asked. */
  read(fd: number): ValueSet {
    this.#prepare(0, fd);
    this.#table.run(1);
    return this.#take(0);
  }

  /** Asks sockets, with another core half of them there. `take` may look at the values of each in turn. */
  readAll(fds: readonly number[], take: (index: number, values: ValueSet) => void, core?: SecondCore): void {
    this.#table.runAll(
      fds.length,
      (row, index) => this.#prepare(row, fds[index] ?? -1),
      (row, index) => take(index, this.#take(row)),
      core,
    );
  }

  #prepare(row: number, fd: number): void {
    const { block, rowBytes, view } = this.#table;
    const at = row * rowBytes + this.#fdAt;
    view.setInt32(at, fd, true);
    block.set(this.#fresh, at + WORD_BYTES);
  }

  #take(row: number): ValueSet {
    this.#row = row;
    const [start, bytes] = [this.#dataAt, this.#dataBytes];
    for (const set of this.#sets) {
      if (this.#bytes.compare(set.bytes, 0, bytes, start, start + bytes) === 0) return set;
    }
    const set = { bytes: this.#data.slice() };
    if (this.#sets.unshift(set) > SETS_MAX) this.#sets.pop();
    return set;
  }

  /** Where the values of the socket begin that was taken last. */
  get #dataAt(): number {
    return this.#row * this.#table.rowBytes + this.#fdAt + WORD_BYTES;
  }

  get #data(): Uint8Array {
    return this.#table.block.subarray(this.#dataAt, this.#dataAt + this.#dataBytes);
  }

  /** An option that is an int; undefined when the kernel or this kind of socket has no such option. */
  tryInt(level: number, option: number): number | undefined {
    const { result, valueAt } = this.#callOf(level, option);
    return this.#result(result) < 0 ? undefined : this.#table.view.getInt32(this.#dataAt + valueAt, true);
  }

  /** An option that is an int. Throws SyscallError, naming the option. */
  int(level: number, option: number): number {
    return this.tryInt(level, option) ?? this.#fail(level, option);
  }

  /** A value, until another socket is asked; undefined as above. */
  tryBytes(level: number, option: number): Uint8Array | undefined {
    const call = this.#callOf(level, option);
    if (this.#result(call.result) < 0) return undefined;
    const start = this.#dataAt + call.valueAt;
    // What does not fit is not there.
    return this.#table.block.subarray(start, start + Math.min(this.#size(call), call.valueBytes));
  }

  /** A value. Throws SyscallError. */
  bytes(level: number, option: number): Uint8Array {
    return this.tryBytes(level, option) ?? this.#fail(level, option);
  }

  /** The length of a value, or −errno. */
  tryLength(level: number, option: number): number {
    const call = this.#callOf(level, option);
    const failure = this.#result(call.result);
    return failure < 0 ? failure : this.#size(call);
  }

  /** All values as they are now, for `isAsIn`. */
  snapshot(): Uint8Array {
    return this.#data.slice();
  }

  /** Whether an option, or without one every option, is as it was in a snapshot. */
  isAsIn(snapshot: Uint8Array, level?: number, option?: number): boolean {
    if (level === undefined || option === undefined) return Buffer.compare(this.#data, snapshot) === 0;
    const { valueAt, sizeAt } = this.#callOf(level, option);
    const end = sizeAt + WORD_BYTES;
    return Buffer.compare(this.#data.subarray(valueAt, end), snapshot.subarray(valueAt, end)) === 0;
  }

  #result(of: Result): number {
    return this.#table.result(this.#row, of);
  }

  #size({ sizeAt }: Call): number {
    return this.#table.view.getUint32(this.#dataAt + sizeAt, true);
  }

  #fail(level: number, option: number): never {
    const errno = -this.#result(this.#callOf(level, option).result);
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
