import { expect, test } from 'bun:test';
import { PAGE_BYTES as PAGE } from '../../image/pagemap.ts';
import type { DumpRun } from './dump-pages.ts';
import { findCommonChunks, markRuns } from './shared-pages.ts';

const CHUNK = 512 * PAGE;

function run(start: number, pages: number, isInBase = false, isShareable = true): DumpRun {
  const end = start + pages * PAGE;
  return { start, end, isLazy: true, isProtected: false, isInTwin: true, isShareable, isInBase };
}

test('runs are cut where marked pages begin and end, across chunks', () => {
  const first = new Uint8Array(512);
  const second = new Uint8Array(512);
  first.fill(1, 510);
  second.fill(3, 0, 1);
  second[3] = 2;
  const marks = new Map([
    [1, { bits: first, uniform: undefined }],
    [2, { bits: second, uniform: undefined }],
  ]);
  const start = CHUNK + 508 * PAGE;
  expect(markRuns([run(start, 8)], marks, 1)).toEqual([
    run(start, 2),
    run(start + 2 * PAGE, 3, true),
    run(start + 5 * PAGE, 3),
  ]);
  expect(markRuns([run(start, 4), run(2 * CHUNK + 3 * PAGE, 1)], marks, 2)).toEqual([
    run(start, 4),
    run(2 * CHUNK + 3 * PAGE, 1, true),
  ]);
});

test('runs that cannot be shared stay whole', () => {
  const marks = new Map([[0, { bits: new Uint8Array(512).fill(1), uniform: 1 }]]);
  expect(markRuns([run(0, 3, false, false)], marks, 1)).toEqual([run(0, 3, false, false)]);
});

test('chunks that are all alike are taken as a whole', () => {
  const all = { bits: new Uint8Array(512).fill(3), uniform: 3 };
  const none = { bits: new Uint8Array(512), uniform: 0 };
  const marks = new Map([
    [1, all],
    [2, all],
    [3, none],
  ]);
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
