/**
 * The pages of one big task, spread over two files, since only one thread at a time can write to a file (copy-to-file.ts).
 * The format has one pages image for a task; the other one lies in a folder of its own, to which the first refers as if
 * it were a dump before, just as to pages that tasks share.
 */
import type { Range } from './address-space.ts';
import { bytesOf } from './call-plan.ts';
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
  const sizes = tasks.map(({ runs }) => bytesOf(runs));
  const biggest = Math.max(...sizes);
  const total = sizes.reduce((sum, size) => sum + size, 0);
  const moved = biggest - total / 2;
  const big = tasks[sizes.indexOf(biggest)];
  if (big === undefined || moved < MOVED_BYTES_MIN) return undefined;
  return splitRuns(big, biggest - moved);
}

/** What comes after about `bytes` is in the base. */
function splitRuns({ pid, runs }: TaskRuns, bytes: number): SharedPages {
  const { before, after } = cutAfter(runs, bytes);
  const isInBase = true;
  const base: SharedPages['base'][number][] = [];
  for (const { start, end, isLazy, isProtected, isInTwin, isShareable } of after) {
    base.push({ start, end, isLazy, isProtected, isInTwin, isShareable, isInBase, pid });
  }
  return { base, runs: new Map([[pid, [...before, ...base]]]) };
}

/**
 * The part of the shared pages that goes to a base of the base, when they are so many more than what the tasks have of
 * their own; undefined when they are not. Pure.
 */
export function halveBase({ base, runs }: SharedPages): { before: Base; after: Base } | undefined {
  let own = 0;
  for (const ofTask of runs.values()) for (const { start, end, isInBase } of ofTask) if (!isInBase) own += end - start;
  const shared = bytesOf(base);
  const moved = (shared - own) / 2;
  return moved < MOVED_BYTES_MIN ? undefined : cutAfter(base, shared - moved);
}

type Base = SharedPages['base'];

/** Cuts a list of runs where about `bytes` are before. */
function cutAfter<T extends Range>(runs: readonly T[], bytes: number): { before: T[]; after: T[] } {
  let left = bytes;
  const first = runs.findIndex(({ start, end }) => {
    const isThere = left < end - start;
    if (!isThere) left -= end - start;
    return isThere;
  });
  const run = runs[first];
  if (run === undefined) return { before: [...runs], after: [] };
  const [before, after] = [runs.slice(0, first), runs.slice(first)];
  const cut = Math.floor((run.start + left) / ALIGNMENT) * ALIGNMENT;
  if (cut > run.start) {
    before.push({ ...run, end: cut });
    after[0] = { ...run, start: cut };
  }
  return { before, after };
}
