import { describe, expect, test } from 'bun:test';
import { shareOut, shares } from './copy-to-file.ts';

const MIB = 1 << 20;

describe('the work of threads that copy to one file', () => {
  test('is all of it, whatever the number of threads', () => {
    for (const total of [8 * MIB, 17 * MIB + 4096, 1024 * MIB]) {
      for (let threads = 1; threads <= 8; threads++) {
        const sizes = shares(total, threads);
        expect(sizes.length).toBe(threads);
        expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(total);
      }
    }
  });

  test('is more for the one that writes than for one that maps', () => {
    expect(shares(1024 * MIB, 2).map((size) => size / MIB)).toEqual([640, 384]);
    expect(shares(1024 * MIB, 1).map((size) => size / MIB)).toEqual([1024]);
  });

  test('consists of consecutive parts, cut where a share ends', () => {
    const runs = [
      { start: 0x1000, end: 0x4000, offset: 0 },
      { start: 0x8000, end: 0x9000, offset: 0x3000 },
      { start: 0xa000, end: 0xc000, offset: 0x4000 },
    ];
    expect(shareOut(runs, [0x2000, 0x3000, 0x1000])).toEqual([
      [{ start: 0x1000, end: 0x3000, offset: 0 }],
      [
        { start: 0x3000, end: 0x4000, offset: 0x2000 },
        { start: 0x8000, end: 0x9000, offset: 0x3000 },
        { start: 0xa000, end: 0xb000, offset: 0x4000 },
      ],
      [{ start: 0xb000, end: 0xc000, offset: 0x5000 }],
    ]);
  });
});
