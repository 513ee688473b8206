import { describe, expect, test } from 'bun:test';
import { memoryAt } from '../../linux/kernel.ts';
import { CallPlan, type FileRange } from './call-plan.ts';

/** Everything that is said of the calls. */
function listOf(plan: CallPlan) {
  return plan.bytes.map((bytes, call) => {
    const iov = memoryAt(plan.iovAddress(call), plan.iovCount(call) * 16).slice();
    return { offset: plan.offsets[call], bytes, iov: [...new BigUint64Array(iov.buffer)].map(Number) };
  });
}

const range = (start: number, end: number, offset: number): FileRange => ({ start, end, offset });

describe('system calls for ranges', () => {
  test('take several that follow each other in the file, up to a number of bytes', () => {
    const plan = new CallPlan([range(0x1000, 0x3000, 0), range(0x7fff_0000_0000, 0x7fff_0000_3000, 0x2000)], 0x4000);
    expect(listOf(plan)).toEqual([
      { offset: 0, bytes: 0x4000, iov: [0x1000, 0x2000, 0x7fff_0000_0000, 0x2000] },
      { offset: 0x4000, bytes: 0x1000, iov: [0x7fff_0000_2000, 0x1000] },
    ]);
    expect([plan.start(0), plan.start(1)]).toEqual([0x1000, 0x7fff_0000_2000]);
  });

  test('end where the next range is elsewhere in the file', () => {
    const plan = new CallPlan([range(0x1000, 0x2000, 0), range(0x2000, 0x3000, 0x5000)], 0x10000);
    expect(listOf(plan)).toEqual([
      { offset: 0, bytes: 0x1000, iov: [0x1000, 0x1000] },
      { offset: 0x5000, bytes: 0x1000, iov: [0x2000, 0x1000] },
    ]);
  });

  test('name no more ranges than they may', () => {
    const ranges = Array.from({ length: 5 }, (_, i) => range(0x10000 * i, 0x10000 * i + 0x1000, 0x1000 * i));
    expect(listOf(new CallPlan(ranges, 1 << 20, 2)).map(({ bytes }) => bytes)).toEqual([0x2000, 0x2000, 0x1000]);
    expect(new CallPlan(ranges, 1 << 20, 1).length).toBe(5);
    expect(new CallPlan([], 1 << 20).length).toBe(0);
  });
});
