/**
 * The same system calls of our own for many things, for the price of one call from TypeScript: a table whose rows are
 * copies of one program. What differs from row to row (a tid, a descriptor, a name) is written into its column before the
 * run, and results are read from theirs afterwards.
 *
 *     const row = new Program();
 *     const tid = row.words(0);
 *     const mask = row.reserve(8);
 *     const got = row.call(SYS.ptrace, PTRACE_GETSIGMASK, row.wordAt(tid), 8, mask);
 *     const table = new CallTable(row, 64);
 *     for (let i = 0; i < count; i++) table.view.setUint32(table.at(i, tid), tids[i], true);
 *     table.run(count);
 *     … table.result(i, got), table.at(i, mask)
 *
 * A table may be run again and again: whoever has more things than rows does them in portions, and what is in memory
 * stays in the cache.
 */
import { OP_BYTES, OP_RESULT } from '../agent/agent-code.ts';
import { type Place, Program, type Result } from '../agent/program.ts';
import { relocateRows, setWord } from '../base/bytes.ts';
import { assert } from '../base/errors.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { addressOf } from '../linux/kernel.ts';
import { execute, wayOut } from './own-calls.ts';
import type { SecondCore } from './second-core.ts';

/** More rows would not be in the processor's cache any more. */
const ROWS_MAX = 64;

/** How many rows a table needs for `count` things, which it does in portions. */
export const rowsFor = (count: number): number => Math.min(Math.max(count, 1), ROWS_MAX);

/** What whoever executes a table does after its last row: goes back to us, or, another thread of ours, exits. */
export type TableEnd = 'return' | 'exit';

export class CallTable {
  readonly rows: number;
  /** From one row to the next: ops, then data. */
  readonly rowBytes: number;
  /** All rows in memory. */
  readonly block: Uint8Array;
  readonly view: DataView;
  readonly #program: Program;
  readonly #address: number;
  /** The op of a row that leads to the next one. */
  readonly #next: number;
  /** The row that leads out at present. */
  #last: number;

  /** Lays out `rows` copies of the program, which gets its end; it must not stop, so none of its calls may be a `must`. */
  constructor(program: Program, rows: number, end: TableEnd = 'return') {
    const next = program.jump(0);
    this.rows = rows;
    this.rowBytes = program.byteLength;
    this.#program = program;
    this.#next = program.argumentOffset(next, 0);
    this.#last = rows - 1;
    const last = new Program();
    if (end === 'exit') last.call(SYS.exit, 0);
    else last.leave(wayOut());
    // An array with a buffer of its own never moves.
    this.block = new Uint8Array(new ArrayBuffer(rows * this.rowBytes + last.byteLength));
    this.view = new DataView(this.block.buffer);
    this.#address = addressOf(this.block);
    this.#layOut();
    this.block.set(last.assemble(0), rows * this.rowBytes);
  }

  #layOut(): void {
    const { block, view, rowBytes, rows } = this;
    const relocations: number[] = [];
    block.set(this.#program.assemble(0, relocations));
    // Doubles what is there until it is enough.
    const total = rows * rowBytes;
    for (let done = rowBytes; done < total; done *= 2) block.copyWithin(done, 0, Math.min(done, total - done));
    relocateRows(block, relocations, rowBytes, rows, this.#address);
    for (let at = 0; at < total; at += rowBytes) setWord(view, at + this.#next, this.#address + at + rowBytes);
  }

  /** Executes the first `rows` rows; with another core half of them there: then none may have a call of ptrace. */
  run(rows = this.rows, core?: SecondCore): void {
    if (core !== undefined && rows > 1) this.#runOnBoth(rows, core);
    else if (rows > 0) execute(this.enter(rows));
  }

  #runOnBoth(rows: number, core: SecondCore): void {
    const half = rows >> 1;
    this.enter(this.rows);
    this.#lead(half - 1, this.rows);
    this.#leadTo(rows - 1, core.end);
    core.start(this.#address + half * this.rowBytes);
    execute(this.#address);
    core.wait();
    this.#lead(half - 1, half);
    this.#lead(rows - 1, rows);
  }

  /** Prepares the first `rows` rows, of which there is one at least; returns where they begin. */
  enter(rows: number): number {
    assert(rows > 0 && rows <= this.rows, `a table of ${this.rows} rows has ${rows}`);
    if (rows - 1 !== this.#last) {
      this.#lead(this.#last, this.#last + 1);
      this.#lead(rows - 1, this.rows);
      this.#last = rows - 1;
    }
    return this.#address;
  }

  /**
   * Executes a row for each number (a tid, a descriptor), in portions: the number goes into the word `column`, what `fill`
   * writes beside it, and `take` reads the results of row `row`. Both get the number's index too.
   */
  runFor(
    numbers: readonly number[],
    column: Place,
    take: (row: number, index: number) => void,
    fill?: (row: number, index: number) => void,
  ): void {
    const { rowBytes, view } = this;
    const columnAt = this.at(0, column);
    const fillRow = (row: number, index: number) => {
      view.setUint32(row * rowBytes + columnAt, numbers[index] ?? 0, true);
      fill?.(row, index);
    };
    this.runAll(numbers.length, fillRow, take);
  }

  /** The same for `count` things of another kind. `core`: see `run`. */
  runAll(
    count: number,
    fill: (row: number, index: number) => void,
    take: (row: number, index: number) => void,
    core?: SecondCore,
  ): void {
    for (let done = 0; done < count; done += this.rows) {
      const rows = Math.min(this.rows, count - done);
      for (let row = 0; row < rows; row++) fill(row, done + row);
      this.run(rows, core);
      for (let row = 0; row < rows; row++) take(row, done + row);
    }
  }

  /** A row goes on at another one; the one after the last leads out. */
  #lead(row: number, to: number): void {
    this.#leadTo(row, this.#address + to * this.rowBytes);
  }

  #leadTo(row: number, address: number): void {
    setWord(this.view, row * this.rowBytes + this.#next, address);
  }

  /** Where a place of a row is in `block`. */
  at(row: number, place: Place): number {
    return row * this.rowBytes + this.#program.placeOffset(place);
  }

  /** Where an argument of a row's op is in `block`. */
  argument(row: number, op: Result, index: number): number {
    return row * this.rowBytes + this.#program.argumentOffset(op, index);
  }

  /** What an op of a row returned: a number of 32 bits, or −errno. */
  result(row: number, of: Result): number {
    return this.view.getInt32(row * this.rowBytes + of.op * OP_BYTES + OP_RESULT, true);
  }
}

/**
 * A table that is kept: to lay out even one row takes longer than most rows take to run, and a rehearsal should not be in
 * vain. `plan` adds the calls to a row, and returns its columns. What a run has left in a row is there in the next one.
 */
export class KeptTable<C> {
  readonly #plan: (row: Program) => C;
  #kept: { readonly table: CallTable; readonly columns: C } | undefined = undefined;

  constructor(plan: (row: Program) => C) {
    this.#plan = plan;
  }

  /** Gives `work` a table for `count` things, which it may use until it returns. */
  use<R>(count: number, work: (table: CallTable, columns: C) => R): R {
    const rows = rowsFor(count);
    const kept = this.#kept !== undefined && this.#kept.table.rows >= rows ? this.#kept : this.#make(rows);
    // Whoever wants one meanwhile makes another.
    this.#kept = undefined;
    const result = work(kept.table, kept.columns);
    this.#kept = kept;
    return result;
  }

  #make(rows: number) {
    const row = new Program();
    const columns = this.#plan(row);
    return { table: new CallTable(row, rows), columns };
  }
}
