/**
 * Threads of a task that has many, as the kernel lists them in one go (linux/task-threads.ts): so most of them need not be
 * asked for anything but what is their own.
 */
import { perRun } from '../../base/per-run.ts';
import { tryReadProc } from '../../linux/syscalls/fs.ts';
import { TaskThreads, type ThreadRecords } from '../../linux/task-threads.ts';
import { parseStat } from '../../proc/stat.ts';
import { isInFirstPidNamespace } from './pid-namespace.ts';

/** From so many threads of a task on. Finding out where the kernel has what takes as long as so many threads. */
const MANY = 100;

/** Records have numbers of the first pid namespace. It is loaded once, and stays. */
const taskThreads = perRun(
  () => (isInFirstPidNamespace() ? TaskThreads.tryOpen() : undefined),
  (threads) => threads?.[Symbol.dispose](),
);

/** The `count` threads of a task, which stand still. Undefined when they are few, or the kernel does not list them. */
export function tryListThreads(pid: number, count: number): ThreadRecords | undefined {
  return count < MANY || !isInFirstPidNamespace(pid) ? undefined : taskThreads()?.tryRead(pid, count);
}

/** Before a task is stopped: does what takes long at the first time, if it has many threads. */
export function prepareThreads(pid: number): void {
  const stat = tryReadProc(`/proc/${pid}/stat`);
  if (typeof stat === 'string' && parseStat(stat).numThreads >= MANY) taskThreads();
}

/** So many are compared with each thread: most are like one of the last that were not like any other. */
const EXAMPLES_MAX = 8;

/**
 * For each thread of a task the index of one before it with the same likeness, or undefined. The first thread is nobody's
 * example, for it is asked more than the others.
 */
export function findExamples(tids: readonly number[], records: ThreadRecords): (number | undefined)[] {
  const examples: { readonly index: number; readonly start: number }[] = [];
  return tids.map((tid, index) => {
    const start = index === 0 ? undefined : records.start(tid);
    if (start === undefined || !records.isPlain(start)) return undefined;
    const at = examples.findIndex((example) => records.areAlike(example.start, start));
    const example = at < 0 ? { index, start } : examples[at];
    if (at !== 0 && example !== undefined) {
      // The latest first.
      examples.splice(at < 0 ? EXAMPLES_MAX - 1 : at, 1);
      examples.unshift(example);
    }
    return at < 0 ? undefined : example?.index;
  });
}
