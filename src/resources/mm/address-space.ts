/** Ranges of addresses, and holes between them. Pure. */
import { ABI_64 } from '../../agent/abi.ts';
import { CriuError } from '../../base/errors.ts';

export interface Range {
  readonly start: number;
  readonly end: number;
}

/** End of the user address space. */
export const TASK_SIZE = ABI_64.taskSize;

/**
 * Where a search for holes begins: above what the kernel and old programs use, below where it puts mappings. In a full
 * address space of 32 bits there may be room below that.
 */
const SEARCH_STARTS = [0x1000_0000, 0x10_0000];
/** Distance kept from other mappings, so that a stack that grows down has its guard gap (vm.stack_guard_gap, 1 MiB). */
const MARGIN = 0x11_0000;

/** A hole of `bytes` bytes below `limit` in all of the given ranges together. Throws CriuError when there is none. */
export function findHole(ranges: Iterable<Range>, bytes: number, limit = TASK_SIZE): number {
  const sorted = inOrder([...ranges]);
  for (const from of SEARCH_STARTS) {
    const hole = tryFindHole(sorted, bytes, from, limit);
    if (hole !== undefined) return hole;
  }
  throw new CriuError({
    action: `cannot find ${bytes} bytes of address space that no task uses`,
    why: 'the agent that rebuilds the tasks needs a place that is free in all of them',
  });
}

/** Mostly they are, and there may be thousands. */
function inOrder(ranges: Range[]): Range[] {
  let before = 0;
  for (const { start } of ranges) {
    if (start < before) return ranges.sort((a, b) => a.start - b.start);
    before = start;
  }
  return ranges;
}

function tryFindHole(sorted: readonly Range[], bytes: number, from: number, limit: number): number | undefined {
  let candidate = from;
  for (const { start, end } of sorted) {
    if (start >= limit) break;
    if (candidate + bytes + MARGIN <= start) return candidate;
    if (end + MARGIN > candidate) candidate = end + MARGIN;
  }
  return candidate + bytes + MARGIN <= limit ? candidate : undefined;
}
