/**
 * A table of system calls whose memory is looked at as words of 32 bits, with columns by name: what is done for each of
 * thousands of rows is no more than `words[row * rowWords + at.name]`.
 */
import type { Place, Program, Result } from '../agent/program.ts';
import { byteStringAt } from '../base/bytes.ts';
import { CallTable, type TableEnd } from './call-table.ts';

export class Columns<Name extends string> {
  readonly words: Int32Array;
  readonly unsigned: Uint32Array;
  /** From one row to the next. */
  readonly rowWords: number;
  readonly at: Readonly<Record<Name, number>>;
  readonly table: CallTable;

  constructor(program: Program, rows: number, columns: Readonly<Record<Name, Place | Result>>, end?: TableEnd) {
    const table = new CallTable(program, rows, end);
    const at = {} as Record<Name, number>;
    for (const name in columns) {
      const column = columns[name];
      at[name] = (column.kind === 'place' ? table.at(0, column) : program.resultOffset(column)) / 4;
    }
    this.table = table;
    this.at = at;
    this.words = new Int32Array(table.block.buffer);
    this.unsigned = new Uint32Array(table.block.buffer);
    this.rowWords = table.rowBytes / 4;
  }

  run(rows: number): void {
    this.table.run(rows);
  }

  /** Writes a number as a C string. */
  name(at: number, number: number): void {
    const { block } = this.table;
    const text = `${number}`;
    const start = at * 4;
    for (let i = 0; i < text.length; i++) block[start + i] = text.charCodeAt(i);
    block[start + text.length] = 0;
  }

  text(at: number, bytes: number): string {
    return byteStringAt(this.table.block, at * 4, at * 4 + bytes);
  }
}
