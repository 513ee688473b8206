import { expect, test } from 'bun:test';
import { Program } from '../agent/program.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { CallTable } from './call-table.ts';

/** Rows that ask which file descriptor a pipe gets, write a word of theirs to it and read it back. */
function echoes(rows: number) {
  const program = new Program();
  const word = program.words(0);
  const pipe = program.reserve(8);
  const back = program.reserve(8);
  const made = program.call(SYS.pipe2, pipe, 0);
  // A descriptor is an int; the word at the place has both.
  const readEnd = program.words(0);
  const writeEnd = program.words(0);
  program.store32(readEnd, program.wordAt(pipe));
  program.store32(writeEnd, program.wordAt(program.at(pipe, 4)));
  const written = program.call(SYS.write, program.wordAt(writeEnd), word, 8);
  const read = program.call(SYS.read, program.wordAt(readEnd), back, 8);
  program.call(SYS.close, program.wordAt(readEnd));
  program.call(SYS.close, program.wordAt(writeEnd));
  return { table: new CallTable(program, rows), word, back, made, written, read };
}

test('each row has its own arguments and results', () => {
  const { table, word, back, made, written, read } = echoes(5);
  for (let row = 0; row < 5; row++) table.view.setUint32(table.at(row, word), 100 + row, true);
  table.run();
  for (let row = 0; row < 5; row++) {
    expect([table.result(row, made), table.result(row, written), table.result(row, read)]).toEqual([0, 8, 8]);
    expect(table.view.getUint32(table.at(row, back), true)).toBe(100 + row);
  }
});

test('a table is run again, with fewer rows and with more', () => {
  const { table, word, back } = echoes(4);
  const run = (rows: number, value: number) => {
    for (let row = 0; row < 4; row++) {
      table.view.setUint32(table.at(row, word), value + row, true);
      table.view.setUint32(table.at(row, back), 0, true);
    }
    table.run(rows);
    return [0, 1, 2, 3].map((row) => table.view.getUint32(table.at(row, back), true));
  };
  expect(run(2, 10)).toEqual([10, 11, 0, 0]);
  expect(run(4, 20)).toEqual([20, 21, 22, 23]);
  expect(run(1, 30)).toEqual([30, 0, 0, 0]);
  expect(run(0, 40)).toEqual([0, 0, 0, 0]);
  expect(() => table.run(5)).toThrow('a table of 4 rows has 5');
});

test('an argument of an op is a column too', () => {
  const program = new Program();
  const op = program.call(SYS.lseek, -1, 0, 0);
  const table = new CallTable(program, 3);
  table.view.setInt32(table.argument(1, op, 0), 0x7fff_ffff, true);
  table.run();
  expect([0, 1, 2].map((row) => table.result(row, op))).toEqual([-9, -9, -9]);
});
