/** The table of options: numbers as the system's headers have them. */
import { describe, expect, test } from 'bun:test';
import { existsSync, readFileSync } from 'node:fs';
import {
  AF_INET6,
  AF_NETLINK,
  AF_PACKET,
  AF_UNIX,
  SOCK_DGRAM,
  SOCK_RAW,
  SOCK_STREAM,
} from '../../../linux/abi/socket.ts';
import { optionRows, withoutMeasured } from './option-rows.ts';

const TCP = 6;
const UDP = 17;
const UDPLITE = 136;
const KINDS = [
  { family: AF_INET6, type: SOCK_DGRAM, proto: UDP },
  { family: AF_INET6, type: SOCK_DGRAM, proto: UDPLITE },
  { family: AF_INET6, type: SOCK_STREAM, proto: TCP },
  { family: AF_NETLINK, type: SOCK_RAW, proto: 0 },
  { family: AF_PACKET, type: SOCK_RAW, proto: 0 },
  { family: AF_UNIX, type: SOCK_STREAM, proto: 0 },
];
const HEADERS = [
  'asm-generic/socket',
  'linux/in',
  'linux/in6',
  'linux/udp',
  'linux/tcp',
  'linux/netlink',
  'linux/if_packet',
];

/** #define NAME number */
function definitions(): Map<string, number> {
  const known = new Map<string, number>();
  for (const header of HEADERS.map((name) => `/usr/include/${name}.h`)) {
    if (!existsSync(header)) continue;
    for (const [, name = '', value = ''] of readFileSync(header, 'latin1').matchAll(/^#define\s+(\w+)\s+(\d+)/gm)) {
      known.set(name, Number(value));
    }
  }
  return known;
}

describe('optionRows', () => {
  const known = definitions();
  test.skipIf(known.size === 0)('has the numbers of the headers', () => {
    // Headers know these only under a condition, or by another name.
    const aliases = (name: string) =>
      [`${name}_OLD`, name].map((alias) => known.get(alias)).find((n) => n !== undefined);
    const wrong = KINDS.flatMap(optionRows).filter(({ name, option }) => (aliases(name) ?? option) !== option);
    expect(wrong).toEqual([]);
    expect(KINDS.flatMap(optionRows).filter(({ name }) => aliases(name) !== undefined).length).toBeGreaterThan(100);
  });

  test('has no option twice', () => {
    for (const kind of KINDS) {
      const keys = optionRows(kind).map(({ level, option }) => `${level} ${option}`);
      expect(new Set(keys).size).toBe(keys.length);
    }
  });

  test('a connection does not keep what it only measures', () => {
    const option = (number: number) => ({ level: TCP, option: number, value: new Uint8Array(4) });
    const type = { family: AF_INET6, type: SOCK_STREAM, proto: TCP };
    expect(withoutMeasured(type, [option(2), option(18)])).toEqual([option(18)]);
  });
});
