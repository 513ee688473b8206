/** Searching in lists that are sorted. */

/**
 * How many of the first `count` elements come before what is looked for, which is the index where it is or would be.
 * `isBefore`, of an index, is true for those and false for all behind them. Pure.
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
