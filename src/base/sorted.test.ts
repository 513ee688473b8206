import { expect, test } from 'bun:test';
import { countBefore } from './sorted.ts';

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
