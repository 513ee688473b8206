/**
 * Descriptors of a big table, as the kernel lists them in one go (linux/task-files.ts): regular files of the usual file
 * systems, pipes and sockets. Of these a record tells all that a duplicate and /proc/PID/fdinfo would. For the others,
 * and for files with locks or an owner, there is a probe (fd-probe.ts).
 */

import { expectMany } from '../../../base/hot-code.ts';
import { perRun } from '../../../base/per-run.ts';
import type { FrozenTask } from '../../../dump/frozen-tree.ts';
import { tryStat } from '../../../linux/syscalls/fs.ts';
import { RECORD_AT, type TaskFileRecords, TaskFiles } from '../../../linux/task-files.ts';
import { isPlain, ListedFile } from './listed-file.ts';

/** From so many descriptors of a task on. Finding out where the kernel has what takes as long as 1,000 descriptors. */
const MANY = 1000;

/** It is loaded once, and stays. */
const taskFiles = perRun(
  () => TaskFiles.tryOpen(),
  (files) => files?.[Symbol.dispose](),
);

/** The descriptors of a task that stands still. Undefined when there are few, or the kernel does not list them. */
export function tryListFiles(task: FrozenTask): ListedFiles | undefined {
  const records = tryRead(task.pid);
  return records && new ListedFiles(task, records);
}

/** Before a task is stopped for a moment: does what takes long at the first time, if it has many descriptors. */
export function prepareListing(pid: number): void {
  tryRead(pid);
}

function tryRead(pid: number): TaskFileRecords | undefined {
  const folder = tryStat(`/proc/${pid}/fd`);
  // Since Linux 6.2 the size is the number of descriptors.
  const count = typeof folder === 'number' ? 0 : folder.st_size;
  if (count < MANY) return undefined;
  expectMany(count);
  const records = taskFiles()?.tryRead(pid, count);
  // A thread with a table of its own is listed too.
  return records?.count === count ? records : undefined;
}

export class ListedFiles {
  /** All descriptors, ascending. */
  readonly fds: readonly number[];
  /** Those that need a probe. */
  readonly others: readonly number[];
  readonly #task: FrozenTask;
  readonly #records: TaskFileRecords;

  constructor(task: FrozenTask, records: TaskFileRecords) {
    const { starts, words } = records;
    const fds: number[] = [];
    const others: number[] = [];
    for (let i = 0; i < starts.length; i++) {
      const at = starts[i] ?? 0;
      const fd = words[at + RECORD_AT.fd] ?? 0;
      fds.push(fd);
      if (!isPlain(words, at)) others.push(fd);
    }
    this.fds = fds;
    this.others = others;
    this.#task = task;
    this.#records = records;
  }

  /** What is behind `fds[index]`; undefined for one of the others. */
  tryInspect(index: number): ListedFile | undefined {
    const records = this.#records;
    const at = records.starts[index] ?? 0;
    return isPlain(records.words, at) ? new ListedFile(this.#task, records, at) : undefined;
  }
}
