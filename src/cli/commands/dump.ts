/** `criu dump`: translates the options into calls of the modules that do the work, and sees to it that nothing is lost. */

import { CriuError } from '../../base/errors.ts';
import { invocation } from '../../base/invocation.ts';
import { dumpTree } from '../../dump/dump.ts';
import { EarlyMappings, findBigTasks } from '../../dump/early-mappings.ts';
import { killTree, stopTree } from '../../dump/end.ts';
import { Freezer } from '../../dump/freeze.ts';
import { FreezerCgroup } from '../../dump/freezer-cgroup.ts';
import { rehearse } from '../../dump/rehearsal.ts';
import { Twins } from '../../dump/twins.ts';
import { ImageDir } from '../../image/image-dir.ts';
import { monotonicNs } from '../../linux/clock.ts';
import { forgetSignals, holdSignals, noteSignals } from '../../linux/interrupts.ts';
import { readFile } from '../../linux/syscalls/fs.ts';
import { waitForFilling } from '../../pages/fill-notice.ts';
import { writeCpuinfo } from '../../resources/cpuinfo/cpuinfo.ts';
import { Aftermath } from '../../resources/fd/aftermath.ts';
import { prepareListing } from '../../resources/fd/fd-table/listed-files.ts';
import { shortRunId } from '../../resources/network-lock/network-lock.ts';
import { prepareThreads } from '../../resources/task/listed-threads.ts';
import { postDumpStatus, runActionScripts } from '../action-script.ts';
import type { CommandContext } from '../command-context.ts';
import { memoryProgress, type Progress } from '../progress.ts';
import { formatDumpStats } from '../stats.ts';
import { reportReady, tryTell } from '../status-files.ts';
import { DUMP_SIGNALS, failureOf, freezeInTime, freezeTimeoutMs, tryUnlock } from './dump-freeze.ts';
import { DumpNetwork } from './dump-network.ts';
import { dumpOptions, networkOptions } from './dump-options.ts';

const us = (from: number, to: number) => Math.round((to - from) / 1000);

