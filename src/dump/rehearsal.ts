/**
 * Code that runs for the first time takes many times as long as afterwards, and a dump runs most of its code once. So
 * before a tree is stopped that is to go on, the part of the dump for which it stands still is done to a process of our
 * own.
 */
import { type Logger, LogSink } from '../base/log.ts';
import { ImageDir } from '../image/image-dir.ts';
import { SIGKILL } from '../linux/abi/signal.ts';
import { kill, tryWait } from '../linux/syscalls/process.ts';
import { spawnIdle } from '../tracee/stub.ts';
import { type DumpOptions, dumpTree } from './dump.ts';
import { Freezer } from './freeze.ts';

/** Whatever goes wrong here will go wrong again, and be reported, when it is done in earnest. */
export function rehearse(options: DumpOptions, log: Logger): void {
  const { logger } = new LogSink((_fd, bytes) => bytes.length);
  const freezer = new Freezer(logger, 1000);
  let pid: number | undefined;
  try {
    pid = spawnIdle();
    const dump = dumpTree(freezer.freeze(pid), ImageDir.inMemory(), undefined, undefined, options, logger);
    dump.undo();
    log.debug(`rehearsed with process ${pid}`);
  } catch (error) {
    log.debug(`the rehearsal ended early: ${error instanceof Error ? error.message : error}`);
  } finally {
    freezer.release();
    if (pid !== undefined) {
      kill(pid, SIGKILL);
      tryWait(pid);
    }
  }
}
