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

/** A 32-bit file with one function: headers, dynamic section, symbols and names, one after the other. */
function file32(name: string, value: number): Uint8Array {
  const file = new Uint8Array(0x200);
  const view = new DataView(file.buffer);
  const words = (at: number, ...values: number[]) => {
    for (const [i, word] of values.entries()) view.setUint32(at + 4 * i, word, true);
  };
  file.set([0x7f, 0x45, 0x4c, 0x46, 1, 1, 1]);
  words(28, 52);
  view.setUint16(44, 2, true);
  words(52, 1, 0, 0x1000, 0x1000, 0x200); // PT_LOAD, file offset 0 at 0x1000
  words(84, 2, 0x80, 0x1080, 0x1080, 24); // PT_DYNAMIC
  words(0x80, 6, 0x1100, 5, 0x1140); // DT_SYMTAB, DT_STRTAB
  words(0x110, 1, 0x1000 + value, 4); // the second symbol
  view.setUint16(0x110 + 14, 7, true);
  file.set(Buffer.from(name), 0x141);
  return file;
}

test('the functions of a vdso of 32 bits', () => {
  expect(parseVdsoSymbols(file32('__kernel_vsyscall', 0x5e0))).toEqual(new Map([['__kernel_vsyscall', 0x5e0]]));
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
