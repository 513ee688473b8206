import { expect, test } from 'bun:test';
import fc from 'fast-check';
import { decode } from './codec.ts';
import { CriuReqType, CriuResp } from './gen/rpc.ts';
import { framed, frameLength, LENGTH_BYTES, restoredResponse } from './rpc-messages.ts';

test('a frame has the length of its message, also as a part of a bigger array', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(9), (message, before) => {
      const bytes = new Uint8Array(before + LENGTH_BYTES + message.length);
      bytes.set(framed(message), before);
      const frame = bytes.subarray(before);
      expect(frameLength(frame)).toBe(message.length);
      expect(frame.subarray(LENGTH_BYTES)).toEqual(message);
    }),
  );
});

test('a client that dumped itself is told that it was restored, in the form of its socket', () => {
  const answer = { type: CriuReqType.DUMP, success: true, dump: { restored: true } };
  expect(decode(CriuResp, restoredResponse(false), 'answer')).toEqual(answer);
  expect(decode(CriuResp, restoredResponse(true).subarray(LENGTH_BYTES), 'answer')).toEqual(answer);
});
