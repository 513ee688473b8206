/**
 * Looking after processes: this one is the reaper of everything below it, waits for and kills by pid only, and only
 * what is below it.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { SYS } from '../../src/linux/abi/syscall-numbers.ts';
import { WNOHANG } from '../../src/linux/abi/wait.ts';
import { syscall } from '../../src/linux/kernel.ts';
import { tryWait } from '../../src/linux/syscalls/process.ts';

const PR_SET_CHILD_SUBREAPER = 36;
const SIGKILL = 9;

/** Orphans of ours become our children from now on. */
export function becomeReaper(): void {
  syscall(SYS.prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
}

function readChildren(pid: number): number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).flatMap((tid) =>
      readFileSync(`/proc/${pid}/task/${tid}/children`, 'latin1').split(' ').filter(Boolean).map(Number),
    );
  } catch {
    return [];
  }
}

/** The process and everything below it, parents first. */
export function readTree(root: number): number[] {
  const tree = [root];
  for (const pid of tree) tree.push(...readChildren(pid));
  return tree;
}

/** Everything below this process. */
export const readDescendants = () => readTree(process.pid).slice(1);

/** Waits until none of the processes is left, reaping them; returns those that are still there at the end. */
export async function waitGone(pids: readonly number[], timeoutMs: number): Promise<number[]> {
  const deadline = performance.now() + timeoutMs;
  for (let remaining = pids; ; await Bun.sleep(1)) {
    remaining = remaining.filter((pid) => {
      tryWait(pid, WNOHANG);
      return existsSync(`/proc/${pid}`);
    });
    if (remaining.length === 0 || performance.now() > deadline) return [...remaining];
  }
}

/** Kills those of the processes that are below this one. */
export async function killTrees(roots: readonly number[]): Promise<void> {
  const ours = new Set(readDescendants());
  const victims = [...new Set(roots.flatMap(readTree))].filter((pid) => pid > 1 && ours.has(pid));
  for (const pid of victims) syscall(SYS.kill, pid, SIGKILL);
  await waitGone(victims, 20_000);
}
