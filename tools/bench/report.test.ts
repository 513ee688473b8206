import { describe, expect, test } from 'bun:test';
import type { Sample } from './measure.ts';
import { formatNumber, formatResult, median } from './report.ts';
import { WORKLOADS } from './workloads.ts';

const sample = (dump: number): Sample => ({
  dump,
  frozen: undefined,
  restore: 2,
  tick: 1,
  dumpRunning: dump,
  freeze: 0.5,
  images: 1,
});

describe('the report', () => {
  test('the median of an even number is between the middle ones', () => {
    expect(median([4, 1, 3, 2])).toBe(2.5);
    expect(median([3, 1, 2])).toBe(2);
    expect(median([])).toBeUndefined();
  });

  test('numbers have three digits that matter', () => {
    expect([1.234, 12.34, 123.4, undefined].map(formatNumber)).toEqual(['1.23', '12.3', '123', '-']);
  });

  test('the ratio says how many times longer the rival takes; what nobody measured is left out', () => {
    const result = { workload: 'x', what: 'y', ours: [sample(2), sample(4)], rival: [sample(9)], failures: [] };
    const lines = formatResult(result).split('\n');
    expect(lines[0]).toBe('x: y (ms, 2 runs against 1)');
    expect(lines[2]?.split(/\s+/)).toEqual(['dump', '3.00', '9.00', '3.00x', '2.00', '9.00']);
    expect(lines.some((line) => line.includes('frozen'))).toBe(false);
  });

  test('equal failures are counted', () => {
    const failures = [
      { side: 'ours', why: 'no' },
      { side: 'ours', why: 'no' },
    ] as const;
    expect(formatResult({ workload: 'x', what: 'y', ours: [], rival: [], failures })).toContain(
      'failed 2 times, ours: no',
    );
  });
});

test('workloads have names of their own', () => {
  expect(new Set(WORKLOADS.map(({ name }) => name)).size).toBe(WORKLOADS.length);
});
