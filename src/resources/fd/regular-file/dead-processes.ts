/**
 * Open files of /proc/PID of processes that had ended: a stub of that pid lives while the tree is restored, so that
 * they can be opened by name, and ends before the tree runs. Then they refer to a dead process again.
 */
import { SIGKILL } from '../../../linux/abi/signal.ts';
import { kill, tryWait } from '../../../linux/syscalls/process.ts';
import { spawnStub } from '../../../tracee/stub.ts';
import type { RestoreContext } from '../file-kind.ts';
import { allRemaps } from './remap-restore.ts';

/** The stub does nothing, so it needs hardly any room; above its own file, below all else. */
const HOME = { address: 0x4000_0000, bytes: 4096 };

/** Pids that the open files need and no task of the tree has. */
export function deadPids(context: RestoreContext): Set<number> {
  const pids = new Set<number>();
  for (const remap of allRemaps(context).values()) if (remap.kind === 'process') pids.add(remap.pid);
  for (const { pid } of context.tree.members) pids.delete(pid);
  return pids;
}

export class DeadProcesses {
  readonly #pids: number[] = [];

  /** Starts a stub for each. Throws CriuError when a pid is taken. */
  start(context: RestoreContext): void {
    for (const pid of deadPids(context)) {
      spawnStub({ pid, sibling: false, home: HOME });
      this.#pids.push(pid);
    }
  }

  /** Ends them. */
  end(): void {
    for (const pid of this.#pids.splice(0)) {
      kill(pid, SIGKILL);
      tryWait(pid);
    }
  }
}
