import { expect, test } from 'bun:test';
import { flagsOf } from './vm-flags.ts';

test('bits become codes, and equal words one object', () => {
  const flags = flagsOf(0x8810_0073, 0);
  expect([...(flags ?? [])]).toEqual(['rd', 'wr', 'mr', 'mw', 'me', 'ac', 'sd', 'mg']);
  expect(flagsOf(0x8810_0073, 0)).toBe(flags);
  expect([...(flagsOf(0x71, 0x100) ?? [])]).toEqual(['rd', 'mr', 'mw', 'me', 'dp']);
  expect(flagsOf(0, 0)?.size).toBe(0);
});

test('bits that say more than a code, or are not known, are left to smaps', () => {
  for (const bit of [9, 12, 22, 24]) expect([bit, flagsOf(2 ** bit + 1, 0)]).toEqual([bit, undefined]);
  for (const bit of [0, 4, 5, 10, 31]) expect([bit, flagsOf(1, 2 ** bit)]).toEqual([bit, undefined]);
});
