import { expect, test } from 'bun:test';
import { byteString, bytesOf, times } from './bytes.ts';

const allBytes = Uint8Array.from({ length: 256 }, (_, i) => i);

for (const repeats of [1, 63, 64, 100]) {
  test(`every byte survives, ${repeats * 256} of them`, () => {
    const bytes = new Uint8Array(256 * repeats);
    for (let i = 0; i < repeats; i++) bytes.set(allBytes, i * 256);
    const text = byteString(bytes);
    expect(text.length).toBe(bytes.length);
    expect([...text].every((char, i) => char.charCodeAt(0) === i % 256)).toBe(true);
    expect(Buffer.compare(bytesOf(text), bytes)).toBe(0);
  });
}

test('a view gives its own bytes only', () => {
  expect(byteString(allBytes.subarray(65, 68))).toBe('ABC');
  const long = new Uint8Array(40_000).fill(66);
  long[0] = 65;
  expect(byteString(long.subarray(1))).toBe('B'.repeat(39_999));
});

test('an empty string has no bytes', () => {
  expect(bytesOf('').length).toBe(0);
  expect(byteString(new Uint8Array(0))).toBe('');
});

test('times counts from 0', () => {
  expect(times(3, (i) => i * 2)).toEqual([0, 2, 4]);
  expect(times(0, (i) => i)).toEqual([]);
});
