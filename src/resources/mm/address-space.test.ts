import { expect, test } from 'bun:test';
import { findHole, TASK_SIZE } from './address-space.ts';

const MIB = 1 << 20;

test('a hole keeps its distance from all ranges', () => {
  const ranges = [
    { start: 0x40_0000, end: 0x50_0000 },
    { start: 0x1000_0000, end: 0x2000_0000 },
    { start: 0x2100_0000, end: 0x2200_0000 },
  ];
  const hole = findHole(ranges, 32 * MIB);
  expect(hole).toBeGreaterThan(0x2200_0000 + MIB);
  expect(ranges.every(({ start, end }) => hole + 32 * MIB < start || hole > end)).toBe(true);
});

test('order does not matter, and the vsyscall page is above everything', () => {
  const low = { start: 0x1000_0000, end: 0x1100_0000 };
  const vsyscall = { start: 0xffff_ffff_ff60_0000, end: 0xffff_ffff_ff60_1000 };
  expect(findHole([vsyscall, low], MIB)).toBe(findHole([low, vsyscall], MIB));
});

test('in a full address space of 32 bits there is room below its programs', () => {
  const ranges = [
    { start: 0x804_8000, end: 0x900_0000 },
    { start: 0xa00_0000, end: 0xffff_d000 },
  ];
  const hole = findHole(ranges, MIB, 0xffff_e000);
  expect(hole).toBeLessThan(0x804_8000 - 2 * MIB);
  expect(() => findHole([{ start: 0, end: 0xffff_d000 }], MIB, 0xffff_e000)).toThrow('cannot find 1048576 bytes');
});

test('a full address space is an error that says what the hole is for', () => {
  expect(() => findHole([{ start: 0, end: TASK_SIZE }], MIB)).toThrow(
    'cannot find 1048576 bytes of address space that no task uses: the agent that rebuilds the tasks needs a place that is free in all of them',
  );
});
