/** Stubs that do not become what they were to become. */
import { afterEach, test as anyTest, expect } from 'bun:test';
import { ABI_32 } from '../agent/abi.ts';
import { probeCompatMmap } from '../check/stub-probes.ts';
import { SIGKILL } from '../linux/abi/signal.ts';
import { kill } from '../linux/syscalls/process.ts';
import { endStubs, firstFreePid, HOME, newStub } from './stub.test-support.ts';
import { exchangeStub, StartedStub } from './stub.ts';

const test = anyTest.skipIf(process.getuid?.() !== 0);
afterEach(endStubs);

for (const sibling of [false, true]) {
  test(`a ${sibling ? 'sibling' : 'child'} that is killed before it arrives is told of`, () => {
    const pid = firstFreePid();
    using stub = new StartedStub({ pid, sibling, home: HOME });
    expect(kill(pid, SIGKILL)).toBe(0);
    expect(() => stub.arrive()).toThrow(
      `task ${pid}: cannot be restored: the process that was to become it has died: it was killed from outside: by ` +
        'somebody, or for want of memory, as the log of the kernel tells then; restore again',
    );
  });
}

/** Both ways to become one: at its start, and later. */
const WAYS = { 'from its start': () => newStub(ABI_32), later: () => exchangeStub(newStub(), ABI_32) };

for (const [when, become] of Object.entries(WAYS)) {
  test(`a task of 32 bits ${when} is refused where the kernel executes none, and only there`, () => {
    if (probeCompatMmap() === undefined) return void become();
    expect(become).toThrow(
      /^task \d+: cannot be restored: this kernel does not execute programs of 32 bits: .*; restore on another machine$/,
    );
  });
}
