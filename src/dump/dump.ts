/**
 * Dump: freeze → look → refuse, or ask inside → copy memory → write images → kill or let go. With --leave-running big
 * tasks are let go before their memory is copied: twins.ts.
 *
 * Until the last image is written the tree can go on as if nothing had happened, and does so when anything fails. The
 * inventory is written last, and that of an older dump in the folder is removed first: without it a folder is no checkpoint.
 */
import type { Logger } from '../base/log.ts';
import { Lsmtype } from '../image/gen/inventory.ts';
import type { TimensEntry } from '../image/gen/timens.ts';
import type { ImageDir } from '../image/image-dir.ts';
import { IMAGES_V1_1 } from '../image/image-kinds.ts';
import { CLOCK_BOOTTIME, CLOCK_MONOTONIC } from '../linux/abi/time.ts';
import { readClock } from '../linux/clock.ts';
import { stopIfInterrupted } from '../linux/interrupts.ts';
import { OWN_SET } from '../resources/cgroup/cgroup-sets.ts';
import { readLsmModule } from '../resources/creds/lsm.ts';
import type { FilesDump } from '../resources/fd/fd-table/collect-files.ts';
import { DUMPER_IDS } from '../resources/fd/fd-table/shared-ids.ts';
import { memfdInodes } from '../resources/fd/memfd/memfd-inodes.ts';
import { InterruptedCalls } from '../resources/interrupted-call/interrupted-calls.ts';
import type { MemoryObject } from '../resources/mm/dump-shared.ts';
import type { SharedPages } from '../resources/mm/shared-pages.ts';
import { NETWORK_LOCK_IPTABLES, NETWORK_LOCK_NFTABLES, NETWORK_LOCK_SKIP } from '../resources/network-lock/methods.ts';
import { SeccompFilters } from '../resources/seccomp/seccomp.ts';
import type { DumpedSegments } from '../resources/sysv/dump-segments.ts';
import { readHeldSemaphores } from '../resources/sysv/semaphores.ts';
import { clocksAhead } from '../resources/timers/task-clocks.ts';
import { findBase, splitBase } from './base-pages.ts';
import type { EarlyMappings } from './early-mappings.ts';
import type { FrozenTask, FrozenTree } from './frozen-tree.ts';
import { type DumpedTask, type DumpOptions, inspectTree } from './inspect-tree.ts';
import { findPages, findPagesInTwin } from './late-pages.ts';
import { type DumpStatistics, MemoryDump } from './memory-dump.ts';
import type { NamespaceNumbers } from './namespace-ids.ts';
import { writeTaskImages } from './task-images.ts';
import { inspectTaskStates } from './task-state.ts';
import { type Candidate, chooseTwins, twinBytes } from './twin-policy.ts';
import type { Twins } from './twins.ts';

/** Values of lsmtype in the inventory. */
const LSM_TYPES = { none: Lsmtype.NO_LSM, selinux: Lsmtype.SELINUX, apparmor: Lsmtype.APPARMOR } as const;

/** A dump for which the tree need not be frozen any more. */
export interface TakenDump {
  readonly statistics: DumpStatistics;
  /** Copies what is left of the memory (from twins), and writes the images that make the dump complete. */
  complete(): void;
}

/**
 * Takes all that is needed of a frozen tree. Throws CriuErrors with every blocker before anything in the tree is touched.
 * With `twins` big tasks get a copy-on-write twin; without, or when there can't be one, all memory is copied at once.
 * `early`: what was read before the freeze. When the tree goes on, also after an error, the aftermath in the options has to
 * be rolled back, and else handed over.
 */
