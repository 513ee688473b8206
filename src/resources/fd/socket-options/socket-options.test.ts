/** Options of sockets: packing of filters, and what is planned. */
import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import type { SkOptsEntry } from '../../../image/gen/sk-opts.ts';
import * as SOCKET from '../../../linux/abi/socket.ts';
import { FdTablePlan } from '../fd-table/fd-table-plan.ts';
import { packFilter, unpackFilter } from './filter.ts';
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
  so_buf_lock: 3,
};

/** Options that are set, with their values as ints. */
function planned(opts: Partial<SkOptsEntry>): [number, number[]][] {
  const table = new FdTablePlan(3);
  planSocketOptions(table, 3, { ...plain, ...opts }, 'socket:[1]');
  return table.take().map(({ args }) => {
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
    const step = table.take().at(-1);
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

describe('damaged options', () => {
  const object = 'socket:[1]';
  const cases: [string, Partial<SkOptsEntry>][] = [
    ['its filter has 4097 instructions', { so_filter: new Array<bigint>(4097).fill(0n) }],
    ['its device has the name 0123456789abcdef', { so_bound_dev: '0123456789abcdef' }],
    ['1000000 microseconds are more than a second', { so_snd_tmo_usec: 1e6 }],
  ];
  test.each(cases)('%s', (why, opts) => {
    expect(checkSocketOptions({ ...plain, ...opts }, object)).toEqual([
      { object, action: 'cannot be restored', why: `${why}: the image is damaged` },
    ]);
  });

  test('nothing is said of good ones', () => {
    expect(checkSocketOptions(plain, object)).toEqual([]);
  });
});
