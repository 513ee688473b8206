import { expect, test } from 'bun:test';
import type { Logger } from '../base/log.ts';
import { reportReady, tryTell } from './status-files.ts';

const CLOSED_FD = 1000;

test('nobody who can be told is an error, and when all is done a warning', () => {
  expect(() => reportReady(CLOSED_FD)).toThrow('--status-fd 1000: cannot write to it: EBADF');
  const warnings: string[] = [];
  const log = { warn: (text: string) => warnings.push(text) } as unknown as Logger;
  tryTell(log, () => reportReady(CLOSED_FD));
  expect(warnings).toEqual(['all is done, but --status-fd 1000: cannot write to it: EBADF']);
});

test('a mistake of ours is not hidden', () => {
  const log = { warn: () => {} } as unknown as Logger;
  expect(() => tryTell(log, () => [].at(0n as unknown as number))).toThrow(TypeError);
});
