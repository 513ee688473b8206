/** Threads in another network namespace than their task: the images have one for each task. */
import type { CriuErrorFields } from '../../base/errors.ts';
import type { FrozenTask, FrozenThread } from '../../dump/frozen-tree.ts';
import { readSmallLinks } from '../../tracee/file-column.ts';
import { tryReadNetworkLink } from './network-visit.ts';

export function findStrayThreads(tasks: readonly FrozenTask[]): CriuErrorFields[] {
  return tasks.flatMap(({ pid, threads, label }) => {
    if (threads.length === 1) return [];
    const own = tryReadNetworkLink(pid);
    const asked = threads.filter(({ alike }) => alike === undefined);
    const elsewhere = new Set<FrozenThread>();
    readSmallLinks(
      asked.map(({ tid }) => `/proc/${pid}/task/${tid}/ns/net`),
      (link, i) => {
        if (link !== own) elsewhere.add(asked[i] as FrozenThread);
      },
    );
    const strays = threads.filter((thread) => elsewhere.has(thread.alike?.example ?? thread)).map(({ tid }) => tid);
    if (strays.length === 0) return [];
    const who = strays.join(', ');
    const action = `cannot be dumped: threads (${who}) are in another network namespace than the first one`;
    return [{ object: label, action, why: 'the images have one for each task' }];
  });
}
