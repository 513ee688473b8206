/**
 * Restore: images → checks → plan → stubs → stages → the tree runs.
 *
 * Everything that can be refused is refused before a process exists; what fails later leaves no process behind, because
 * all of them die with their tracer (PTRACE_O_EXITKILL) until they are complete.
 */

import { ABI_64 } from '../agent/abi.ts';
import { Program } from '../agent/program.ts';
import type { Logger } from '../base/log.ts';
import type { ImageDir } from '../image/image-dir.ts';
import { PR_GET_SECUREBITS } from '../linux/abi/prctl.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { WIFSTOPPED } from '../linux/abi/wait.ts';
import { monotonicNs } from '../linux/clock.ts';
import { stopIfInterrupted } from '../linux/interrupts.ts';
import { syscall } from '../linux/kernel.ts';
import { readFile, tryListDirectory, tryReadFile } from '../linux/syscalls/fs.ts';
import { getpid, tryWait } from '../linux/syscalls/process.ts';
import type { Filler } from '../pages/filler-link.ts';
import { parseLimits } from '../proc/limits.ts';
import { parseLoginuid } from '../proc/small.ts';
import { parseStatus } from '../proc/status.ts';
import { parseTimensOffsets, type TimeOffset } from '../proc/timens.ts';
import type { RestoredCgroups } from '../resources/cgroup/restore-cgroups.ts';
import { readLsmLabels, readLsmModule } from '../resources/creds/lsm.ts';
import { ringProgramBytes } from '../resources/fd/io-uring/restore-ring.ts';
import { findHole, type Range } from '../resources/mm/address-space.ts';
import { checkVdso, readOwnVdso } from '../resources/mm/check-vdso.ts';
import { VDSO_ROOM } from '../resources/mm/restore-vdso.ts';
import { SharedMemory } from '../resources/mm/shared-memory.ts';
import { HostSegments } from '../resources/sysv/restore-segments.ts';
import type { TaskNow } from '../resources/task/restore-thread.ts';
import { supportsTimerIds } from '../resources/timers/posix-timers.ts';
import type { HostTask } from '../tracee/host.ts';
import { killTracee } from '../tracee/stop.ts';
import { StartedStub } from '../tracee/stub.ts';
import { planBirths } from './births.ts';
import { TreeBuilder } from './builder.ts';
import { clockOffsets } from './clocks.ts';
import type { FilesPlan, RestoreContext } from './context.ts';
import { LaterPages } from './later-pages.ts';
import type { RestoreTree } from './restore-tree.ts';
import { letRun, runStages } from './stages.ts';

export interface RestoreOptions {
  /** The root becomes a sibling of criu instead of a child. */
  readonly sibling: boolean;
  /** Told how many bytes of memory are filled. */
  readonly onProgress?: (doneBytes: number) => void;
  /** Prepared; the caller takes them back when the restore fails. */
  readonly cgroups: RestoredCgroups;
  /** For memory that comes after the tasks run: who brings it. */
  readonly filler: Filler | undefined;
  /** Leave the tasks stopped. */
  readonly leaveStopped: boolean;
  /** Called when the root task has its pid and namespaces, and nothing else of it is restored. It may throw. */
  readonly rootExists: () => void;
  /** Called when all is restored and nothing runs yet. When it throws, nothing is left of the tree. */
  readonly beforeResume: () => void;
}

export interface RestoreStatistics {
  readonly pagesCompared: number;
  readonly pagesShared: number;
  readonly pagesWritten: number;
  readonly forkingUs: number;
}

