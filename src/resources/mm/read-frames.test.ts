import { expect, test } from 'bun:test';
import { MAP_ANONYMOUS, MAP_NORESERVE, MAP_PRIVATE, PROT_READ, PROT_WRITE } from '../../linux/abi/mman.ts';
import { addressOf } from '../../linux/kernel.ts';
import { mmap, munmap } from '../../linux/syscalls/mm.ts';
import { getpid } from '../../linux/syscalls/process.ts';
import { PIECE_PAGES, readFrames } from './read-frames.ts';

const PAGE = 4096;
/** Halves of a word: present or not. */
const PRESENT = 0x8000_0000;

test('the words of many pieces, in order, from several batches and threads', () => {
  const bytes = 20 * PIECE_PAGES * PAGE;
  const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  const start = mmap(0, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
  try {
    const sizes = [1, 3, 512, PIECE_PAGES, ...new Array<number>(18).fill(PIECE_PAGES), 7];
    let end = start;
    const pieces = sizes.map((pages, index) => {
      const piece = { pid: getpid(), start: end, end: end + pages * PAGE, index };
      end = piece.end;
      return piece;
    });
    const seen: number[] = [];
    readFrames(pieces, (piece, words) => {
      seen.push(piece.index);
      expect(words.length).toBe(2 * (sizes[piece.index] ?? 0));
      expect(words.some((half, i) => i % 2 === 1 && (half & PRESENT) !== 0)).toBe(false);
    });
    expect(seen).toEqual(pieces.map(({ index }) => index));
  } finally {
    munmap(start, bytes);
  }
});

test('pages that are there show in their place', () => {
  const memory = new Uint8Array(new ArrayBuffer(64 * PAGE)).fill(1);
  const start = Math.ceil(addressOf(memory) / PAGE) * PAGE;
  const pieces = [0, 1].map((i) => ({ pid: getpid(), start: start + i * 8 * PAGE, end: start + (i * 8 + 5) * PAGE }));
  readFrames(pieces, (_, words) => {
    for (let i = 1; i < words.length; i += 2) expect((words[i] ?? 0) & PRESENT).not.toBe(0);
  });
  expect(memory[0]).toBe(1);
});

test('of a process that is not there nothing can be read', () => {
  const piece = { pid: 2 ** 22 + 1, start: 0, end: PAGE };
  expect(() => readFrames([piece], () => {})).toThrow('/proc/4194305/pagemap');
});
