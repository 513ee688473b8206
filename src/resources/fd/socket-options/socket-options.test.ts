/** Options of sockets: packing of filters, and what is planned. */
import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import type { SkOptsEntry } from '../../../image/gen/sk-opts.ts';
import * as SOCKET from '../../../linux/abi/socket.ts';
import { FdTablePlan } from '../fd-table/fd-table-plan.ts';
import type { RestoreSystem } from '../file-kind.ts';
import { packFilter, unpackFilter } from './filter.ts';
import { planKeptOptions } from './kept-options.ts';
import { checkSocketOptions, planSocketOptions } from './socket-options.ts';

const plain: SkOptsEntry = {
  so_sndbuf: 16384,
  so_rcvbuf: 131072,
  so_snd_tmo_sec: 0,
  so_snd_tmo_usec: 0,
  so_rcv_tmo_sec: 0,
  so_rcv_tmo_usec: 0,
  so_rcvlowat: 1,
  so_filter: [],
  options_ext: [],
  so_buf_lock: 3,
};

/** Options that are set, with their values as ints. */
function planned(opts: Partial<SkOptsEntry>): [number, number[]][] {
  const table = new FdTablePlan(3);
  planSocketOptions(table, 3, { ...plain, ...opts }, 'socket:[1]');
  return table
    .take()
    .toSteps()
    .map(({ args }) => {
      const value = args[3];
      const bytes = typeof value === 'object' && 'bytes' in value ? value.bytes : new Uint8Array(0);
      expect(args[4]).toBe(bytes.length);
      return [Number(args[2]), [...new Int32Array(bytes.slice().buffer)]];
    });
}

const buffers: [number, number[]][] = [
  [SOCKET.SO_SNDBUFFORCE, [8192]],
  [SOCKET.SO_RCVBUFFORCE, [65536]],
];

describe('planSocketOptions', () => {
  test('sets nothing that a new socket has, and half of the buffers, which the kernel doubles', () => {
    expect(planned({ so_broadcast: false, so_oobinline: 0 })).toEqual(buffers);
  });

  test('sets what differs', () => {
    const opts = { so_buf_lock: 0, so_priority: 6, so_rcvlowat: 7, so_mark: 9, so_keepalive: true, so_linger: 0 };
    expect(planned({ ...opts, so_rcv_tmo_sec: 1, so_rcv_tmo_usec: 500 })).toEqual([
      ...buffers,
      [SOCKET.SO_BUF_LOCK, [0]],
      [SOCKET.SO_PRIORITY, [6]],
      [SOCKET.SO_RCVLOWAT, [7]],
      [SOCKET.SO_MARK, [9]],
      [SOCKET.SO_KEEPALIVE, [1]],
      [SOCKET.SO_LINGER, [1, 0]],
      [SOCKET.SO_RCVTIMEO, [1, 0, 500, 0]],
    ]);
  });

  test('a filter is reached through a pointer', () => {
    const table = new FdTablePlan(3);
    planSocketOptions(table, 3, { ...plain, so_filter: [0x0006_0102_ffff_fffen] }, 'socket:[1]');
    const step = table.take().toSteps().at(-1);
    const bytes = Uint8Array.of(6, 0, 1, 2, 0xfe, 0xff, 0xff, 0xff);
    const program = Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    expect(step?.args[3]).toEqual({ bytes: program, pointers: [{ offset: 8, bytes }] });
  });
});

test('a filter survives the image', () => {
  fc.assert(
    fc.property(fc.array(fc.bigInt(0n, 2n ** 64n - 1n), { maxLength: 20 }), (words) => {
      expect(packFilter(unpackFilter(words))).toEqual(words);
    }),
  );
});

const system = { deviceIndex: (name: string) => (name === 'eth7' ? 7 : -19) } as RestoreSystem;

describe('damaged options', () => {
  const object = 'socket:[1]';
  const cases: [string, Partial<SkOptsEntry>][] = [
    ['its filter has 4097 instructions', { so_filter: new Array<bigint>(4097).fill(0n) }],
    ['its device has the name 0123456789abcdef', { so_bound_dev: '0123456789abcdef' }],
    ['1000000 microseconds are more than a second', { so_snd_tmo_usec: 1e6 }],
  ];
  test.each(cases)('%s', (why, opts) => {
    expect(checkSocketOptions({ ...plain, ...opts }, () => object, system)).toEqual([
      { object, action: 'cannot be restored', why: `${why}: the image is damaged` },
    ]);
  });

  test('nothing is said of good ones', () => {
    expect(checkSocketOptions(plain, () => object, system)).toEqual([]);
  });
});

describe('options without a field of their own', () => {
  const socket = { type: { family: 2, type: 2, proto: 17 }, what: 'socket:[1]' };
  const option = (level: number, number: number, value: number[], more = {}) => ({
    level,
    option: number,
    value: Uint8Array.from(value),
    ...more,
  });
  const steps = (when: 'early' | 'late', ...options_ext: SkOptsEntry['options_ext']) => {
    const table = new FdTablePlan(3);
    planKeptOptions(table, 3, { ...socket, opts: { ...plain, options_ext } }, when, system);
    return table
      .take()
      .toSteps()
      .map(({ because, args }) => [because, args[1], args[2], args[3]]);
  };

  test('are set early or late, by name', () => {
    const [ttl, lock] = [option(0, 21, [7, 0, 0, 0]), option(1, 44, [1, 0, 0, 0])];
    expect(steps('early', lock, ttl)).toEqual([['set IP_MINTTL of socket:[1]', 0, 21, { bytes: ttl.value }]]);
    expect(steps('late', lock, ttl)).toEqual([['set SO_LOCK_FILTER of socket:[1]', 1, 44, { bytes: lock.value }]]);
  });

  test('have the index that the device has here', () => {
    const join = option(0, 35, [239, 1, 1, 1, 0, 0, 0, 0, 2, 0, 0, 0], { device: 'eth7', device_offset: 8 });
    const here = Uint8Array.of(239, 1, 1, 1, 0, 0, 0, 0, 7, 0, 0, 0);
    expect(steps('early', join)).toEqual([['set IP_ADD_MEMBERSHIP of socket:[1]', 0, 35, { bytes: here }]]);
  });

  test('need their device', () => {
    const opts = { ...plain, options_ext: [option(41, 17, [2, 0, 0, 0], { device: 'eth0', device_offset: 0 })] };
    expect(checkSocketOptions(opts, () => 'socket:[1]', system)).toEqual([
      {
        object: 'socket:[1]',
        action: 'cannot be restored',
        why: 'there is no network device eth0, which it receives multicast packets from or sends them to',
        remedy: 'make a device of that name',
      },
    ]);
  });

  test('are refused when the index of the device is not inside the value', () => {
    const opts = { ...plain, options_ext: [option(41, 17, [2, 0], { device: 'eth7', device_offset: 0 })] };
    expect(checkSocketOptions(opts, () => 'socket:[1]', system)[0]?.why).toBe(
      'an option has a value of the wrong size: the image is damaged',
    );
  });
});
