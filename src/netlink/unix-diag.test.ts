/** Messages of unix_diag. */
import { expect, test } from 'bun:test';
import fc from 'fast-check';
import { attribute, concat, u32 } from './netlink.ts';
import { parseUnixDiag, unixDiagRequest } from './unix-diag.ts';

const header = concat(Uint8Array.of(1, 1, 10, 0), u32(4711), u32(0), u32(0));

test('a listening socket with a name and somebody waiting', () => {
  const name = Buffer.from('/run/x\0');
  const queue = concat(u32(1), u32(5));
  const attributes = [attribute(0, name), attribute(4, queue), attribute(3, u32(99)), attribute(6, Uint8Array.of(3))];
  const payload = concat(header, ...attributes);
  expect(parseUnixDiag({ type: 20, flags: 0, sequence: 1, payload })).toEqual({
    ino: 4711,
    type: 1,
    state: 10,
    peer: 0,
    name: Uint8Array.from(name),
    receiveQueue: 1,
    sendQueue: 5,
    pending: [99],
    shutdown: 3,
  });
});

test('the request asks for all states of AF_UNIX', () => {
  const request = unixDiagRequest();
  expect(request.length).toBe(40);
  expect([...request.subarray(16, 24)]).toEqual([1, 0, 0, 0, 255, 255, 255, 255]);
});

test('a socket can be asked for by its inode', () => {
  const request = unixDiagRequest(0x1234);
  // NLM_F_REQUEST without NLM_F_DUMP.
  expect([request[6], request[7]]).toEqual([1, 0]);
  expect([...request.subarray(24, 28)]).toEqual([0x34, 0x12, 0, 0]);
  expect([...request.subarray(32)]).toEqual([255, 255, 255, 255, 255, 255, 255, 255]);
});

test('garbage is no socket, or one', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
      const payload = concat(header, bytes);
      expect(parseUnixDiag({ type: 20, flags: 0, sequence: 1, payload })?.ino).toBe(4711);
      expect(parseUnixDiag({ type: 20, flags: 0, sequence: 1, payload: bytes.subarray(0, 15) })).toBeUndefined();
    }),
  );
});
