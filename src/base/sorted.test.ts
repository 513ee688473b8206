import { expect, test } from 'bun:test';
import { countBefore, lowerBound } from './sorted.ts';

test('the first element that is not before is found, wherever it is', () => {
  for (let count = 0; count <= 20; count++) {
    for (let wanted = 0; wanted <= count; wanted++) {
      const asked: number[] = [];
      const isBefore = (index: number) => asked.push(index) > 0 && index < wanted;
      expect(countBefore(count, isBefore)).toBe(wanted);
      expect(asked.every((index) => index >= 0 && index < count)).toBe(true);
      expect(asked.length).toBeLessThanOrEqual(5);
    }
  }
});

test('of equal elements the first one is found', () => {
  const list = [1, 3, 3, 3, 8];
  expect(countBefore(list.length, (index) => (list[index] ?? 0) < 3)).toBe(1);
});

test('the first of some numbers that is not less is found', () => {
  const list = [1, 3, 3, 3, 8];
  expect([0, 1, 2, 3, 4, 8, 9].map((wanted) => lowerBound(list, wanted))).toEqual([0, 0, 1, 1, 4, 4, 5]);
  expect(lowerBound(list, 9, 2)).toBe(2);
  expect(lowerBound([], 1)).toBe(0);
});
