/** `criu restore`: translates the options into a call of the module that does the work. */

import { CriuError, CriuErrors } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import { ImageDir } from '../../image/image-dir.ts';
import { ERRNO } from '../../linux/abi/errno.ts';
import { WEXITSTATUS, WIFEXITED, WIFSTOPPED } from '../../linux/abi/wait.ts';
import { monotonicNs } from '../../linux/clock.ts';
import {
  forgetSignals,
  holdSignals,
  holdWaits,
  Interrupted,
  noteSignals,
  stopIfInterrupted,
} from '../../linux/interrupts.ts';
import { getpid, tryWait } from '../../linux/syscalls/process.ts';
import type { CpuCapabilities, CriuOptions } from '../../options/criu-options.ts';
import { Filler } from '../../pages/filler-link.ts';
import { type CgroupRestoreOptions, RestoredCgroups } from '../../resources/cgroup/restore-cgroups.ts';
import { checkCpuinfo, checkFpu } from '../../resources/cpuinfo/cpuinfo.ts';
import { capabilitiesOf } from '../../resources/creds/creds.ts';
import { readLsmModule } from '../../resources/creds/lsm.ts';
import { chooseLabels, parseLsmProfile } from '../../resources/creds/lsm-profile.ts';
import { planFiles } from '../../resources/fd/fd-table/plan-files.ts';
import { checkShellJob } from '../../restore/births.ts';
import { checkTree } from '../../restore/check-tree.ts';
import { checkUserfaults } from '../../restore/later-pages.ts';
import { loadTree } from '../../restore/load-tree.ts';
import { restoreTree } from '../../restore/restore.ts';
import type { RestoreTree } from '../../restore/restore-tree.ts';
import { type Hook, runActionScripts } from '../action-script.ts';
import { RESTORE_FINISHED } from '../closing-lines.ts';
import type { CommandContext } from '../command-context.ts';
import { ENDING_SIGNALS, givenUp } from '../given-up.ts';
import { memoryProgress } from '../progress.ts';
import { formatRestoreStats } from '../stats.ts';
import { reportReady, tryTell, writePidfile } from '../status-files.ts';
import { RestoreNetwork } from './restore-network.ts';

/** Throws CriuError when it cannot be done. */
export function run(context: CommandContext): number {
  const pid = restore(context);
  return context.options.detached ? 0 : waitForRoot(pid);
}

/** The pid of the root, when the tree runs and nothing of the restore is left. A signal ends it only at resting points. */
function restore(context: CommandContext): number {
  noteSignals(ENDING_SIGNALS);
  holdWaits();
  try {
    return restoreOrGiveUp(context);
  } catch (error) {
    throw error instanceof Interrupted ? givenUp(error, 'nothing is left of the tree') : error;
  } finally {
    forgetSignals(ENDING_SIGNALS);
  }
}

function restoreOrGiveUp(context: CommandContext): number {
  const { options, log, imagesDir } = context;
  const started = monotonicNs();
  if (options.runAtOnce) checkUserfaults();
  // It takes as long to start as the tree takes to be read.
  using filler = options.runAtOnce ? Filler.start(context.logFd, options.logLevel) : undefined;
  const images = ImageDir.open(imagesDir);
  const tree = loadTree(images);
  warnOfNoEffect(options, log);
  refuseBorrowedRights(tree, context.client?.borrowedCapabilities ?? 0n);
  const profile = options.lsmProfile === undefined ? undefined : parseLsmProfile(options.lsmProfile);
  chooseLabels(tree, profile, readLsmModule());
  checkShellJob(tree, options.shellJob);
  checkTree(tree, images);
  checkCpu(tree, images, options.cpuCap);
  using network = new RestoreNetwork(tree, images, options);
  const hook = (name: Hook) =>
    network.outside(() =>
      runActionScripts({
        scripts: options.actionScripts,
        hook: name,
        imagesDir,
        initPid: name === 'pre-restore' ? undefined : tree.root.pid,
        log,
        outputFd: context.logFd,
        notify: context.client?.notify,
      }),
    );
  // Files may be open in them.
  using cgroups = new RestoredCgroups(images.tryReadOne('cgroup'), tree, cgroupOptions(options), log.child('cg'));
  cgroups.check();
  cgroups.prepare();
  using files = planFiles({
    tree,
    images,
    options: { ...options, offerMaster: context.client?.offerMaster },
    controllerPid: getpid(),
    system: network.system,
    warn: (text) => log.warn(text),
  });
  hook('pre-restore');
  stopIfInterrupted();
  files.prepare();
  using progress = memoryProgress(context, 'restore', pagesBytes(tree, images));
  const statistics = restoreTree(
    tree,
    images,
    files,
    {
      onProgress: (done) => progress.update(done),
      sibling: options.restoreSibling,
      filler,
      leaveStopped: options.finalState === 'stopped',
      cgroups,
      rootExists: () => {
        hook('setup-namespaces');
        network.fill();
        hook('post-setup-namespaces');
      },
      beforeResume: () => {
        if (options.pidfile !== undefined) writePidfile(options.pidfile, tree.root.pid);
        files.settle();
        hook('post-restore');
        stopIfInterrupted();
        // What others are told cannot be taken back.
        holdSignals();
        if (network.isLocked) hook('network-unlock');
        network.unlock();
        files.resume();
        tryTell(log, () => hook('pre-resume'));
      },
    },
    log,
  );
  files.commit();
  network.commit();
  const stats = {
    pagesCompared: statistics.pagesCompared,
    pagesSkippedCow: statistics.pagesShared,
    pagesRestored: statistics.pagesWritten,
    forkingTimeUs: statistics.forkingUs,
    restoreTimeUs: Math.round((monotonicNs() - started) / 1000),
  };
  const entry = {
    pages_compared: stats.pagesCompared,
    pages_skipped_cow: stats.pagesSkippedCow,
    pages_restored: stats.pagesRestored,
    forking_time: stats.forkingTimeUs,
    restore_time: stats.restoreTimeUs,
  };
  tryTell(log, () => ImageDir.open(context.workDir).write('stats', 'restore', [{ restore: entry }]));
  if (options.displayStats) for (const line of formatRestoreStats(stats)) log.message(line);
  tryTell(log, () => hook('post-resume'));
  context.client?.restored(tree.root.pid);
  log.info(RESTORE_FINISHED);
  const { statusFd } = options;
  if (statusFd !== undefined) tryTell(log, () => reportReady(statusFd));
  log.flush();
  return tree.root.pid;
}

