/**
 * System V semaphores (man 2 semop) belong to the machine like files: a task has nothing of them but adjustments, which
 * the kernel makes when it ends (SEM_UNDO). No interface shows them, so they are read from the kernel's memory
 * (kernel ipc/sem.c struct sem_undo). The end of the task makes them; a restore takes again what the task had taken, and
 * fails when somebody else has it by now.
 *
 * Where criu may not read memory of the kernel, there is a warning for those that were the last to change a semaphore.
 */
import type { Program } from '../../agent/program.ts';
import type { FrozenTask, FrozenTree } from '../../dump/frozen-tree.ts';
import type { SemUndoExt } from '../../image/gen/core.ts';
import { GETPID, IPC_NOWAIT, SEM_UNDO } from '../../linux/abi/ipc.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { syscall } from '../../linux/kernel.ts';
import { KernelObjects } from '../../linux/kernel-objects.ts';
import { tryReadFile } from '../../linux/syscalls/fs.ts';

/** The adjustments of each task that has some, and what the log is to warn of. */
export interface HeldSemaphores {
  readonly byPid: ReadonlyMap<number, SemUndoExt[]>;
  readonly warnings: readonly string[];
}

interface SemaphoreSet {
  readonly id: number;
  readonly count: number;
}

/** Looks at the semaphores that tasks of a frozen tree hold. Throws CriuError. */
export function readHeldSemaphores(tree: FrozenTree): HeldSemaphores {
  const sets = readSets();
  if (sets.length === 0) return { byPid: new Map(), warnings: [] };
  using objects = KernelObjects.tryOpen();
  if (objects === undefined) return { byPid: new Map(), warnings: findUsers(tree, sets) };
  const lists = readLists(tree, objects);
  const byPid = new Map<number, SemUndoExt[]>();
  const warnings: string[] = [];
  for (const [list, owners] of lists) {
    const adjustments = readAdjustments(list, sets, objects);
    const [owner, other] = owners;
    if (adjustments.length === 0 || owner === undefined) continue;
    if (other === undefined && !byPid.has(owner.pid)) byPid.set(owner.pid, adjustments);
    else warnings.push(`${owner.label} ${LOST}: it shares the adjustments with another task`);
  }
  return { byPid, warnings };
}

const LOST =
  'uses System V semaphores: what it holds with SEM_UNDO is given back when the dump ends it, and not taken again by a restore';

/** Lists of adjustments, and the tasks whose threads have them: those that are traced by criu. */
function readLists({ tasks }: FrozenTree, objects: KernelObjects): Map<bigint, Set<FrozenTask>> {
  const byTid = new Map(tasks.flatMap((task) => task.threads.map(({ tid }) => [tid, task] as const)));
  const lists = new Map<bigint, Set<FrozenTask>>();
  for (const entry of objects.list(objects.member(objects.ownTask, 'task_struct.ptraced'))) {
    const thread = entry - BigInt(objects.types.offset('task_struct.ptrace_entry'));
    const task = byTid.get(objects.pidNumber(objects.word(thread, 'task_struct.thread_pid')));
    const list = objects.word(objects.member(thread, 'task_struct.sysvsem'), 'sysv_sem.undo_list');
    if (task !== undefined && list !== 0n) lists.set(list, (lists.get(list) ?? new Set()).add(task));
  }
  return lists;
}

/** What a list has for sets that exist. */
function readAdjustments(list: bigint, sets: readonly SemaphoreSet[], objects: KernelObjects): SemUndoExt[] {
  const found: SemUndoExt[] = [];
  for (const entry of objects.list(objects.member(list, 'sem_undo_list.list_proc'))) {
    const undo = entry - BigInt(objects.types.offset('sem_undo.list_proc'));
    const set = sets.find(({ id }) => id === objects.u32(undo, 'sem_undo.semid'));
    if (set === undefined) continue;
    // At the end of the structure; before Linux 5.13 it had a pointer.
    const at = objects.member(undo, 'sem_undo.semadj');
    const start =
      objects.types.offset('sem_undo.semadj') % 8 === 0 ? objects.memory.read(at, 8).getBigUint64(0, true) : at;
    const bytes = objects.copy(start, 2 * set.count);
    const adjustments = [...new Int16Array(bytes.buffer)];
    if (adjustments.some((adjustment) => adjustment !== 0)) found.push({ id: set.id, adjustments });
  }
  return found;
}

/** Warnings for those that may hold something. */
function findUsers({ tasks }: FrozenTree, sets: readonly SemaphoreSet[]): string[] {
  const labels = new Map(tasks.map(({ pid, label }) => [pid, label]));
  const users = new Set<string>();
  for (const { id, count } of sets) {
    for (let i = 0; i < count; i++) {
      const label = labels.get(syscall(SYS.semctl, id, i, GETPID, 0));
      if (label !== undefined) users.add(label);
    }
  }
  return [...users].map((label) => `${label} ${LOST}: criu may not see what that is`);
}

/** Below the heading each line begins with key, id, permissions and number of semaphores (ipc/sem.c). */
function readSets(): SemaphoreSet[] {
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

/** struct sembuf. */
const SEMBUF_BYTES = 6;
/** SEMOPM: so many operations in one call. */
const AT_ONCE = 500;

/** Takes again what the end of the task has given back, and the other way round; it has one thread yet. */
export function planSemaphores(program: Program, held: readonly SemUndoExt[]): void {
  for (const { id, adjustments } of held) {
    const changed = adjustments.flatMap((adjustment, number) => (adjustment === 0 ? [] : [{ number, adjustment }]));
    for (let at = 0; at < changed.length; at += AT_ONCE) {
      const some = changed.slice(at, at + AT_ONCE);
      const operations = new Uint8Array(some.length * SEMBUF_BYTES);
      const view = new DataView(operations.buffer);
      for (const [i, { number, adjustment }] of some.entries()) {
        view.setUint16(i * SEMBUF_BYTES, number, true);
        view.setInt16(i * SEMBUF_BYTES + 2, -adjustment, true);
        view.setInt16(i * SEMBUF_BYTES + 4, IPC_NOWAIT | SEM_UNDO, true);
      }
      const because = `take System V semaphores again (set ${id}), which somebody else may have by now`;
      program.must(because, SYS.semop, id, program.data(operations), some.length);
    }
  }
}
