import { describe, expect, test } from 'bun:test';
import { plainRun } from './dump-pages.ts';
import { halveBase, splitPages } from './split-pages.ts';

const MIB = 1 << 20;
const run = (start: number, end: number) => plainRun({ start: start * MIB, end: end * MIB });

describe('the pages of a big task', () => {
  test('are spread over two files of the same size', () => {
    const split = splitPages([{ pid: 7, runs: [run(0, 20), run(64, 256), run(300, 344)] }]);
    const own = [run(0, 20), run(64, 172)];
    const base = [run(172, 256), run(300, 344)].map((one) => ({ ...one, isInBase: true }));
    expect(split?.runs.get(7)).toMatchObject([...own, ...base]);
    expect(split?.base).toEqual(base.map((one) => ({ ...one, pid: 7 })));
  });

  test('are cut between huge pages, or between runs', () => {
    const odd = splitPages([{ pid: 7, runs: [run(1, 256)] }]);
    expect(odd?.base.map(({ start }) => start / MIB)).toEqual([128]);
    const apart = splitPages([{ pid: 7, runs: [run(0, 100), run(201, 301)] }]);
    expect(apart?.base.map(({ start }) => start / MIB)).toEqual([201]);
  });

  test('are written beside those of other tasks', () => {
    const split = splitPages([
      { pid: 7, runs: [run(0, 100)] },
      { pid: 8, runs: [run(0, 300)] },
    ]);
    expect(split?.base.map(({ pid, start, end }) => [pid, start / MIB, end / MIB])).toEqual([[8, 200, 300]]);
    expect(split?.runs.has(7)).toBe(false);
  });

  test('stay together when they are few, or no more than others have', () => {
    expect(splitPages([])).toBeUndefined();
    expect(splitPages([{ pid: 7, runs: [run(0, 31)] }])).toBeUndefined();
    const alike = [7, 8].map((pid) => ({ pid, runs: [run(0, 1000)] }));
    expect(splitPages(alike)).toBeUndefined();
  });
});

test('many shared pages are spread over two files too, less what tasks have of their own', () => {
  const shared = (start: number, end: number) => ({ ...run(start, end), isInBase: true, pid: 7 });
  const runs = new Map([
    [7, [shared(0, 100), run(200, 210)]],
    [8, [shared(0, 100), run(200, 210)]],
  ]);
  expect(halveBase({ base: [shared(0, 100)], runs })).toEqual({ before: [shared(0, 60)], after: [shared(60, 100)] });
  expect(halveBase({ base: [shared(0, 50)], runs })).toBeUndefined();
});
