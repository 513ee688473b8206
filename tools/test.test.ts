import { expect, test } from 'bun:test';
import { countTests, summaryLine } from './test.ts';

test('reads the summary of bun test', () => {
  const output =
    '(pass) one\n\n 581 pass\n 2 skip\n 3 fail\n 11178 expect() calls\nRan 586 tests across 32 files. [1.00s]\n';
  expect(countTests(output, 1)).toEqual({ passed: 581, failed: 3, skipped: 2 });
});

test('counts a test that skipped itself as skipped', () => {
  expect(countTests('skipped: huge pages: no pool\n\n 2 pass\n 0 fail\n', 0)).toEqual({
    passed: 1,
    failed: 0,
    skipped: 1,
  });
});

test('takes a failure without a failed test for one failure', () => {
  expect(countTests('panic\n', 139)).toEqual({ passed: 0, failed: 1, skipped: 0 });
  expect(countTests(' 4 pass\n 0 fail\n 1 error\n', 1)).toEqual({ passed: 4, failed: 1, skipped: 0 });
});

test('sums up all runs in one line', () => {
  const unit = { passed: 581, failed: 0, skipped: 1 };
  expect(summaryLine([unit, { passed: 10, failed: 2, skipped: 0 }])).toBe('591 passed, 2 failed, 1 skipped');
});
