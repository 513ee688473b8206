import { expect, test } from 'bun:test';
import { openSync, readFileSync, readSync } from 'node:fs';
import fc from 'fast-check';
import { findMovedSymbols, parseVdsoSymbols } from './vdso-symbols.ts';

function ownVdso(): Uint8Array {
  const [, start = '', end = ''] =
    /^([0-9a-f]+)-([0-9a-f]+) .*\[vdso\]$/m.exec(readFileSync('/proc/self/maps', 'utf8')) ?? [];
  const address = Number.parseInt(start, 16);
  const bytes = new Uint8Array(Number.parseInt(end, 16) - address);
  readSync(openSync('/proc/self/mem', 'r'), bytes, 0, bytes.length, address);
  return bytes;
}

test('the functions of the vdso of this kernel', () => {
  const symbols = parseVdsoSymbols(ownVdso());
  expect([...(symbols?.keys() ?? [])]).toContain('__vdso_clock_gettime');
  for (const offset of symbols?.values() ?? []) expect(offset).toBeGreaterThanOrEqual(0);
});

test('functions that moved or are missing', () => {
  const wanted = new Map([
    ['a', 1],
    ['b', 2],
    ['c', 3],
  ]);
  const here = new Map([
    ['a', 1],
    ['b', 5],
    ['d', 4],
  ]);
  expect(findMovedSymbols(wanted, here)).toEqual(['b', 'c']);
});

test('damaged files have no symbols, or others, and nothing worse', () => {
  const image = ownVdso();
  expect(parseVdsoSymbols(new Uint8Array(64))).toBeUndefined();
  expect(parseVdsoSymbols(image.slice(0, 100))).toBeUndefined();
  fc.assert(
    fc.property(fc.integer({ min: 0, max: image.length - 1 }), fc.integer({ min: 0, max: 255 }), (at, value) => {
      const damaged = image.slice();
      damaged[at] = value;
      parseVdsoSymbols(damaged);
    }),
  );
});
