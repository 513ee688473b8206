import { expect, test } from 'bun:test';
import { type Copy, shareOut } from './copy-to-file.ts';

const source = { pid: 1, memFd: undefined };
const copy = (fd: number, pages: number): Copy => ({ source, runs: [{ start: 0, end: pages << 12, offset: 0 }], fd });

test('threads share the files, the biggest first, so that all have about the same to do', () => {
  const lanes = shareOut([copy(3, 10), copy(4, 50), copy(5, 20), copy(6, 30)], 2);
  expect(lanes.map((lane) => lane.map(({ fd }) => fd))).toEqual([
    [4, 3],
    [6, 5],
  ]);
});

test('one file is written by one thread', () => {
  const lanes = shareOut([copy(3, 10), copy(4, 5), copy(3, 10)], 8);
  expect(lanes.map((lane) => lane.map(({ fd }) => fd))).toEqual([[3, 3], [4]]);
});
