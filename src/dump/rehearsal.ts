/**
 * Code that runs for the first time takes many times as long as afterwards, and a dump runs most of its code once. So
 * before a tree is stopped that is to go on, the part of the dump for which it stands still is done to a process of our
 * own.
 */
import { type Logger, LogSink } from '../base/log.ts';
import { ImageDir } from '../image/image-dir.ts';
import { SIGKILL } from '../linux/abi/signal.ts';
import { kill, tryWait } from '../linux/syscalls/process.ts';
import { Aftermath } from '../resources/fd/aftermath.ts';
import { spawnIdle } from '../tracee/idle.ts';
import { dumpTree } from './dump.ts';
import { EarlyMappings } from './early-mappings.ts';
import { Freezer } from './freeze.ts';
import type { DumpOptions } from './inspect-tree.ts';
import { TWIN_BYTES_MIN } from './twin-policy.ts';
import { Twins } from './twins.ts';

/**
 * Whatever goes wrong here will go wrong again, and be reported, when it is done in earnest. `withTwin`: the process gets a
 * twin, too.
 */
export function rehearse(options: DumpOptions, withTwin: boolean, log: Logger): void {
  const { logger } = new LogSink((_fd, bytes) => bytes.length);
  const twins = withTwin ? new Twins(logger) : undefined;
  const freezer = new Freezer(logger, 1000);
  const aftermath = new Aftermath();
  let pid: number | undefined;
  try {
    pid = spawnIdle();
    const big = { bytes: new Map([[pid, TWIN_BYTES_MIN]]), isLargeTree: false };
    const early = withTwin ? new EarlyMappings(big) : undefined;
    dumpTree(freezer.freeze(pid), ImageDir.inMemory(), twins, early, { ...options, aftermath }, logger);
    log.debug(`rehearsed with process ${pid}`);
  } catch (error) {
    log.debug(`the rehearsal ended early: ${error instanceof Error ? error.message : error}`);
  } finally {
    aftermath.rollback();
    freezer.release();
    twins?.[Symbol.dispose]();
    if (pid !== undefined) {
      kill(pid, SIGKILL);
      tryWait(pid);
    }
  }
}
