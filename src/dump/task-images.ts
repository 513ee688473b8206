/** Writes the images of tasks: cores, ids, mm and fs, and those of the dead. */
import type { Logger } from '../base/log.ts';
import type { TaskKobjIdsEntry } from '../image/gen/core.ts';
import type { ImageDir } from '../image/image-dir.ts';
import type { DumpedCgroups } from '../resources/cgroup/dump-cgroups.ts';
import type { WatchedRings } from '../resources/mm/dump-aio.ts';
import type { DescribedVma } from '../resources/mm/dump-vmas.ts';
import type { HeldSemaphores } from '../resources/sysv/semaphores.ts';
import { overrunWarnings } from '../resources/timers/posix-timers.ts';
import { CoreImages } from './core-images.ts';
import type { FrozenTask, FrozenTree } from './frozen-tree.ts';
import { describeMm, describeZombieCore, type readAuxv, type TaskState } from './task-state.ts';

/** What is known of a living task besides what it has said itself. */
interface KnownTask {
  readonly task: FrozenTask;
  readonly ids: TaskKobjIdsEntry;
  readonly vmas: readonly DescribedVma[];
  readonly auxv: ReturnType<typeof readAuxv>;
  /** Ids of files. */
  readonly exe: number;
  readonly cwd: number;
  readonly root: number;
}

/** A tree as it is to be written. */
interface KnownTree {
  readonly tree: FrozenTree;
  /** The living ones, and what each has said. */
  readonly dumped: readonly KnownTask[];
  readonly states: readonly (() => TaskState)[];
  readonly rings: WatchedRings;
  readonly semaphores: HeldSemaphores;
  readonly cgroups: DumpedCgroups;
}

export function writeTaskImages(known: KnownTree, images: ImageDir, log: Logger): void {
  known.dumped.forEach((one, i) => {
    const state = known.states[i]?.();
    if (state === undefined) return;
    const timers = state.tc.timers?.posix ?? [];
    for (const warning of overrunWarnings(one.task.label, timers)) log.warn(warning);
    writeTask(one, state, known, images);
  });
  for (const member of known.tree.members) {
    if (member.kind === 'zombie') images.write('core', member.pid, [describeZombieCore(member)]);
  }
}

function writeTask(
  { task, ids, vmas, auxv, exe, cwd, root }: KnownTask,
  state: TaskState,
  { rings, semaphores, cgroups }: KnownTree,
  images: ImageDir,
): void {
  const sem_undo_ext = semaphores.byPid.get(task.pid) ?? [];
  using cores = new CoreImages(images, task.threads.length);
  state.describeCores((described) => {
    const cg_set = cgroups.numberOf(described.tid);
    cores.write(described, cg_set, (core) => {
      const thread_core = core.thread_core && { ...core.thread_core, cg_set };
      const tc = core.tc === undefined ? {} : { tc: { ...core.tc, sem_undo_ext } };
      return { ...core, ...tc, thread_core };
    });
  });
  cores.finish();
  images.write('ids', task.pid, [ids]);
  images.write('mm', task.pid, [describeMm(task, vmas, { exe, auxv, aios: rings.entriesOf(task) }, state)]);
  images.write('fs', task.pid, [{ cwd_id: cwd, root_id: root, umask: task.leader.status.umask ?? 0 }]);
}
