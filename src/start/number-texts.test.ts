import { expect, test } from 'bun:test';
import { placeOfText } from './number-texts.ts';

test('integers have their places all over the table', () => {
  const places = new Set(Array.from({ length: 20_000 }, (_, i) => placeOfText(i)));
  expect(places.size).toBe(1024);
  expect(Math.max(...places)).toBe(1023);
});
