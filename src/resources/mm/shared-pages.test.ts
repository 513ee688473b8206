import { expect, test } from 'bun:test';
import { PAGE_BYTES as PAGE } from '../../image/pagemap.ts';
import type { DumpRun } from './dump-pages.ts';
import { findCommonChunks, markRuns } from './shared-pages.ts';

const CHUNK = 512 * PAGE;

function run(start: number, pages: number, isInBase = false, isShareable = true): DumpRun {
  const end = start + pages * PAGE;
  return { start, end, isLazy: true, isProtected: false, isInTwin: true, isShareable, isInBase };
}

function marksOf(start: number, bits: Uint8Array, uniform?: number) {
  return { start, end: start + bits.length * PAGE, bits, uniform };
}

test('runs are cut where marked pages begin and end, across pieces', () => {
  const start = CHUNK + 508 * PAGE;
  const [first, second] = [Uint8Array.of(0, 0, 1, 1), Uint8Array.of(3, 0, 0, 2)];
  const marks = [marksOf(start, first), marksOf(2 * CHUNK, second)];
  expect(markRuns([run(start, 8)], marks, 1)).toEqual([
    run(start, 2),
    run(start + 2 * PAGE, 3, true),
    run(start + 5 * PAGE, 3),
  ]);
  expect(markRuns([run(start, 4), run(2 * CHUNK, 4)], marks, 2)).toEqual([
    run(start, 4),
    run(2 * CHUNK, 1, true),
    run(2 * CHUNK + PAGE, 2),
    run(2 * CHUNK + 3 * PAGE, 1, true),
  ]);
  // Runs that follow each other stay apart.
  expect(markRuns([run(start, 4), run(2 * CHUNK, 4)], marks, 1)).toEqual([
    run(start, 2),
    run(start + 2 * PAGE, 2, true),
    run(2 * CHUNK, 1, true),
    run(2 * CHUNK + PAGE, 3),
  ]);
});

test('what nobody has looked at is not in the base', () => {
  const marks = [marksOf(CHUNK, Uint8Array.of(1, 1), 1)];
  expect(markRuns([run(CHUNK - PAGE, 4)], marks, 1)).toEqual([
    run(CHUNK - PAGE, 1),
    run(CHUNK, 2, true),
    run(CHUNK + 2 * PAGE, 1),
  ]);
  expect(markRuns([run(CHUNK - PAGE, 3), run(3 * CHUNK, 1)], marks, 1)).toEqual([
    run(CHUNK - PAGE, 1),
    run(CHUNK, 2, true),
    run(3 * CHUNK, 1),
  ]);
});

test('runs that cannot be shared stay whole', () => {
  const marks = [marksOf(0, new Uint8Array(512).fill(1), 1)];
  expect(markRuns([run(0, 3, false, false)], marks, 1)).toEqual([run(0, 3, false, false)]);
});

test('pieces that are all alike are taken as a whole', () => {
  const pages = (mark: number) => new Uint8Array(512).fill(mark);
  const marks = [marksOf(CHUNK, pages(3), 3), marksOf(2 * CHUNK, pages(3), 3), marksOf(3 * CHUNK, pages(0), 0)];
  expect(markRuns([run(CHUNK - PAGE, 3 * 512 + 2)], marks, 1)).toEqual([
    run(CHUNK - PAGE, 1),
    run(CHUNK, 1024, true),
    run(3 * CHUNK, 512 + 1),
  ]);
});

test('only what several tasks have at the same addresses is looked at', () => {
  const big = { runs: [run(CHUNK, 4 * 512), run(9 * CHUNK, 1)] };
  const small = { runs: [run(2 * CHUNK + 511 * PAGE, 1), run(3 * CHUNK, 1), run(7 * CHUNK, 1)] };
  const unshared = { runs: [run(4 * CHUNK, 1, false, false)] };
  expect([...findCommonChunks([big, small, unshared])]).toEqual([2, 3]);
  // What one task has in several runs is still its own.
  expect([...findCommonChunks([{ runs: [run(0, 1), run(2 * PAGE, 1)] }])]).toEqual([]);
});
