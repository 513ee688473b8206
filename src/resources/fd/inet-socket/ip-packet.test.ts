/** Packets made by hand. */
import { expect, test } from 'bun:test';
import { ACK, checksum, FIN, packDatagram, packSegment } from './ip-packet.ts';

const common = { sequence: 1, acknowledged: 0xffff_fffe, flags: FIN | ACK, window: 70_000 };

test('an IPv4 segment', () => {
  const from = { words: [0x0100_000a], port: 80 };
  const packet = packSegment({ ...common, from, to: { words: [0x0200_000a], port: 0x1234 } });
  expect(Buffer.from(packet).toString('hex')).toBe(
    '45000028000000004006' +
      '0000' +
      '0a000001' +
      '0a000002' +
      '0050' +
      '1234' +
      '00000001fffffffe5011ffff' +
      '894d' +
      '0000',
  );
});

test('an IPv6 segment has a checksum that is right', () => {
  const from = { words: [1, 2, 3, 4], port: 80 };
  const packet = packSegment({ ...common, from, to: { words: [5, 6, 7, 8], port: 81 } });
  expect(packet.length).toBe(60);
  const pseudo = Buffer.concat([packet.subarray(8, 40), Uint8Array.of(0, 0, 0, 20, 0, 0, 0, 6), packet.subarray(40)]);
  expect(checksum(pseudo)).toBe(0);
});

test('a datagram of an odd length', () => {
  const from = { words: [0x0100_000a], port: 80 };
  const packet = packDatagram({ from, to: { words: [0x0200_000a], port: 81 } }, Buffer.from('abc'));
  expect(packet.length).toBe(31);
  const pseudo = Buffer.concat([packet.subarray(12, 20), Uint8Array.of(0, 17, 0, 11)]);
  expect(checksum(pseudo, packet.subarray(20))).toBe(0);
});
