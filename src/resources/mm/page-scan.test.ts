import { expect, test } from 'bun:test';
import { groupMappings } from './page-scan.ts';

test('neighbours are scanned together, apart from those with files behind them', () => {
  const mappings = [
    { start: 0x1000, end: 0x2000, isShared: false, inode: 7 },
    { start: 0x3000, end: 0x4000, isShared: true, inode: 0 },
    { start: 0x5000, end: 0x6000, isShared: false, inode: 0 },
    { start: 0x9000, end: 0xa000, isShared: false, inode: 0 },
    { start: 0xb000, end: 0xc000, isShared: false, inode: 9 },
    { start: 0xffff_ffff_ff60_0000, end: 0xffff_ffff_ff60_1000, isShared: false, inode: 0 },
  ];
  expect(groupMappings(mappings)).toEqual([
    { start: 0x1000, end: 0x4000, hasFiles: true },
    { start: 0x5000, end: 0xa000, hasFiles: false },
    { start: 0xb000, end: 0xc000, hasFiles: true },
  ]);
});
