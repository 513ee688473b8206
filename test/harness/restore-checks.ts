/**
 * Everything that a restore does before a process exists, in this process: load, check, plan. And the plans of programs
 * that it makes later, which look at the rest of the images. Nothing is made outside of this process.
 */

import { readFileSync } from 'node:fs';
import { ABI_64 } from '../../src/agent/abi.ts';
import { Program } from '../../src/agent/program.ts';
import { LogSink } from '../../src/base/log.ts';
import { planNetwork, plannedSystem } from '../../src/cli/commands/restore-network.ts';
import { ImageDir } from '../../src/image/image-dir.ts';
import { getpid } from '../../src/linux/syscalls/process.ts';
import { defaultOptions } from '../../src/options/criu-options.ts';
import { RestoredCgroups } from '../../src/resources/cgroup/restore-cgroups.ts';
import { checkFpu } from '../../src/resources/cpuinfo/cpuinfo.ts';
import { planFiles } from '../../src/resources/fd/fd-table/plan-files.ts';
import { checkVdso, readOwnVdso } from '../../src/resources/mm/check-vdso.ts';
import { planMemory } from '../../src/resources/mm/memory-plan.ts';
import { PagesIndex } from '../../src/resources/mm/pages-image.ts';
import { planMoveVdso, vdsoPieces } from '../../src/resources/mm/restore-vdso.ts';
import { SharedMemory } from '../../src/resources/mm/shared-memory.ts';
import { HostSegments } from '../../src/resources/sysv/restore-segments.ts';
import { checkShellJob, planBirths } from '../../src/restore/births.ts';
import { checkTree } from '../../src/restore/check-tree.ts';
import type { RestoreContext } from '../../src/restore/context.ts';
import { planFinal, planLate } from '../../src/restore/final-program.ts';
import { loadTree } from '../../src/restore/load-tree.ts';
import { findHome, readTaskNow } from '../../src/restore/restore.ts';

const log = new LogSink(() => 0).logger;
const taskNow = readTaskNow();
const ownVdso = vdsoPieces(readFileSync('/proc/self/maps', 'latin1'));

const options = {
  ...defaultOptions(),
  shellJob: true,
  tcpEstablished: true,
  fileLocks: true,
  linkRemap: true,
  skipFileRwxCheck: true,
};

/** Throws what a restore would throw; returns when the images would be restored. */
export function checkRestore(folder: string): void {
  const images = ImageDir.open(folder);
  const tree = loadTree(images);
  checkShellJob(tree, true);
  checkTree(tree, images);
  checkFpu(tree.tasks.flatMap(({ threads }) => threads.map(({ core }) => core)));
  const network = planNetwork(tree, images, options);
  using cgroups = new RestoredCgroups(
    images.tryReadOne('cgroup'),
    tree,
    { mode: 'none', newRoots: [], yard: undefined },
    log,
  );
  using files = planFiles({
    tree,
    images,
    options,
    controllerPid: getpid(),
    system: plannedSystem(network),
    warn: () => undefined,
  });
  const { parking, home } = findHome(tree, files);
  using sharedMemory = new SharedMemory(getpid());
  sharedMemory.create(
    tree.tasks.flatMap(({ mm }) => mm.vmas),
    images,
  );
  using segments = new HostSegments(tree, images);
  const tasks64 = tree.tasks.filter(({ abi }) => abi === ABI_64);
  checkVdso(tasks64, readOwnVdso);
  const context: RestoreContext = {
    ...{ tree, images, log, onProgress: undefined, files, sharedMemory, segments, cgroups, parking, home },
    later: undefined,
    ...planBirths(tree),
    groupHelpers: [],
    zombies: [],
    taskNow,
    filters: images.tryReadOne('seccomp'),
  };
  const parkedVdso = planMoveVdso(new Program(), ownVdso, parking.start);
  const pages = new PagesIndex(images);
  for (const task of tree.tasks) {
    const memory = { vmas: task.mm.vmas, runs: pages.runs('pagemap', task.pid, task.pagemap) };
    const { writable } = planMemory(memory, undefined, () => false);
    const program = new Program();
    unlessPrepared(() => {
      for (const stage of files.stages) if (stage !== 'finish') files.addOps(stage, task.pid, program);
      planFinal(program, { task, host: undefined as never, parkedVdso, writable }, context);
    });
    planLate(new Program(), task, context);
  }
}

/** Deleted files and terminals are made before their steps are put into programs; here nothing is made. */
const NEEDS_PREPARATION =
  /the path of a step is known when it is added to a program|terminal file \d+ is open|memory object \d+ was made/;

function unlessPrepared(plan: () => void): void {
  try {
    plan();
  } catch (error) {
    if (!(error instanceof Error) || !NEEDS_PREPARATION.test(error.message)) throw error;
  }
}
