import { describe, expect, test } from 'bun:test';
import type { CoreEntry } from '../image/gen/core.ts';
import type { VmaEntry } from '../image/gen/vma.ts';
import { VMA_ANON_PRIVATE, VMA_AREA_HEAP, VMA_AREA_REGULAR, VMA_FILE_PRIVATE } from '../image/vma-status.ts';
import {
  MADV_DONTFORK,
  MADV_HUGEPAGE,
  MADV_WIPEONFORK,
  MAP_DROPPABLE,
  MAP_HUGETLB,
  MAP_LOCKED,
  MAP_PRIVATE,
} from '../linux/abi/mman.ts';
import type { PageRun } from '../resources/mm/pages-image.ts';
import { chooseLater, pagesWantedAtOnce } from './later.ts';

const MIB = 1 << 20;
const vma = (changes: Partial<VmaEntry> = {}): VmaEntry => ({
  start: 4 * MIB,
  end: 8 * MIB,
  pgoff: 0,
  shmid: 0,
  prot: 3,
  flags: MAP_PRIVATE,
  status: VMA_AREA_REGULAR | VMA_ANON_PRIVATE,
  fd: -1,
  ...changes,
});
const run = (address: number, bytes: number, offset = 0): PageRun => ({ address, bytes, file: 'pages-1.img', offset });
const nothing: readonly number[] = [];

describe('memory that may come later', () => {
  test('is big and private, and nobody else needs it', () => {
    const runs = [run(4 * MIB, MIB), run(6 * MIB, MIB, MIB)];
    const { now, later } = chooseLater([vma()], [], runs, nothing);
    expect(now).toEqual([]);
    expect(later).toEqual({ ranges: [{ start: 4 * MIB, end: 8 * MIB }], runs });
  });

  test('is the heap, and memory with other advice', () => {
    const runs = [run(4 * MIB, MIB)];
    const advised = vma({
      status: VMA_AREA_REGULAR | VMA_ANON_PRIVATE | VMA_AREA_HEAP,
      madv: 1n << BigInt(MADV_HUGEPAGE),
    });
    expect(chooseLater([advised], [], runs, nothing).later.runs).toEqual(runs);
  });

  const others: [string, Partial<VmaEntry>][] = [
    ['a private map of a file', { status: VMA_AREA_REGULAR | VMA_FILE_PRIVATE }],
    ['locked', { flags: MAP_PRIVATE | MAP_LOCKED }],
    ['of hugetlbfs', { flags: MAP_PRIVATE | MAP_HUGETLB }],
    ['droppable', { flags: MAP_DROPPABLE }],
    ['code', { prot: 7 }],
    ['sealed', { sealed_ext: true }],
    ['not for children', { madv: 1n << BigInt(MADV_DONTFORK) }],
    ['empty for children', { madv: 1n << BigInt(MADV_WIPEONFORK) }],
  ];
  test.each(others)('is not what is %s', (_, changes) => {
    const runs = [run(4 * MIB, MIB)];
    const { now, later } = chooseLater([vma(changes)], [], runs, nothing);
    expect(now).toEqual(runs);
    expect(later.runs).toEqual([]);
    expect(later.ranges).toEqual([]);
  });

  test('is not what children inherit, but what they have in another way', () => {
    const second = vma({ start: 10 * MIB, end: 12 * MIB });
    const runs = [run(4 * MIB, MIB), run(10 * MIB, MIB, MIB)];
    const { now, later } = chooseLater(
      [vma(), second],
      [[vma(), vma({ start: 10 * MIB, end: 11 * MIB })]],
      runs,
      nothing,
    );
    expect(now).toEqual([run(4 * MIB, MIB)]);
    expect(later.runs).toEqual([run(10 * MIB, MIB, MIB)]);
  });

  test('is not a little, nor a page that is wanted at once', () => {
    const small = vma({ start: 10 * MIB, end: 12 * MIB });
    const runs = [run(4 * MIB, MIB), run(10 * MIB, 64 << 10, MIB)];
    const wanted = [4 * MIB, 5 * MIB - 8192];
    const { now, later } = chooseLater([vma(), small], [], runs, wanted);
    expect(now).toEqual([run(4 * MIB, 4096), run(5 * MIB - 8192, 4096, MIB - 8192), run(10 * MIB, 64 << 10, MIB)]);
    expect(later.runs).toEqual([run(4 * MIB + 4096, MIB - 12288, 4096), run(5 * MIB - 4096, 4096, MIB - 4096)]);
  });
});

test('wanted at once are the pages of stack, thread-local storage and restartable sequences', () => {
  const core = {
    thread_core: { rseq_entry: { rseq_abi_pointer: 0x5010n }, futex_rla: 0n },
    thread_info: { clear_tid_addr: 0x3000n, gpregs: { sp: 0x9ff8n, fs_base: 0x5000n } },
  } as unknown as CoreEntry;
  expect(pagesWantedAtOnce([core])).toEqual([0x3000, 0x5000, 0x9000]);
});
