/** Answers of packet_diag. */
import { expect, test } from 'bun:test';
import fc from 'fast-check';
import { attribute, concat } from './netlink.ts';
import { packetDiagRequest, parsePacketDiag } from './packet-diag.ts';
import { SOCK_DIAG_BY_FAMILY } from './sock-diag.ts';

const words = (...values: number[]) => new Uint8Array(Uint32Array.from(values).buffer);
/** family, type, protocol; inode; cookie. */
const HEAD = concat(Uint8Array.of(17, 3, 0, 8), words(99, 0, 0));
const INFO = attribute(0, words(1, 2, 8, 0, 0, 6));
const answer = (payload: Uint8Array) => ({ type: SOCK_DIAG_BY_FAMILY, flags: 0, sequence: 1, payload });

test('a socket with a ring and a membership', () => {
  const membership = concat(words(1, 2), Uint8Array.of(2, 0, 6, 0, 1, 2, 3, 4, 5, 6), new Uint8Array(26));
  const payload = concat(HEAD, INFO, attribute(1, membership), attribute(2, words(4096, 4, 2048, 8, 0, 0, 0)));
  expect(parsePacketDiag(answer(payload))).toEqual({
    ino: 99,
    type: 3,
    protocol: 0x800,
    index: 1,
    version: 2,
    reserve: 8,
    copyThreshold: 0,
    timestamp: 0,
    flags: 6,
    memberships: [{ index: 1, count: 2, type: 2, address: Uint8Array.of(1, 2, 3, 4, 5, 6) }],
    rxRing: [4096, 4, 2048, 8, 0, 0, 0],
    txRing: undefined,
    fanout: undefined,
  });
});

test('what is cut off is no socket', () => {
  expect(parsePacketDiag(answer(HEAD))).toBeUndefined();
  expect(parsePacketDiag(answer(HEAD.subarray(0, 10)))).toBeUndefined();
  expect(parsePacketDiag({ ...answer(concat(HEAD, INFO)), type: 3 })).toBeUndefined();
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => void parsePacketDiag(answer(concat(HEAD, bytes)))),
  );
});

test('the request asks for everything', () => {
  expect(packetDiagRequest().length).toBe(36);
});
