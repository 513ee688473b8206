import { expect, test } from 'bun:test';
import { completionsNeeded, parseRing } from './aio-ring.ts';
import { describeRing } from './dump-aio.ts';

test('the header of a ring', () => {
  const bytes = new Uint8Array(Uint32Array.of(3, 127, 5, 9, 0xa10a10a1, 1, 0, 32).buffer);
  expect(parseRing(bytes)).toEqual({
    slots: 127,
    head: 5,
    tail: 9,
    magic: 0xa10a10a1,
    compatFeatures: 1,
    incompatFeatures: 0,
    headerBytes: 32,
  });
});

test('requests that a new ring must have completed', () => {
  expect(completionsNeeded({ slots: 127, head: 0, tail: 0 })).toBe(0);
  expect(completionsNeeded({ slots: 127, head: 5, tail: 9 })).toBe(9);
  // Full in between: a turn and what follows.
  expect(completionsNeeded({ slots: 127, head: 125, tail: 3 })).toBe(130);
});

test('the number of requests that makes a ring of the same size', () => {
  // fs/aio.c: (nr * 2 + 2) events and the header, rounded to pages.
  const ringBytes = (requests: number) => Math.ceil((32 + (requests * 2 + 2) * 32) / 4096) * 4096;
  for (const requests of [1, 62, 63, 64, 100, 2000, 65536]) {
    const bytes = ringBytes(requests);
    const { id, nr_req, ring_len } = describeRing({ start: 0x7000, end: 0x7000 + bytes, polls: [] });
    expect({ id, ring_len }).toEqual({ id: 0x7000, ring_len: bytes });
    expect(ringBytes(nr_req)).toBe(bytes);
  }
});
