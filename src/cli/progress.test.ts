import { expect, test } from 'bun:test';
import { formatBytes, formatProgress, Progress } from './progress.ts';

/** A terminal and a clock to look at. */
function harness(logLevel = 2, isLogOnStderr = false) {
  const written: string[] = [];
  const clock = { ms: 0 };
  const progress = new Progress({
    label: 'dump',
    totalBytes: 2 ** 31,
    logLevel,
    isLogOnStderr,
    write: (text) => written.push(text),
    now: () => clock.ms,
  });
  return { written, clock, progress };
}

test('short work shows nothing', () => {
  const { written, clock, progress } = harness();
  progress.update(1);
  clock.ms = 999;
  progress.update(2);
  progress.finish();
  expect(written).toEqual([]);
});

test('longer work shows one line, updated in place ten times a second, and takes it away', () => {
  const { written, clock, progress } = harness();
  for (clock.ms = 1000; clock.ms <= 1150; clock.ms += 50) progress.update(2 ** 29);
  progress.finish();
  expect(written).toEqual([
    '\r\x1b[Kdump: 512 MiB of 2.0 GiB (25 %)',
    '\r\x1b[Kdump: 512 MiB of 2.0 GiB (25 %)',
    '\r\x1b[K',
  ]);
});

test('nothing with -v0, nor between the lines of a detailed log on the terminal', () => {
  for (const { written, clock, progress } of [harness(0), harness(4, true)]) {
    clock.ms = 5000;
    progress.update(1);
    progress.finish();
    expect(written).toEqual([]);
  }
});

test('bytes and percentages are readable', () => {
  expect([0, 1023, 1024, 20_000, 2 ** 30, 2 ** 50].map(formatBytes)).toEqual([
    '0 B',
    '1023 B',
    '1.0 KiB',
    '20 KiB',
    '1.0 GiB',
    '1024 TiB',
  ]);
  expect(formatProgress('restore', 999, 1000)).toBe('restore: 999 B of 1000 B (99 %)');
  expect(formatProgress('restore', 5, 0)).toBe('restore: 5 B');
});