/** Restores the tree; it runs when this returns. Throws CriuError; then no process of it is left. */
export function restoreTree(
  tree: RestoreTree,
  images: ImageDir,
  files: FilesPlan,
  options: RestoreOptions,
  log: Logger,
): RestoreStatistics {
  const { parking, home } = findHome(tree, files);
  using sharedMemory = new SharedMemory(getpid());
  sharedMemory.create(
    tree.tasks.flatMap(({ special }) => special),
    images,
  );
  using segments = new HostSegments(tree, images);
  segments.prepare();
  const { cgroups } = options;
  // It is the same in every process of this kernel.
  const tasks64 = tree.tasks.filter(({ abi }) => abi === ABI_64);
  checkVdso(tasks64, readOwnVdso);
  const births = planBirths(tree);
  const started = monotonicNs();
  using stub = new StartedStub({
    pid: tree.root.pid,
    abi: tree.root.abi,
    sibling: options.sibling,
    home,
    clockOffsets: offsets(images, tree),
  });
  using later = options.filler === undefined ? undefined : new LaterPages(options.filler, log);
  const context: RestoreContext = {
    tree,
    images,
    log,
    onProgress: options.onProgress,
    files,
    sharedMemory,
    segments,
    cgroups,
    later,
    parking,
    home,
    ...births,
    groupHelpers: [],
    zombies: [],
    taskNow: readTaskNow(),
    filters: images.tryReadOne('seccomp'),
  };
  using builder = new TreeBuilder(context);
  let root: HostTask | undefined;
  try {
    root = stub.arrive();
    cgroups.enter(tree.root, runIn(root));
    options.rootExists();
    const tasks = builder.build(root);
    const forkingUs = Math.round((monotonicNs() - started) / 1000);
    later?.begin(tasks);
    stopIfInterrupted();
    const finished = runStages(context, tasks);
    files.seal();
    cgroups.finish();
    options.beforeResume();
    later?.waitUntilReady();
    letRun(context, finished, options.leaveStopped);
    segments.commit();
    cgroups.commit();
    const { compared, shared, written } = builder.statistics;
    return {
      pagesCompared: compared,
      pagesShared: shared,
      pagesWritten: written + sharedMemory.pagesWritten,
      forkingUs,
    };
  } catch (error) {
    if (root !== undefined) killAll([...new Set([root.pid, ...builder.pids])].reverse());
    throw error;
  }
}

/** Runs one program in the root's stub. */
function runIn(root: HostTask) {
  return (plan: (program: Program) => void) => {
    const program = new Program();
    plan(program);
    program.stop();
    root.run(program);
  };
}

/** What new tasks inherit from us. */
export function readTaskNow(): TaskNow {
  const status = parseStatus(readFile('/proc/self/status'));
  const loginuid = tryReadFile('/proc/self/loginuid');
  return {
    creds: {
      status,
      securebits: syscall(SYS.prctl, PR_GET_SECUREBITS),
      lsm: { module: readLsmModule(), labels: readLsmLabels(getpid(), getpid()) },
    },
    rlimits: { limits: parseLimits(readFile('/proc/self/limits')), capEff: status.capEff },
    loginuid: typeof loginuid === 'string' ? parseLoginuid(loginuid) : undefined,
    supportsTimerIds: supportsTimerIds(),
  };
}

/** Kills half-built tasks and waits until they are gone, but for no other child of this process. */
function killAll(pids: readonly number[]): void {
  const tids = pids.flatMap((pid) => {
    const names = tryListDirectory(`/proc/${pid}/task`);
    return typeof names === 'number' ? [] : names.map(Number).filter((tid) => tid !== pid);
  });
  for (const pid of pids) killTracee(pid);
  // Threads that we trace are reported to us, and before their leader.
  for (const tid of [...tids, ...pids]) {
    for (;;) {
      const waited = tryWait(tid);
      if (typeof waited !== 'object' || !WIFSTOPPED(waited.status)) break;
    }
  }
}

export function findHome(
  tree: RestoreTree,
  files: FilesPlan,
): { parking: Range; home: { address: number; bytes: number } } {
  const bytes = homeSize(tree, files);
  // One place for all of them.
  const limit = Math.min(...tree.tasks.map(({ abi }) => abi.taskSize));
  const vmas = tree.tasks.flatMap(({ mm }) => mm.vmas);
  const start = findHole(vmas, VDSO_ROOM + bytes, limit);
  const home = { address: start + VDSO_ROOM, bytes };
  return { parking: { start, end: home.address }, home };
}

/** An upper bound of what the programs of a task take, in bytes. */
function homeSize(tree: RestoreTree, files: FilesPlan): number {
  const sizes = tree.tasks.map((task) => {
    const { pid, mm, threads } = task;
    const kept = 0x20000 + mm.vmas.length * 1024 + threads.length * 8192;
    return kept + files.programBytes(pid) + ringProgramBytes(task, tree);
  });
  return (Math.max(...sizes) + tree.tasks.length * 1024 + 4095) & ~4095;
}

function offsets(images: ImageDir, tree: RestoreTree): string | undefined {
  const root = tree.inventory.root_ids?.time_ns_id;
  const own = tree.root.ids.time_ns_id;
  const entry = images.tryRead('timens', own === undefined || own === root ? 0 : own)?.[0];
  if (entry === undefined) return undefined;
  const { monotonic, boottime } = parseTimensOffsets(readFile('/proc/self/timens_offsets'));
  const ns = ({ sec, nsec }: TimeOffset) => sec * 1_000_000_000n + BigInt(nsec);
  return clockOffsets(entry, { monotonic: ns(monotonic), boottime: ns(boottime) });
}
