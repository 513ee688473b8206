/** The program that a start image is taken of: all that criu is, in one piece. */
import { invocation, setInvocation } from '../../base/invocation.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { markStart } from '../../linux/clock.ts';
import { syscall } from '../../linux/kernel.ts';
import { describeSelf, stopForImage, waitForThreads } from '../../start/start-image.ts';
import { warmUp } from '../../start/warm-up.ts';
import { run as dump } from '../commands/dump.ts';
import { run as restore } from '../commands/restore.ts';
import { versionText } from '../commands/version.ts';
import { runOnly } from '../run-criu.ts';
import { run as runFiller } from './filler.ts';
import { run as runOther } from './others.ts';

/** Makes itself ready and stops; then it is each run of criu. `folder`: see warmUp. Returns the exit status. */
export async function run(folder: string): Promise<number> {
  await warmUp(folder);
  waitForThreads();
  const description = describeSelf();
  const text = new TextEncoder().encode(`${JSON.stringify(description)}\n`);
  syscall(SYS.write, 1, text, text.length);
  const called = stopForImage();
  if (called === undefined) return 1;
  markStart();
  setInvocation(called);
  return await runCriu();
}

async function runCriu(): Promise<number> {
  const { words } = invocation();
  const [, first] = words;
  if (words.length === 2 && (first === '--version' || first === '-V')) {
    console.log(versionText());
    return 0;
  }
  if (first === 'fill-memory') return runFiller(words.slice(2));
  let status: number | undefined;
  if (words.includes('dump')) status = await runOnly('dump', { run: dump });
  else if (words.includes('restore')) status = await runOnly('restore', { run: restore });
  return status ?? (await runOther());
}