export function dumpTree(
  tree: FrozenTree,
  images: ImageDir,
  twins: Twins | undefined,
  early: EarlyMappings | undefined,
  options: DumpOptions,
  log: Logger,
): TakenDump {
  using inspected = inspectTree(tree, early, options, log);
  const { dumped, files, namespaces, rings, segments, cgroups } = inspected;
  const { network } = options;
  images.removeInventory();
  const semaphores = readHeldSemaphores(tree);
  for (const warning of [...semaphores.warnings, ...rings.warnings]) log.warn(warning);
  const cgroupImage = cgroups.describe();
  const filters = new SeccompFilters();
  using calls = new InterruptedCalls(tree);
  const base = findBase(dumped, images, log);
  const pages = dumped.map((one) => ({ ...one, runs: base?.runs.get(one.task.pid) ?? one.runs }));
  const withTwin =
    twins === undefined ? new Set() : chooseTwins(twinCandidates(pages, base?.base ?? []), early?.room, log);
  twins?.expect(tree);
  const twinsOf = (task: FrozenTask) => (withTwin.has(task) ? twins : undefined);
  const states = inspectTaskStates(dumped, filters, files, calls, twinsOf);
  rings.settle();
  const isLate = ({ task, runs }: DumpedTask) => runs === undefined && twins?.of(task.pid) !== undefined;
  const late = pages.filter(isLate);
  if (late.length > 0) log.debug(`${late.length} task(s) have pages that are looked for when they run`);
  const memory = new MemoryDump(images, twins, options.onProgress);
  const now = pages.filter((one) => !isLate(one));
  const writeTasks = () => writeTaskImages({ tree, dumped, states, rings, semaphores, cgroups }, images, log);
  // A tree that runs on does not wait for that.
  const runsOn = twins !== undefined;
  memory.take(
    now.map((one) => ({ ...one, runs: one.runs ?? findPages(one) })),
    base,
    runsOn ? undefined : writeTasks,
  );
  memory.takeShared(sharedObjects(files, segments), pages.length + 1);
  rings.check();
  log.debug(twins === undefined || twins.size === 0 ? 'memory is copied' : `${twins.size} task(s) have twins`);
  stopIfInterrupted();
  files.writeContents(images);
  const timeNs = dumped[0]?.ids.time_ns_id;
  const isOwnTime = timeNs === namespaces.own.time_ns_id;
  const clocks = isOwnTime ? readClocks() : readClocks(tree.root.pid);
  const { entries: segmentEntries } = segments;
  // Nothing in here looks at the tree, which may run on.
  const complete = () => {
    const found = late.map((one) => ({ ...one, runs: findPagesInTwin(one, twins?.of(one.task.pid) ?? -1) }));
    const split = base === undefined ? splitBase(found, images, log) : undefined;
    memory.take(
      found.map((one) => ({ ...one, runs: split?.runs.get(one.task.pid) ?? one.runs })),
      split,
    );
    memory.complete();
    if (runsOn) writeTasks();
    files.write(images);
    if (segmentEntries.length > 0) {
      const messages = segmentEntries.map((message) => ({ message, payload: new Uint8Array(0) }));
      images.write('ipcns-shm', namespaces.own.ipc_ns_id ?? 0, messages);
    }
    network?.namespace.write(images, dumped[0]?.ids.net_ns_id ?? 0);
    if (cgroupImage !== undefined) images.write('cgroup', undefined, [cgroupImage]);
    images.write('seccomp', undefined, [filters.entry]);
    images.write('timens', isOwnTime ? 0 : (timeNs ?? 0), [clocks]);
    writePstree(tree, images);
    images.removeOlder();
    stopIfInterrupted();
    writeInventory(images, namespaces, options);
  };
  return { statistics: memory.statistics, complete };
}

/** What is copied from each task: its own pages, and those of the base that it is to give. */
function twinCandidates(pages: readonly DumpedTask[], base: SharedPages['base']): Candidate[] {
  return pages.map(({ task, runs, hasAio, bytes = 0 }) => ({
    task,
    hasAio,
    bytes:
      runs === undefined
        ? bytes
        : twinBytes(runs.filter(({ isInBase }) => !isInBase)) + twinBytes(base.filter(({ pid }) => pid === task.pid)),
  }));
}

function writeInventory(images: ImageDir, namespaces: NamespaceNumbers, options: DumpOptions): void {
  images.write('inventory', undefined, [
    {
      img_version: IMAGES_V1_1,
      fdinfo_per_id: true,
      root_ids: { ...DUMPER_IDS, ...namespaces.own },
      ns_per_id: true,
      root_cg_set: OWN_SET,
      lsmtype: LSM_TYPES[readLsmModule()],
      network_lock_method: lockMethod(options),
      plugins_entry: { plugins: [] },
      has_empty_images_ext: true,
      dump_criu_run_id: options.runId,
    },
  ]);
}

/** network_lock_method of the inventory: what a restore, ours or CRIU's, has to undo. */
function lockMethod({ networkLock }: DumpOptions): number {
  if (networkLock === undefined) return NETWORK_LOCK_SKIP;
  return typeof networkLock === 'object' && networkLock.isUsed ? NETWORK_LOCK_NFTABLES : NETWORK_LOCK_IPTABLES;
}

/** All memory that is written once for the tree, with numbers of its own. */
function sharedObjects(files: FilesDump, segments: DumpedSegments): MemoryObject[] {
  const inodes = memfdInodes(files);
  inodes.avoid(segments.ids);
  return [...inodes.objects, ...segments.objects];
}

/** CLOCK_MONOTONIC and CLOCK_BOOTTIME as the frozen tree sees them. `pid`: of one of its tasks, if it has clocks of its own. */
function readClocks(pid?: number): TimensEntry {
  const clock = (id: number, offset = 0n) => {
    const now = readClock(id) + offset;
    return { tv_sec: Number(now / 1_000_000_000n), tv_nsec: Number(now % 1_000_000_000n) };
  };
  const offsets = pid === undefined ? undefined : clocksAhead(pid);
  return { monotonic: clock(CLOCK_MONOTONIC, offsets?.monotonic), boottime: clock(CLOCK_BOOTTIME, offsets?.boottime) };
}

function writePstree(tree: FrozenTree, images: ImageDir): void {
  images.write(
    'pstree',
    undefined,
    tree.members.map((member) => ({
      pid: member.pid,
      ppid: member === tree.root ? 0 : member.ppid,
      pgid: member.pgid,
      sid: member.sid,
      threads: member.kind === 'task' ? member.threads.map(({ tid }) => tid) : [member.pid],
    })),
  );
}
