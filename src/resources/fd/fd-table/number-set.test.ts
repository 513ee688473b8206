import { expect, test } from 'bun:test';
import { NumberSet } from './number-set.ts';

test('it has what was added and not deleted, small numbers as well as huge ones', () => {
  for (const number of [0, 255, 256, 5000, 1048575, 1048576, 0x7fff_fffe]) {
    const set = new NumberSet();
    expect(set.has(number)).toBeFalse();
    set.add(number);
    expect(set.has(number)).toBeTrue();
    expect(set.has(number - 1)).toBeFalse();
    expect(set.has(number + 1)).toBeFalse();
    expect(set.delete(number)).toBeTrue();
    expect(set.delete(number)).toBeFalse();
    expect(set.has(number)).toBeFalse();
  }
});

test('a range is the numbers in it', () => {
  for (const first of [0, 250, 5000, 1048570]) {
    const set = new NumberSet();
    set.addRange(first, 20);
    const has = [first - 1, first, first + 19, first + 20].map((number) => set.has(number));
    expect(has).toEqual([false, true, true, false]);
  }
});
