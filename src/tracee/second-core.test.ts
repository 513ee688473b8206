import { expect, test } from 'bun:test';
import { Program } from '../agent/program.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { withDescriptorLimit } from '../linux/syscalls/descriptor-limit.test-support.ts';
import { tryListDirectory } from '../linux/syscalls/fs.ts';
import { CallTable } from './call-table.ts';
import { threadCount } from './parallel.ts';
import { SecondCore } from './second-core.ts';

test.skipIf(threadCount() < 2)('rows are executed by two threads, each row once', () => {
  const row = new Program();
  const word = row.words(0);
  const tid = row.call(SYS.gettid);
  row.store64(word, tid);
  const table = new CallTable(row, 8);
  const before = tryListDirectory('/proc/self/fd');
  {
    using core = SecondCore.tryStart(1000);
    expect(core).toBeDefined();
    for (const rows of [8, 5, 2, 8]) {
      const tids: number[] = [];
      for (let i = 0; i < 8; i++) table.view.setUint32(table.at(i, word), 0, true);
      table.run(rows, core);
      for (let i = 0; i < rows; i++) tids.push(table.result(i, tid));
      const half = rows >> 1;
      expect(new Set(tids).size).toBe(2);
      expect(new Set(tids.slice(0, half)).size).toBe(1);
      expect(new Set(tids.slice(half)).size).toBe(1);
      for (let i = rows; i < 8; i++) expect(table.view.getUint32(table.at(i, word), true)).toBe(0);
    }
    table.run(1, core);
    table.run(8);
    expect(new Set(Array.from({ length: 8 }, (_, i) => table.result(i, tid))).size).toBe(1);
  }
  expect(tryListDirectory('/proc/self/fd')).toEqual(before);
});

test('few things are left to one thread', () => {
  expect(SecondCore.tryStart(10)).toBeUndefined();
});

test('and so are many where there can be no more descriptors', () => {
  expect(withDescriptorLimit(0, () => SecondCore.tryStart(1000))).toBeUndefined();
});
