import { expect, test } from 'bun:test';
import { formatDumpStats, formatRestoreStats } from './stats.ts';

test('dump statistics in the words of CRIU', () => {
  const lines = formatDumpStats({
    freezingTimeUs: 10,
    frozenTimeUs: 2000,
    memdumpTimeUs: 30,
    memwriteTimeUs: 40,
    irmapResolveUs: 0,
    pagesScanned: 4096,
    pagesSkippedParent: 0,
    pagesWritten: 255,
    pagesLazy: 0,
  });
  expect(lines).toEqual([
    'Displaying dump stats:',
    'Freezing time: 10 us',
    'Frozen time: 2000 us',
    'Memory dump time: 30 us',
    'Memory write time: 40 us',
    'IRMAP resolve time: 0 us',
    'Memory pages scanned: 4096 (0x1000)',
    'Memory pages skipped from parent: 0 (0x0)',
    'Memory pages written: 255 (0xff)',
    'Lazy memory pages: 0 (0x0)',
  ]);
});

test('restore statistics in the words of CRIU', () => {
  const stats = { pagesCompared: 1, pagesSkippedCow: 2, forkingTimeUs: 3, restoreTimeUs: 4 };
  expect(formatRestoreStats({ ...stats, pagesRestored: 16 })).toEqual([
    'Displaying restore stats:',
    'Pages compared: 1 (0x1)',
    'Pages skipped COW: 2 (0x2)',
    'Pages restored: 16 (0x10)',
    'Restore time: 4 us',
    'Forking time: 3 us',
  ]);
  expect(formatRestoreStats(stats)).not.toContain('Pages restored: 0 (0x0)');
});
