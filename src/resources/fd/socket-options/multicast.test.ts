/** Lists of multicast groups, as the kernel prints them. */
import { expect, test } from 'bun:test';
import fc from 'fast-check';
import { parseIgmp, parseIgmp6 } from './multicast.ts';

const IGMP = `Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter
1\tlo        :     2      V3
\t\t\t\t01014DEF     2 0:00000000\t\t0
\t\t\t\t010000E0     1 0:00000000\t\t0
2\teth0      :     2      V3
\t\t\t\t010000E0     2 0:00000000\t\t0
`;

const IGMP6 = `1    lo              ff050000000000000000000000004d01     1 0000000C 0
1    lo              ff020000000000000000000000000001     1 0000000C 0
1    lo              ff010000000000000000000000000001     1 00000008 0
`;

test('groups of IPv4, without that of all hosts unless somebody has joined it', () => {
  expect(parseIgmp(IGMP)).toEqual([
    { device: 1, family: 2, address: Uint8Array.of(239, 77, 1, 1) },
    { device: 2, family: 2, address: Uint8Array.of(224, 0, 0, 1) },
  ]);
});

test('groups of IPv6', () => {
  const address = Uint8Array.of(0xff, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x4d, 1);
  expect(parseIgmp6(IGMP6)).toEqual([{ device: 1, family: 10, address }]);
});

test('garbage has no groups and does no harm', () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      expect(parseIgmp(text).concat(parseIgmp6(text)).length).toBeLessThan(10);
    }),
  );
});
