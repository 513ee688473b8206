import { expect, test } from 'bun:test';
import { FoundDescriptors } from './found-descriptors.ts';

const entry = (fd: number, id: number) => ({ fd, id, flags: 0, type: 1 }) as const;

test('descriptors are found by their number, in tables with gaps', () => {
  const found = new FoundDescriptors();
  found.add(7, [entry(0, 1), entry(1, 1), entry(5, 2), entry(900, 3)]);
  found.add(8, []);
  const ids = [0, 1, 2, 5, 6, 900, 901].map((fd) => found.idOf(7, fd));
  expect(ids).toEqual([1, 1, undefined, 2, undefined, 3, undefined]);
  expect([found.idOf(8, 0), found.idOf(9, 0)]).toEqual([undefined, undefined]);
  expect([found.fdsOf(7), found.fdsOf(9)]).toEqual([[0, 1, 5, 900], []]);
  expect(found.find(({ pid, fd }) => pid === 7 && fd > 1)).toBe(2);
  expect(found.find(({ pid }) => pid === 9)).toBeUndefined();
});
