import { expect, test } from 'bun:test';
import { keepFrames } from './frame-words.ts';

const FORMAT = { there: 1n | (1n << 63n), own: 1n << 56n, frame: 0xff_f000n };

test('frames are kept where they are there and may be shared, up to the end', () => {
  const words = BigUint64Array.of(
    0x12_3456_7001n,
    0x8000_0000_0012_3456n,
    0xffff_fffen,
    0x0100_0000_0012_3001n,
    0n,
    0x5001n,
    0x12_3456_7001n,
  );
  keepFrames(new Uint32Array(words.buffer), 6, FORMAT);
  expect([...words]).toEqual([0x56_7000n, 0x12_3000n, 0n, 0n, 0n, 0x5000n, 0x12_3456_7001n]);
  keepFrames(new Uint32Array(words.buffer), 0, FORMAT);
  expect(words[6]).toBe(0x12_3456_7001n);
});
