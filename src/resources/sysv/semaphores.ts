/**
 * System V semaphores (man 2 semop) belong to the machine like files: a task has nothing of them but adjustments, which
 * the kernel applies when it ends (SEM_UNDO). These cannot be read, and ending the task applies them. So what a task
 * holds this way is given back by the dump, and the restored one still believes to have it.
 *
 * Nobody can tell whether there are any (every process with threads has a list for them, kernel ipc/sem.c copy_semundo()),
 * so this is a warning to those that were the last to change a semaphore, and no refusal. CRIU says nothing.
 */
import type { FrozenTree } from '../../dump/frozen-tree.ts';
import { GETPID } from '../../linux/abi/ipc.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { syscall } from '../../linux/kernel.ts';
import { tryReadFile } from '../../linux/syscalls/fs.ts';

/** Warnings for the log. */
export function findUsedSemaphores({ tasks }: FrozenTree): string[] {
  const labels = new Map(tasks.map(({ pid, label }) => [pid, label]));
  return readSets().flatMap(({ id, count }) => {
    const users = new Set<string>();
    for (let i = 0; i < count; i++) {
      const label = labels.get(syscall(SYS.semctl, id, i, GETPID, 0));
      if (label !== undefined) users.add(label);
    }
    return [...users].map(
      (label) =>
        `${label} uses System V semaphores (set ${id}): what it holds with SEM_UNDO is given back when the dump ends it, ` +
        'and not taken again by a restore',
    );
  });
}

/** Below the heading each line begins with key, id, permissions and number of semaphores (ipc/sem.c). */
function readSets(): { id: number; count: number }[] {
  const text = tryReadFile('/proc/sysvipc/sem');
  if (typeof text === 'number') return [];
  return text
    .trimEnd()
    .split('\n')
    .slice(1)
    .map((line) => {
      const [, id, , count] = line.trim().split(/\s+/).map(Number);
      return { id: id ?? -1, count: count ?? 0 };
    });
}
