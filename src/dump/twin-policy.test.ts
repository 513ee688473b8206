import { describe, expect, test } from 'bun:test';
import { headroom, parseAvailable } from './twin-policy.ts';

describe('memory for copy-on-write twins', () => {
  test('what the machine has', () => {
    expect(parseAvailable('MemTotal:  200 kB\nMemFree:  10 kB\nMemAvailable:     123 kB\n')).toBe(123 * 1024);
    expect(parseAvailable('MemTotal:  200 kB\n')).toBe(0);
  });

  test('what a cgroup leaves: file pages that are not in use count as free', () => {
    expect(headroom('1000\n', '900\n', 'anon 5\ninactive_file 50\nactive_file 7\n')).toBe(150);
    expect(headroom('1000\n', '900\n', -2)).toBe(100);
  });

  test('a cgroup without limit, or without files that tell', () => {
    expect(headroom('max\n', '900\n', '')).toBe(Number.POSITIVE_INFINITY);
    expect(headroom(-2, -2, -2)).toBe(Number.POSITIVE_INFINITY);
  });
});
