/**
 * The pages of one big task, spread over two files, since only one thread at a time can write to a file (copy-to-file.ts).
 * The format has one pages image for a task; the other one lies in a folder of its own, to which the first refers as if
 * it were a dump before, just as to pages that tasks share.
 */
import type { DumpRun } from './dump-pages.ts';
import type { SharedPages, TaskRuns } from './shared-pages.ts';

/** To write less at once takes hardly longer than to make the folder, and small dumps stay plain. */
const MOVED_BYTES_MIN = 16 << 20;
/** Huge pages stay whole. */
const ALIGNMENT = 2 << 20;

/**
 * When a task has more memory than all others together: the part of it that goes to the base, so that two files of about
 * the same size are written. Pure.
 */
export function splitPages(tasks: readonly TaskRuns[]): SharedPages | undefined {
  const sizes = tasks.map(({ runs }) => runs.reduce((sum, { start, end }) => sum + end - start, 0));
  const biggest = Math.max(...sizes);
  const total = sizes.reduce((sum, size) => sum + size, 0);
  const moved = biggest - total / 2;
  const big = tasks[sizes.indexOf(biggest)];
  if (big === undefined || moved < MOVED_BYTES_MIN) return undefined;
  const { pid } = big;
  const runs = markEnd(big.runs, biggest - moved);
  return {
    base: runs.filter(({ isInBase }) => isInBase).map((run) => ({ ...run, pid })),
    runs: new Map([[pid, runs]]),
  };
}

/** Runs as before; what comes after about `bytes` is in the base. */
function markEnd(runs: readonly DumpRun[], bytes: number): DumpRun[] {
  let left = bytes;
  return runs.flatMap((run) => {
    const { start, end } = run;
    const cut = left <= 0 ? start : Math.max(start, Math.floor((start + left) / ALIGNMENT) * ALIGNMENT);
    left -= end - start;
    if (cut >= end) return [run];
    left = 0;
    const inBase = { ...run, start: cut, isInBase: true };
    return cut === start ? [inBase] : [{ ...run, end: cut }, inBase];
  });
}
