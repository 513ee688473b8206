/** What criu does before its start image is taken: real dumps and restores, so that its code has been run and compiled. */

import { CriuError } from '../base/errors.ts';
import { invocationOf, setInvocation } from '../base/invocation.ts';
import { forgetRun } from '../base/per-run.ts';
import { run as dump } from '../cli/commands/dump.ts';
import { run as restore } from '../cli/commands/restore.ts';
import { runOnly, sink } from '../cli/run-criu.ts';
import { SIGKILL } from '../linux/abi/signal.ts';
import { kill, tryWait } from '../linux/syscalls/process.ts';
import { spawnIdle } from '../tracee/stub.ts';

const ROUNDS = 60;
/** Code is compiled as early as the runtime ever does. */
const WHILE_WARMING_UP = 1;
const AFTERWARDS = 100;

/** `folder` is for images. Throws CriuError when a dump or a restore fails. */
export async function warmUp(folder: string): Promise<void> {
  Bun.unsafe.setJITPolicy(WHILE_WARMING_UP);
  for (let round = 0; round < ROUNDS; round++) {
    const pid = spawnIdle();
    await runOnce('dump', ['-R', '-t', String(pid), '-D', folder]);
    await runOnce('dump', ['-t', String(pid), '-D', folder]);
    tryWait(pid);
    await runOnce('restore', ['-d', '-D', folder]);
    kill(pid, SIGKILL);
    tryWait(pid);
  }
  Bun.unsafe.setJITPolicy(AFTERWARDS);
  setInvocation(undefined);
}

const RUN = { dump, restore };

async function runOnce(command: 'dump' | 'restore', words: string[]): Promise<void> {
  setInvocation(invocationOf(['criu', command, '-v4', '-o', `${command}.log`, ...words], []));
  const status = await runOnly(command, { run: RUN[command] });
  const { firstError } = sink();
  forgetRun();
  if (status !== 0) throw new CriuError({ action: `the warm-up fails: ${firstError}` });
}
