import { expect, test } from 'bun:test';
import { decodeOrder, encodeOrder, type FillOrder } from './fill-order.ts';

test('an order for the filler arrives as it was given', () => {
  const order: FillOrder = {
    logLevel: 4,
    pids: [12, 14],
    files: [
      { path: '/images/pages-1.img', fd: 7 },
      { path: '/images/base/f\xc3\xbc.img', fd: 8 },
    ],
    tasks: [
      {
        pid: 12,
        label: "task 12 'nginx'",
        uffd: 5,
        ranges: [{ start: 0x1000, end: 0x9000 }],
        runs: [
          { address: 0x1000, bytes: 0x2000, file: '/images/pages-1.img', offset: 0 },
          { address: 0x7fff_0000_1000, bytes: 0x1000, file: '/images/base/f\xc3\xbc.img', offset: 2 ** 40 },
        ],
      },
      { pid: 14, label: "task 14 'nginx'", uffd: 6, ranges: [], runs: [] },
    ],
  };
  expect(decodeOrder(encodeOrder(order))).toEqual(order);
});
