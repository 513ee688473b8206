/** Threads in another network namespace than their task: the images have one for each task. */
import type { CriuErrorFields } from '../../base/errors.ts';
import type { FrozenTask } from '../../dump/frozen-tree.ts';
import { tryReadNetworkLink } from './network-visit.ts';

export function findStrayThreads(tasks: readonly FrozenTask[]): CriuErrorFields[] {
  return tasks.flatMap(({ pid, threads, label }) => {
    if (threads.length === 1) return [];
    const own = tryReadNetworkLink(pid);
    const strays = threads.filter(({ tid }) => tid !== pid && tryReadNetworkLink(pid, tid) !== own);
    if (strays.length === 0) return [];
    const who = strays.map(({ tid }) => tid).join(', ');
    const action = `cannot be dumped: threads (${who}) are in another network namespace than the first one`;
    return [{ object: label, action, why: 'the images have one for each task' }];
  });
}
