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
  return splitRuns(big, biggest - moved);
}

/** What comes after about `bytes` is in the base. */
function splitRuns({ pid, runs }: TaskRuns, bytes: number): SharedPages {
  const base: (DumpRun & { pid: number })[] = [];
  let left = bytes;
  let first = 0;
  for (; first < runs.length; first++) {
    const run = runs[first];
    if (run === undefined || left < run.end - run.start) break;
    left -= run.end - run.start;
  }
  const own = runs.slice(0, first);
  for (let i = first; i < runs.length; i++) {
    const run = runs[i];
    if (run === undefined) continue;
    const { end, isLazy, isProtected, isInTwin, isShareable } = run;
    const cut = i === first ? Math.max(run.start, Math.floor((run.start + left) / ALIGNMENT) * ALIGNMENT) : run.start;
    if (cut > run.start) own.push({ ...run, end: cut });
    base.push({ start: cut, end, isLazy, isProtected, isInTwin, isShareable, isInBase: true, pid });
  }
  return { base, runs: new Map([[pid, [...own, ...base]]]) };
}
