import { expect, test } from 'bun:test';
import {
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_NORESERVE,
  MAP_PRIVATE,
  MAP_SHARED,
  PROT_READ,
  PROT_WRITE,
} from '../../linux/abi/mman.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { check, cString, memoryAt, syscall } from '../../linux/kernel.ts';
import { pageTables } from '../../linux/page-tables.ts';
import { close } from '../../linux/syscalls/fs.ts';
import { mmap, munmap } from '../../linux/syscalls/mm.ts';
import { getpid } from '../../linux/syscalls/process.ts';
import { tryReadTaskMappings } from '../../linux/task-mappings.ts';
import { PIECE_BYTES, readFrames } from './read-frames.ts';

const PAGE = 4096;
const PIECE_PAGES = PIECE_BYTES / PAGE;

test('the words of many pieces, in order, from several batches and threads', () => {
  const bytes = 40 * PIECE_BYTES;
  const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  const start = mmap(0, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
  try {
    const sizes = [1, 3, 512, PIECE_PAGES, ...new Array<number>(38).fill(PIECE_PAGES), 7];
    let end = start;
    const pieces = sizes.map((pages, index) => {
      const piece = { pid: getpid(), topTable: undefined, start: end, end: end + pages * PAGE, index };
      end = piece.end;
      return piece;
    });
    const seen: number[] = [];
    readFrames(pieces, (piece, frames) => {
      seen.push(piece.index);
      expect(frames.length).toBe(2 * (sizes[piece.index] ?? 0));
      expect(frames.some((half) => half !== 0)).toBe(false);
    });
    expect(seen).toEqual(pieces.map(({ index }) => index));
  } finally {
    munmap(start, bytes);
  }
});

/** Makes all of a range readable only, with pages of a file at 3 of its first 5 places, and once more behind. */
function mapShared(start: number, bytes: number): void {
  const file = check('memfd_create', syscall(SYS.memfd_create, cString('frames'), 0));
  check('ftruncate', syscall(SYS.ftruncate, file, 5 * PAGE));
  const fixed = MAP_SHARED | MAP_FIXED;
  for (const page of [0, 2, 3]) {
    const address = mmap(start + page * PAGE, PAGE, PROT_READ | PROT_WRITE, fixed, file, page * PAGE);
    memoryAt(address, 1)[0] = 1;
    // In two places, so that nobody has it alone.
    const other = mmap(start + (600 + page) * PAGE, PAGE, PROT_READ, fixed, file, page * PAGE);
    expect(memoryAt(other, 1)[0]).toBe(1);
  }
  close(file);
  check('mprotect', syscall(SYS.mprotect, start, bytes, PROT_READ));
}

test('page tables and pagemap tell the same', () => {
  const bytes = 12 * PIECE_BYTES;
  const start = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  try {
    mapShared(start, bytes);
    const known = tryReadTaskMappings(getpid())?.topTable;
    const [byPagemap, byTables] = [undefined, known].map((topTable) => {
      const frames: [page: number, frame: number][] = [];
      // Tables have some of what is before and behind as well.
      const pieces = Array.from({ length: 23 }, (_, i) => {
        const from = start + (i * PIECE_BYTES) / 2;
        return { pid: getpid(), topTable, start: from, end: from + PIECE_BYTES / 2 };
      });
      readFrames(pieces, ({ start: from }, halves) => {
        for (let at = 0; at < halves.length; at += 2) {
          const frame = (halves[at] ?? 0) + (halves[at + 1] ?? 0) * 2 ** 32;
          if (frame !== 0) frames.push([(from - start) / PAGE + at / 2, frame]);
        }
      });
      return frames;
    });
    expect(byPagemap?.map(([page]) => page)).toEqual([0, 2, 3, 600, 602, 603]);
    expect(byPagemap?.[0]?.[1]).toBe(byPagemap?.[3]?.[1] ?? 0);
    const isByTables = known !== undefined && pageTables() !== undefined;
    expect(byTables).toEqual(byPagemap?.map(([page, frame]) => [page, isByTables ? frame * PAGE : frame]) ?? []);
  } finally {
    munmap(start, bytes);
  }
});

test('of a process that is not there nothing can be read', () => {
  const piece = { pid: 2 ** 22 + 1, topTable: undefined, start: 0, end: PAGE };
  expect(() => readFrames([piece], () => {})).toThrow('/proc/4194305/pagemap');
});
