/**
 * Mapping an io_uring where it was. The kernel chooses the place, and takes neither an address nor MAP_FIXED, nor does
 * mremap(2) move it (io_uring/memmap.c io_uring_get_unmapped_area()). So all the address space that is free is filled for
 * a moment, but for the one gap that is meant: then there is nothing to choose.
 */
import type { Program } from '../../../agent/program.ts';
import type { VmaEntry } from '../../../image/gen/vma.ts';
import {
  MADV_NORMAL,
  MAP_ANONYMOUS,
  MAP_FIXED_NOREPLACE,
  MAP_NORESERVE,
  MAP_PRIVATE,
  MAP_SHARED,
  PROT_NONE,
} from '../../../linux/abi/mman.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { type Range, TASK_SIZE } from '../../mm/address-space.ts';

/** The least that mmap(2) gives without vm.mmap_min_addr, and the most. */
const SPACE: Range = { start: 0x1000, end: TASK_SIZE };
/** Nobody looks for more in it: below the highest vm.mmap_min_addr that anybody sets. */
const LOW_END = 0x1_0000;

const byStart = (one: Range, other: Range) => one.start - other.start;

/** What is free of `space` between ranges that ascend. Pure. */
export function findGaps(ranges: readonly Range[], space: Range): Range[] {
  const gaps: Range[] = [];
  let from = space.start;
  for (const { start, end } of ranges) {
    if (start > from && from < space.end) gaps.push({ start: from, end: Math.min(start, space.end) });
    from = Math.max(from, end);
    if (from >= space.end) return gaps;
  }
  return [...gaps, { start: from, end: space.end }];
}

/** Plans mapping rings in a task in which nothing else is mapped than what `occupied` says. */
export function planIntoOnlyGap(
  program: Program,
  occupied: readonly Range[],
  mappings: readonly { readonly vma: VmaEntry; readonly fd: number }[],
): void {
  const filled = findGaps(occupied.toSorted(byStart), SPACE);
  for (const gap of filled) planFill(program, gap);
  for (const { vma, fd } of mappings) {
    const { start, end, prot, pgoff } = vma;
    program.must('make room for a ring', SYS.munmap, start, end - start);
    program.must(`map a ring at ${start.toString(16)}`, SYS.mmap, 0, end - start, prot, MAP_SHARED, fd, pgoff);
    program.expect('find a ring where it was', 0, SYS.madvise, start, end - start, MADV_NORMAL);
  }
  const taken = mappings.map(({ vma }) => vma).sort(byStart);
  for (const gap of filled) {
    for (const { start, end } of findGaps(
      taken.filter((vma) => vma.start >= gap.start && vma.end <= gap.end),
      gap,
    )) {
      program.must('free what was filled', SYS.munmap, start, end - start);
    }
  }
}

function planFill(program: Program, { start, end }: Range): void {
  if (start < LOW_END && end > LOW_END) {
    planFill(program, { start, end: LOW_END });
    planFill(program, { start: LOW_END, end });
    return;
  }
  const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE;
  const args = [SYS.mmap, start, end - start, PROT_NONE, flags, -1, 0] as const;
  // The kernel may forbid it there, and looks for nothing there then.
  if (start < LOW_END) program.call(...args);
  else program.must('fill the address space', ...args);
}
