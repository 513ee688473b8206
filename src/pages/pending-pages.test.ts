import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import { PendingPages, type PendingRun } from './pending-pages.ts';

const PAGE = 4096;
const run = (page: number, pages: number, place = page): PendingRun => ({
  address: page * PAGE,
  bytes: pages * PAGE,
  place: place * PAGE,
});

/** Everything that is missing. */
const all = (pending: PendingPages) => pending.copy().take(0, Number.MAX_SAFE_INTEGER);

describe('pages that are missing', () => {
  test('are cut where some are taken', () => {
    const pending = new PendingPages([run(10, 10, 0)]);
    expect(pending.take(12 * PAGE, 14 * PAGE)).toEqual([run(12, 2, 2)]);
    expect(all(pending)).toEqual([run(10, 2, 0), run(14, 6, 4)]);
    expect(pending.take(0, 10 * PAGE)).toEqual([]);
    expect(pending.take(11 * PAGE, 15 * PAGE)).toEqual([run(11, 1, 1), run(14, 1, 4)]);
    expect(pending.bytes).toBe(6 * PAGE);
  });

  test('come in pieces that end at multiples of their size, from an address on and then from the start', () => {
    const pending = new PendingPages([run(3, 10)]);
    expect(pending.takeNext(9 * PAGE, 4 * PAGE)).toEqual(run(9, 3));
    expect(pending.takeNext(12 * PAGE, 4 * PAGE)).toEqual(run(12, 1));
    expect(pending.takeNext(13 * PAGE, 4 * PAGE)).toEqual(run(3, 1));
    expect(pending.takeNext(4 * PAGE, 4 * PAGE)).toEqual(run(4, 4));
    expect(pending.takeNext(8 * PAGE, 4 * PAGE)).toEqual(run(8, 1));
    expect(pending.takeNext(0, 4 * PAGE)).toBeUndefined();
  });

  test('move with their range', () => {
    const pending = new PendingPages([run(1, 4), run(10, 2)]);
    pending.move(2 * PAGE, 20 * PAGE, 2 * PAGE);
    expect(all(pending)).toEqual([run(1, 1), run(4, 1), run(10, 2), run(20, 2, 2)]);
  });

  test('of a child are its own', () => {
    const pending = new PendingPages([run(1, 4)]);
    const child = pending.copy();
    pending.take(0, 100 * PAGE);
    expect(pending.bytes).toBe(0);
    expect(all(child)).toEqual([run(1, 4)]);
  });

  test('are what a table of single pages says, whatever happens', () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant('take' as const), start: fc.nat(40), pages: fc.nat(20) }),
      fc.record({ kind: fc.constant('next' as const), start: fc.nat(60), pages: fc.integer({ min: 1, max: 8 }) }),
      fc.record({ kind: fc.constant('again' as const), start: fc.nat(60), pages: fc.integer({ min: 1, max: 8 }) }),
      fc.record({ kind: fc.constant('move' as const), start: fc.nat(40), pages: fc.nat(20) }),
    );
    fc.assert(
      fc.property(fc.uniqueArray(fc.nat(40)), fc.array(step), (pages, steps) => {
        const sorted = pages.sort((a, b) => a - b);
        const table = new Map(sorted.map((page) => [page, page]));
        const pending = new PendingPages(sorted.map((page) => run(page, 1)));
        const forget = (runs: readonly PendingRun[]) => {
          for (const { address, bytes } of runs)
            for (let at = 0; at < bytes; at += PAGE) expect(table.delete((address + at) / PAGE)).toBe(true);
        };
        let place = 1000;
        for (const { kind, start, pages: count } of steps) {
          if (kind === 'take') forget(pending.take(start * PAGE, (start + count) * PAGE));
          else if (kind === 'next')
            forget([pending.takeNext(start * PAGE, count * PAGE)].filter((r) => r !== undefined));
          else if (kind === 'again') {
            const taken = pending.takeNext(start * PAGE, count * PAGE);
            if (taken !== undefined) pending.putBack(taken);
          } else {
            // To where nobody is.
            place += 1000;
            for (let page = start; page < start + count; page++) {
              const was = table.get(page);
              if (was === undefined) continue;
              table.delete(page);
              table.set(page - start + place, was);
            }
            pending.move(start * PAGE, place * PAGE, count * PAGE);
          }
          const found = all(pending).flatMap(({ address, bytes, place: from }) =>
            Array.from({ length: bytes / PAGE }, (_, i) => [address / PAGE + i, from / PAGE + i]),
          );
          expect(found).toEqual([...table].sort(([a], [b]) => a - b));
          expect(pending.bytes).toBe(table.size * PAGE);
        }
      }),
    );
  });
});
