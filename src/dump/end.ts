/** What becomes of a tree after a successful dump: killed, or left stopped. */

import { CriuError } from '../base/errors.ts';
import { ERRNO } from '../linux/abi/errno.ts';
import { SIGSTOP } from '../linux/abi/signal.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { WIFSTOPPED } from '../linux/abi/wait.ts';
import { syscall } from '../linux/kernel.ts';
import { kill } from '../linux/syscalls/process.ts';
import { waitForAll } from '../tracee/many-threads.ts';
import { killTracee, waitForJobStop } from '../tracee/stop.ts';
import type { Freezer } from './freeze.ts';
import type { FrozenTree } from './frozen-tree.ts';

/** Of less, the dying task takes as long when it is helped, and with thousands of mappings longer: it has to wait for us. */
const RELEASED_PAGES_MIN = 16_384;

/**
 * Kills all tasks and waits until they are really gone, as far as a tracer can: zombies are left to their parents.
 * `meanwhile` is done while the kernel takes them apart, when they can no longer run.
 */
export function killTree(tree: FrozenTree, freezer: Freezer, meanwhile: () => void): void {
  const big = tree.tasks.filter(({ stat }) => stat.rss >= RELEASED_PAGES_MIN);
  for (const { pid } of tree.tasks) killTracee(pid);
  // Much memory is given back here and by the dying task at once, on two cores (man 2 process_mrelease; where it is not
  // known, the task does it alone, and so when it has let go of its memory already: nothing must come in between).
  for (const { pidfd } of big) syscall(SYS.process_mrelease, pidfd, 0);
  meanwhile();
  waitForAll(freezer.tids, (_, status) => !WIFSTOPPED(status));
  freezer.forget(true);
}

/**
 * Leaves all tasks stopped as by a job-control stop. `meanwhile` is done while they are still in our hands. Throws CriuError
 * when that is not allowed; the images are complete.
 */
export function stopTree(tree: FrozenTree, freezer: Freezer, meanwhile: () => void): void {
  // One that has been killed meanwhile (ESRCH) does not run on.
  const running = tree.tasks.filter(({ pid }) => kill(pid, SIGSTOP) === -ERRNO.EPERM);
  meanwhile();
  freezer.release();
  waitForJobStop(tree.tasks.filter((task) => !running.includes(task)).map(({ pid }) => pid));
  const [first] = running;
  if (first === undefined) return;
  throw new CriuError({
    object: first.label,
    action: 'is saved, but runs on instead of being left stopped',
    why: 'it belongs to another user',
    remedy: 'run criu with CAP_KILL',
  });
}
