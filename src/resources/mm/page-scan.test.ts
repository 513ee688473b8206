import { expect, test } from 'bun:test';
import { groupMappings, type ScannedMapping } from './page-scan.ts';

test('neighbours are scanned together, apart from those with files behind them', () => {
  const mappings = [
    { start: 0x1000, end: 0x2000, isShared: false, inode: 7 },
    { start: 0x3000, end: 0x4000, isShared: true, inode: 0 },
    { start: 0x5000, end: 0xa000, isShared: false, inode: 0 },
    { start: 0x19000, end: 0x1a000, isShared: false, inode: 0 },
    { start: 0x1b000, end: 0x1c000, isShared: false, inode: 9 },
    { start: 0xffff_ffff_ff60_0000, end: 0xffff_ffff_ff60_1000, isShared: false, inode: 0 },
  ];
  expect(groupMappings(mappings)).toEqual([
    { start: 0x1000, end: 0x4000, hasFiles: true },
    { start: 0x5000, end: 0x1a000, hasFiles: false },
    { start: 0x1b000, end: 0x1c000, hasFiles: true },
  ]);
});

test('a small mapping after one of a file is scanned with it', () => {
  const library = [0, 1, 2].flatMap((i) => [
    { start: i << 20, end: (i << 20) + 0x1000, isShared: false, inode: 7 },
    { start: (i << 20) + 0x1000, end: (i << 20) + 0x5000, isShared: false, inode: 0 },
  ]);
  const big = { start: 3 << 20, end: (3 << 20) + 0x6000, isShared: false, inode: 0 };
  expect(groupMappings([...library, big])).toEqual([
    { start: 0, end: (2 << 20) + 0x5000, hasFiles: true },
    { start: big.start, end: big.end, hasFiles: false },
  ]);
});

test('what is not wanted ends a group', () => {
  const [one, other, last] = [0x1000, 0x2000, 0x3000].map((start) => ({
    start,
    end: start + 0x1000,
    isShared: false,
    inode: 0,
  })) as [ScannedMapping, ScannedMapping, ScannedMapping];
  expect(groupMappings([one, other, last], (mapping) => mapping !== other)).toEqual([
    { start: one.start, end: one.end, hasFiles: false },
    { start: last.start, end: last.end, hasFiles: false },
  ]);
});
