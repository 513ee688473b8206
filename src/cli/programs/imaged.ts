/** The program that a start image is taken of: all that criu is, in one piece. */
import { setInvocation } from '../../base/invocation.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { syscall } from '../../linux/kernel.ts';
import { finishHeap } from '../../start/heap-room.ts';
import { describeSelf, stopForImage, waitForThreads } from '../../start/start-image.ts';
import { warmUp } from '../../start/warm-up.ts';
import { type Programs, runProgram } from '../run-program.ts';
import { run as runCrit } from './crit.ts';
import { run as runDump } from './dump.ts';
import { run as runFiller } from './filler.ts';
import { loadAll, run as runOther } from './others.ts';
import { run as runRestore } from './restore.ts';
import { run as runVersion } from './version.ts';

const PROGRAMS: Programs = {
  crit: () => ({ run: runCrit }),
  dump: () => ({ run: runDump }),
  filler: () => ({ run: runFiller }),
  others: () => ({ run: runOther }),
  restore: () => ({ run: runRestore }),
  version: () => ({ run: runVersion }),
};

/** Makes itself ready and stops; then it is each run of criu. `folder`: see warmUp. Returns the exit status. */
export async function run(folder: string): Promise<number> {
  await loadAll();
  const heap = await warmUp(folder, PROGRAMS);
  waitForThreads();
  const description = describeSelf(heap);
  const text = new TextEncoder().encode(`${JSON.stringify(description)}\n`);
  syscall(SYS.write, 1, text, text.length);
  finishHeap();
  const called = stopForImage();
  if (called === undefined) return 1;
  setInvocation(called);
  const status = await runProgram(PROGRAMS);
  // The runtime's own end does nothing for us: nobody listens for it, and all that was to be written is written.
  syscall(SYS.exit_group, status);
  return status;
}
