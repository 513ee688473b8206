import { expect, test } from 'bun:test';
import { MADV_DONTFORK, MAP_ANONYMOUS, MAP_DROPPABLE, MAP_PRIVATE } from '../linux/abi/mman.ts';
import type { DescribedVma } from '../resources/mm/dump-vmas.ts';
import { canAskTwin } from './late-pages.ts';

function vma(
  start: number,
  end: number,
  more: { isShared?: boolean; flags?: number; madv?: bigint } = {},
): DescribedVma {
  const { isShared = false, flags = MAP_PRIVATE | MAP_ANONYMOUS, madv } = more;
  return { seen: { start, end, isShared }, entry: { start, end, flags, madv }, needsFile: false } as DescribedVma;
}

const task = (...vmas: DescribedVma[]) => ({ vmas, special: vmas });

test('a twin is asked when it has all private memory', () => {
  const dontFork = { madv: 1n << BigInt(MADV_DONTFORK) };
  const one = task(vma(1, 5), vma(5, 7, { ...dontFork, isShared: true }), vma(7, 9, { flags: MAP_DROPPABLE }));
  expect(canAskTwin(one, [one])).toBe(true);
  const other = task(vma(1, 5), vma(5, 7, dontFork));
  expect(canAskTwin(other, [other])).toBe(false);
});

test('not when another task has something at the same addresses, which they may share', () => {
  const one = task(vma(10, 20), vma(40, 50));
  const isAlone = (...vmas: DescribedVma[]) => canAskTwin(one, [one, task(...vmas)]);
  expect(isAlone(vma(0, 10), vma(20, 40), vma(50, 60))).toBe(true);
  expect(isAlone(vma(0, 10), vma(20, 41))).toBe(false);
  expect(isAlone(vma(12, 13))).toBe(false);
  expect(isAlone(vma(0, 100, { isShared: true }))).toBe(true);
});
