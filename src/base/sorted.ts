/** Searching in lists that are sorted. */

/** The index of the first of `count` numbers that is not less than `wanted`; `count` when all are. Pure. */
export function lowerBound(sorted: ArrayLike<number>, wanted: number, count = sorted.length): number {
  let low = 0;
  for (let high = count; low < high; ) {
    const middle = (low + high) >>> 1;
    if ((sorted[middle] as number) < wanted) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * The same for elements that are no numbers: how many of the first `count` come before what is looked for. `isBefore`, of an
 * index, is true for those and false for all behind them. A call for each step: not for what thousands of things ask. Pure.
 */
export function countBefore(count: number, isBefore: (index: number) => boolean): number {
  let low = 0;
  for (let high = count; low < high; ) {
    const middle = (low + high) >>> 1;
    if (isBefore(middle)) low = middle + 1;
    else high = middle;
  }
  return low;
}