/** Throws CriuError when it cannot be done; then the tree runs as before and no image is left that looks complete. */
export function run(context: CommandContext): number {
  const { options, log, imagesDir } = context;
  if (options.treePid <= 0) {
    throw new CriuError({ action: 'dump needs the root of a process tree', remedy: 'give its pid with --tree PID' });
  }
  const images = ImageDir.open(imagesDir);
  const { actionScripts, treePid } = options;
  const notify = context.client?.notify;
  const scripts = { scripts: actionScripts, imagesDir, initPid: treePid, log, outputFd: context.logFd, notify };
  runActionScripts({ ...scripts, hook: 'pre-dump' });
  const timeoutMs = freezeTimeoutMs(options);
  const cgroup = options.freezeCgroup === undefined ? undefined : new FreezerCgroup(options.freezeCgroup);
  const freezer = new Freezer(log.child('seize'), timeoutMs, cgroup);
  // Made first, so that it comes last: twins must be reaped.
  using _signals = { [Symbol.dispose]: () => forgetSignals(DUMP_SIGNALS) };
  using twins = mayUseTwins(context, cgroup) ? new Twins(log.child('twins')) : undefined;
  const runId = shortRunId(readFile('/proc/sys/kernel/random/uuid'));
  waitForFilling(options.treePid, log);
  const aftermath = new Aftermath();
  const plan = { ...dumpOptions(context, cgroup), runId, aftermath };
  if (twins !== undefined && !invocation().isWarm) rehearse(plan, findBigTasks(treePid).bytes.size > 0, log);
  using network = new DumpNetwork(
    networkOptions(context, runId, (name) => runActionScripts({ ...scripts, hook: name })),
  );
  noteSignals(DUMP_SIGNALS);
  try {
    if (options.cpuCap.image) writeCpuinfo(images);
    let progress: Progress | undefined;
    const onProgress = (done: number, totalBytes: number) => {
      progress ??= memoryProgress(context, 'dump', totalBytes);
      progress.update(done);
    };
    const early = twins === undefined ? undefined : new EarlyMappings(findBigTasks(treePid));
    if (twins !== undefined) prepareListing(treePid);
    prepareThreads(treePid);
    const begin = monotonicNs();
    const tree = freezeInTime(freezer, treePid, timeoutMs);
    const frozen = monotonicNs();
    const { statistics, complete } = dumpTree(
      tree,
      images,
      twins,
      early,
      { ...plan, onProgress, ...network.freeze() },
      log,
    );
    const release = () => {
      network.unlock();
      aftermath.rollback();
      freezer.release();
    };
    let status = 0;
    let frozenUs: number | undefined;
    if (twins !== undefined) {
      release();
      frozenUs = us(frozen, monotonicNs());
    }
    complete();
    progress?.finish();
    const writeStatsNow = (): DumpStats => {
      const now = {
        freezingTimeUs: us(begin, frozen),
        frozenTimeUs: frozenUs ?? us(frozen, monotonicNs()),
        memdumpTimeUs: statistics.memdumpUs,
        memwriteTimeUs: statistics.memwriteUs,
        pagesScanned: statistics.pagesScanned,
        pagesSkippedParent: statistics.pagesInBase,
        pagesWritten: statistics.pagesWritten,
        pagesLazy: statistics.pagesLazy,
        shpagesWritten: statistics.sharedPagesWritten,
      };
      writeStats(context, now);
      return now;
    };
    let stats: DumpStats | undefined;
    if (twins === undefined) {
      status = network.outside(() => postDumpStatus(scripts));
      if (status !== 0 || options.finalState === 'alive') release();
      else {
        const end = options.finalState === 'stopped' ? stopTree : killTree;
        images.keep();
        aftermath.commit();
        end(tree, freezer, () => {
          aftermath.handOver();
          network.keepLocked(log);
          stats = writeStatsNow();
        });
        if (options.finalState === 'stopped' && network.isLocked) log.warn(STOPPED_CONNECTIONS);
      }
    }
    images.keep();
    finish(context, stats ?? writeStatsNow());
    return status;
  } catch (error) {
    holdSignals();
    tryUnlock(network, log);
    aftermath.rollback();
    freezer.release();
    images.discard();
    throw failureOf(error);
  } finally {
    holdSignals();
  }
}

/**
 * Whether the tree may run on before its memory is copied. A script after the dump wants images that are complete and a
 * tree that stands; and whoever had frozen a cgroup before, wants it to stay so.
 */
function mayUseTwins({ options, client }: CommandContext, cgroup?: FreezerCgroup) {
  const { finalState, cowDump, actionScripts } = options;
  const isWatched = actionScripts.length > 0 || client?.notify !== undefined;
  return cowDump && finalState === 'alive' && !isWatched && cgroup?.wasFrozen !== true;
}

const STOPPED_CONNECTIONS =
  'TCP connections of the tree are kept for the restore: they do not work any more if it is continued here';

type DumpStats = Parameters<typeof formatDumpStats>[0];

function writeStats({ workDir, log }: CommandContext, stats: DumpStats): void {
  const dump = {
    freezing_time: stats.freezingTimeUs,
    frozen_time: stats.frozenTimeUs,
    memdump_time: stats.memdumpTimeUs,
    memwrite_time: stats.memwriteTimeUs,
    pages_scanned: stats.pagesScanned,
    pages_skipped_parent: stats.pagesSkippedParent,
    pages_written: stats.pagesWritten,
    pages_lazy: stats.pagesLazy,
    shpages_written: stats.shpagesWritten,
  };
  tryTell(log, () => ImageDir.open(workDir).write('stats', 'dump', [{ dump }]));
}

function finish({ options, log }: CommandContext, stats: DumpStats): void {
  if (options.displayStats) for (const line of formatDumpStats(stats)) log.message(line);
  const { statusFd } = options;
  if (statusFd !== undefined) tryTell(log, () => reportReady(statusFd));
}
