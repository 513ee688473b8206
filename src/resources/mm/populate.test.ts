import { describe, expect, test } from 'bun:test';
import { planShares } from './populate.ts';

const MIB = 1 << 20;

describe('shares of threads that make room in a file', () => {
  test('cover everything once, whatever the number of threads', () => {
    for (const bytes of [4096, 8 * MIB, 17 * MIB + 4096, 1024 * MIB, 5000 * MIB]) {
      for (let threads = 1; threads <= 8; threads++) {
        const shares = planShares(bytes, threads).sort((a, b) => a.start - b.start || a.end - b.end);
        let at = 0;
        for (const { start, end } of shares) {
          expect(start).toBe(at);
          at = end;
        }
        expect(at).toBe(bytes);
        expect(shares.length).toBeLessThanOrEqual(threads + 1);
      }
    }
  });

  test('give the thread that allocates less to populate', () => {
    const [first, second] = planShares(1024 * MIB, 2);
    expect(first).toEqual({ start: 768 * MIB, end: 1024 * MIB });
    expect(second).toEqual({ start: 0, end: 768 * MIB });
  });
});