function cgroupOptions({ manageCgroups, cgroupRoots, cgroupYard }: CriuOptions): CgroupRestoreOptions {
  return { mode: manageCgroups === 'default' ? 'soft' : manageCgroups, newRoots: cgroupRoots, yard: cgroupYard };
}

/** Size of all pages files of the tree. */
function pagesBytes(tree: RestoreTree, images: ImageDir): number {
  let bytes = 0;
  for (const { pagemap } of tree.tasks) bytes += images.fileSize('pages', pagemap.head.pages_id) ?? 0;
  return bytes;
}

/** In the foreground criu is the parent of the root task: it ends when that ends, with its status. */
function waitForRoot(pid: number): number {
  for (;;) {
    const waited = tryWait(pid);
    if (waited === undefined || typeof waited === 'number') {
      throw new CriuError({ object: `task ${pid}`, action: 'cannot be waited for' });
    }
    if (WIFSTOPPED(waited.status)) continue;
    return WIFEXITED(waited.status) ? WEXITSTATUS(waited.status) : 1;
  }
}

/** Images may say anything: a client must not get more from them than it has. */
function refuseBorrowedRights(tree: RestoreTree, borrowed: bigint): void {
  if (borrowed === 0n) return;
  const wanting = tree.tasks.filter(({ threads }) =>
    threads.some(({ core }) => {
      const creds = core.thread_core?.creds;
      return creds !== undefined && (capabilitiesOf(creds) & borrowed) !== 0n;
    }),
  );
  if (wanting.length === 0) return;
  throw new CriuErrors(
    'the process tree cannot be restored',
    wanting.map(({ label }) => ({
      object: label,
      action: 'has capabilities that the client of this request does not have',
      crErrno: ERRNO.EPERM,
    })),
  );
}

/**
 * Options that change nothing here, of which CRIU says nothing either. --root moves a tree with its mount namespace; a tree of
 * the host has the root that criu has.
 */
function warnOfNoEffect({ root, logPid }: CriuOptions, log: Logger): void {
  if (root !== undefined && root !== '/') {
    log.warn(
      `--root ${root} has no effect: these images have no mount namespace, so the tree gets the root that criu has`,
    );
  }
  if (logPid) log.warn('--log-pid has no effect: a single process restores all tasks, and writes one log');
}

/** Refuses a CPU that lacks what the images need, as far as --cpu-cap says; by default the FPU state only. */
function checkCpu(tree: RestoreTree, images: ImageDir, cpuCap: CpuCapabilities): void {
  const { fpu, ins, cpu, image } = cpuCap;
  const cores = tree.tasks.flatMap(({ threads }) => threads.map(({ core }) => core));
  const problems = fpu ? checkFpu(cores) : [];
  if (image && (ins || cpu)) problems.push(...checkCpuinfo(images, { fpu: false, ins, cpu }));
  if (problems.length === 0) return;
  const remedy = 'restore on a CPU that has them, or accept the risk with --cpu-cap=none';
  throw new CriuErrors(
    `this CPU cannot run the tasks as they were dumped; ${remedy}`,
    problems.map((action) => ({ action })),
  );
}
