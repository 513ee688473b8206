import { afterEach, expect, test } from 'bun:test';
import { canExecute32 } from '../../test/harness/build-program.ts';
import { ABI_32 } from '../agent/abi.ts';
import { SIGKILL } from '../linux/abi/signal.ts';
import { kill } from '../linux/syscalls/process.ts';
import { endStubs, firstFreePid, HOME, newStub } from './stub.test-support.ts';
import { StartedStub } from './stub.ts';

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

test('a task of 32 bits is refused where the kernel executes none', () => {
  if (canExecute32()) {
    expect(newStub(ABI_32).pid).toBeGreaterThan(0);
    return;
  }
  expect(() => newStub(ABI_32)).toThrow(
    /^task \d+: cannot be restored: this kernel does not execute programs of 32 bits: .*; restore on another machine$/,
  );
});
