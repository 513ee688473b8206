import { expect, test } from 'bun:test';
import { SIGKILL } from '../linux/abi/signal.ts';
import { kill } from '../linux/syscalls/process.ts';
import { firstFreePid } from './stub.test-support.ts';
import { StartedStub } from './stub.ts';

for (const sibling of [false, true]) {
  test(`a ${sibling ? 'sibling' : 'child'} that is killed before it arrives is told of`, () => {
    const pid = firstFreePid();
    using stub = new StartedStub({ pid, sibling, home: { address: 0x4000_0000, bytes: 1 << 20 } });
    expect(kill(pid, SIGKILL)).toBe(0);
    expect(() => stub.arrive()).toThrow(
      `task ${pid}: cannot be restored: the process that was to become it has died: it was killed from outside: by ` +
        'somebody, or for want of memory, as the log of the kernel tells then; restore again',
    );
  });
}
