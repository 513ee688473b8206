/**
 * Goal: every probe answers, soon, and leaves nothing behind.
 * Method: run all of them in this process, and compare what the kernel shows before and after.
 */
import { describe, expect, test } from 'bun:test';
import { readdirSync, readFileSync } from 'node:fs';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { FEATURE_NAMES } from '../options/feature-names.ts';
import { REQUIRED } from './categories.ts';
import { ask } from './check.ts';
import { Child } from './child.ts';
import { FEATURES } from './features.ts';

const PROBE_MS = 500;

function traces() {
  const pid = process.pid;
  return {
    children: readFileSync(`/proc/self/task/${pid}/children`, 'latin1'),
    descriptors: readdirSync('/proc/self/fd').length,
    mounts: readFileSync('/proc/self/mountinfo', 'latin1'),
    links: readFileSync('/proc/net/dev', 'latin1').split('\n').length,
    loginuid: readFileSync('/proc/self/loginuid', 'latin1'),
  };
}

const probes = [...FEATURE_NAMES.map((name) => ({ name, ...FEATURES[name] })), ...REQUIRED];

describe.skipIf(process.getuid?.() !== 0)('probes of the running kernel (need root)', () => {
  for (const probe of probes) {
    test(`${probe.name} answers soon and leaves nothing behind`, async () => {
      ask(probe);
      await Bun.sleep(2);
      const before = traces();
      const start = performance.now();
      const missing = ask(probe);
      expect(performance.now() - start).toBeLessThan(PROBE_MS);
      expect(missing === undefined || missing.length > 5).toBe(true);
      // The runtime closes the descriptors of a program that it has run a little later.
      for (let i = 0; i < 50 && traces().descriptors > before.descriptors; i++) await Bun.sleep(2);
      expect(traces()).toEqual(before);
    });
  }

  test('a child stops at the first call that fails, and says which', () => {
    const child = new Child();
    child.step('close', SYS.close, -1);
    const never = child.step('getpid', SYS.getpid);
    expect(child.run()).toBe('close: EBADF');
    expect(child.result(never)).toBe(0);
  });

  test('a child that blocks is killed at its deadline', () => {
    const before = traces().children;
    const child = new Child();
    child.step('pause', SYS.pause);
    expect(child.run()).toBe('the kernel did not answer within 3 s');
    expect(traces().children).toBe(before);
  });
});
