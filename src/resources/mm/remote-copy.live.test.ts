/** Memory of a task is filled from memory of ours. */
import { afterEach, test as anyTest, expect } from 'bun:test';
import { addressOf } from '../../linux/kernel.ts';
import { readMemory } from '../../tracee/memory.ts';
import { endStubs, newStub } from '../../tracee/stub.test-support.ts';
import { copyToTasks, planCopies } from './remote-copy.ts';

const test = anyTest.skipIf(process.getuid?.() !== 0);
afterEach(endStubs);

/** In the home of the agent, and where a stub has nothing. */
const [FREE, NOTHING] = [0x4008_0000, 0x5000_0000];
const BYTES = 4096;

test('what is there is filled, and what is not is named', () => {
  const { pid } = newStub();
  const source = new Uint8Array(new ArrayBuffer(BYTES)).fill(7);
  const copyTo = (start: number) => {
    const plan = planCopies([{ start, end: start + BYTES, offset: 0 }]);
    copyToTasks([{ pid, plan, address: addressOf(source) }]);
  };
  copyTo(FREE);
  expect(readMemory(pid, FREE, BYTES)).toEqual(source);
  expect(() => copyTo(NOTHING)).toThrow(
    `task ${pid}: cannot fill its memory: EFAULT of 4096 bytes from 0x50000000 on: the file that is mapped there is shorter ` +
      'than the images say',
  );
});
