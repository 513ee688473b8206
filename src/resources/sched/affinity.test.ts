import { expect, test } from 'bun:test';
import fc from 'fast-check';
import { maskBytes, parseList, parseMask } from './affinity.ts';

test('parses masks of /proc/PID/status', () => {
  expect(parseMask('3')).toBe(3n);
  expect(parseMask('f,ffffffff')).toBe(0xf_ffff_ffffn);
  expect(parseMask('')).toBe(0n);
});

test('parses lists of CPUs', () => {
  expect(parseList('0-1')).toBe(3n);
  expect(parseList('0,3-4,8')).toBe(0b1_0001_1001n);
  expect(parseList('')).toBe(0n);
  expect(parseList('4-2,x,1-')).toBe(0n);
});

test('masks of any size become whole words, lowest CPU first', () => {
  expect(maskBytes(1n << 64n)).toEqual(Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0));
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: (1n << 200n) - 1n }), (mask) => {
      const bytes = maskBytes(mask);
      expect(bytes.length % 8).toBe(0);
      expect(bytes.toReversed().reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n)).toBe(mask);
    }),
  );
});
