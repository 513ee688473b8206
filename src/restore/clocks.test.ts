import { expect, test } from 'bun:test';
import { clockOffsets } from './clocks.ts';

const NO_OFFSETS = { monotonic: 0n, boottime: 0n };

test('clocks go on from the values of the image', () => {
  const at = { tv_sec: 1_000_000_000, tv_nsec: 5 };
  const text = clockOffsets({ monotonic: at, boottime: at }, NO_OFFSETS);
  const [monotonic, boottime] = text.trimEnd().split('\n');
  expect(monotonic).toMatch(/^1 \d+ \d{1,9}$/);
  expect(boottime).toMatch(/^7 \d+ \d{1,9}$/);
  expect(Number(monotonic?.split(' ')[1])).toBeLessThan(1_000_000_000);
});

test('values that no clock can have are refused', () => {
  const good = { tv_sec: 1, tv_nsec: 0 };
  const fail = (bad: typeof good) => () => clockOffsets({ monotonic: good, boottime: bad }, NO_OFFSETS);
  for (const bad of [
    { tv_sec: 2 ** 47, tv_nsec: 0 },
    { tv_sec: 1, tv_nsec: 1_000_000_000 },
    { tv_sec: -1, tv_nsec: 0 },
  ]) {
    expect(fail(bad)).toThrow(
      `timens image: entry 0: boottime: no clock can stand at ${bad.tv_sec} s and ${bad.tv_nsec} ns: the image is damaged`,
    );
  }
});
