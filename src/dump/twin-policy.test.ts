import { describe, expect, test } from 'bun:test';
import { LogSink } from '../base/log.ts';
import type { FrozenTask } from './frozen-tree.ts';
import { chooseTwins, headroom, parseAvailable, TWIN_BYTES_MIN } from './twin-policy.ts';

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

describe('who gets a twin', () => {
  const task = (pid: number) => ({ pid }) as FrozenTask;
  const { logger } = new LogSink((_fd, bytes) => bytes.length);
  const big = { task: task(5), bytes: TWIN_BYTES_MIN, hasAio: false };

  test('big tasks without asynchronous I/O', () => {
    const small = { task: task(6), bytes: TWIN_BYTES_MIN - 1, hasAio: false };
    const withAio = { task: task(7), bytes: TWIN_BYTES_MIN, hasAio: true };
    const known = { pids: new Set([5]), shortage: undefined };
    expect([...chooseTwins([small, big, withAio], known, logger)]).toEqual([big.task]);
  });

  test('nobody when there was too little memory before the stop', () => {
    const known = { pids: new Set([5]), shortage: 'too little' };
    expect(chooseTwins([big], known, logger).size).toBe(0);
  });
});
