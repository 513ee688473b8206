/**
 * What a dump finds out about a frozen tree before anything in it is touched: everything that speaks against it, and what is
 * needed to go on.
 */
import { type CriuErrorFields, CriuErrors } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { TaskKobjIdsEntry } from '../image/gen/core.ts';
import { VMA_AREA_AIORING } from '../image/vma-status.ts';
import { type CgroupDumpOptions, DumpedCgroups } from '../resources/cgroup/dump-cgroups.ts';
import { FilesDump } from '../resources/fd/fd-table/collect-files.ts';
import { assignSharedIds, DUMPER_IDS } from '../resources/fd/fd-table/shared-ids.ts';
import type { DumpFilesOptions } from '../resources/fd/file-kind.ts';
import { tellNamespaces } from '../resources/fd/namespace-file/namespace-file.ts';
import { assignRings } from '../resources/fd/ring-mappings.ts';
import { InterruptedCalls } from '../resources/interrupted-call/interrupted-calls.ts';
import { WatchedRings } from '../resources/mm/dump-aio.ts';
import type { DumpRun } from '../resources/mm/dump-pages.ts';
import type { DescribedVma } from '../resources/mm/dump-vmas.ts';
import { ScansAhead } from '../resources/mm/scan-ahead.ts';
import type { DumpedNetns } from '../resources/netns/dump-netns.ts';
import { findStrayThreads } from '../resources/netns/stray-threads.ts';
import { SeccompFilters } from '../resources/seccomp/seccomp.ts';
import { findPendingTraps } from '../resources/signals/signal-queues.ts';
import { DumpedSegments } from '../resources/sysv/dump-segments.ts';
import { readHeldSemaphores } from '../resources/sysv/semaphores.ts';
import type { EarlyMappings } from './early-mappings.ts';
import type { FrozenTask, FrozenTree } from './frozen-tree.ts';
import { canAskTwin, findPages, findSharedGuards, type MappedTask } from './late-pages.ts';
import { MappingsLook } from './mappings-look.ts';
import type { OnProgress, TaskPages } from './memory-dump.ts';
import { NamespaceNumbers } from './namespace-ids.ts';
import { compareLinks } from './task-links.ts';
import { inspectTaskStates, readAuxv } from './task-state.ts';

export interface DumpOptions extends DumpFilesOptions {
  /** Names this dump, and what it leaves on the host. */
  readonly runId: string;
  readonly onProgress?: OnProgress;
  readonly shellJob: boolean;
  readonly cgroups: CgroupDumpOptions;
  /** When the tree has a network namespace of its own, where we are visiting. */
  readonly network?: { readonly ownLink: string; readonly namespace: DumpedNetns } | undefined;
}

/** A living task while it is dumped. */
export interface DumpedTask extends Omit<TaskPages, 'runs'>, MappedTask {
  readonly vmas: DescribedVma[];
  /** Undefined when its twin is to be asked, if it gets one. */
  readonly runs: readonly DumpRun[] | undefined;
  readonly ids: TaskKobjIdsEntry;
  /** Its own memory before the stop, when that was much. */
  readonly bytes: number | undefined;
  readonly hasAio: boolean;
  readonly topTable: bigint | undefined;
  readonly auxv: ReturnType<typeof readAuxv>;
  readonly exe: number;
  readonly cwd: number;
  readonly root: number;
}

/** A tree that can be dumped, as far as it shows from outside. */
export interface InspectedTree extends Disposable {
  readonly dumped: readonly DumpedTask[];
  readonly files: FilesDump;
  readonly namespaces: NamespaceNumbers;
  readonly rings: WatchedRings;
  readonly segments: DumpedSegments;
  readonly cgroups: DumpedCgroups;
}

/** `early`: what was read before the freeze. Throws CriuErrors with every blocker. */
export function inspectTree(
  tree: FrozenTree,
  early: EarlyMappings | undefined,
  options: DumpOptions,
  log: Logger,
): InspectedTree {
  const { network } = options;
  const files = new FilesDump(options, log);
  const namespaces = new NamespaceNumbers(network?.ownLink);
  tellNamespaces(files, (link) => namespaces.numberOf(link));
  const problems: CriuErrorFields[] = [
    ...sessionProblems(tree, options),
    ...findPendingTraps(tree.tasks),
    ...(network?.namespace.problems ?? []),
    ...findStrayThreads(tree.tasks),
  ];
  const dumped = lookAt(tree, early, files, namespaces, problems);
  if (early !== undefined && early.taken > 0)
    log.debug(`${early.taken} task(s) have the mappings that were read before the stop`);
  using stack = new DisposableStack();
  const rings = stack.use(new WatchedRings(dumped));
  const segments = stack.use(new DumpedSegments(dumped, namespaces.own.ipc_ns_id));
  const cgroups = new DumpedCgroups(tree, options.cgroups);
  problems.push(...rings.problems(), ...segments.problems, ...cgroups.problems);
  if (problems.length + files.problems.length > 0) {
    throw new CriuErrors('the process tree cannot be dumped', [...problems, ...files.problems]);
  }
  const held = stack.move();
  return { dumped, files, namespaces, rings, segments, cgroups, [Symbol.dispose]: () => held.dispose() };
}

/**
 * Finds what speaks against a dump, also what only a program inside of the tasks can tell. Throws CriuErrors. The aftermath in the
 * options has to be rolled back.
 */
export function checkDump(tree: FrozenTree, options: DumpOptions, log: Logger): void {
  using inspected = inspectTree(tree, undefined, options, log);
  const { dumped, files, rings } = inspected;
  for (const warning of [...readHeldSemaphores(tree).warnings, ...rings.warnings]) log.warn(warning);
  using calls = new InterruptedCalls(tree);
  inspectTaskStates(dumped, new SeccompFilters(), files, calls, () => undefined);
  rings.settle();
}

/** Reads what can be read from outside, and finds everything that speaks against a dump. */
function lookAt(
  tree: FrozenTree,
  early: EarlyMappings | undefined,
  files: FilesDump,
  namespaces: NamespaceNumbers,
  problems: CriuErrorFields[],
): DumpedTask[] {
  const shared = assignSharedIds(tree);
  problems.push(...sharingProblems(tree, shared));
  const filesIds = new Map([...shared].map(([pid, ids]) => [pid, ids.files_id]));
  using ahead = new ScansAhead();
  const look = new MappingsLook(tree.tasks, early, ahead, files, problems);
  const alike = compareLinks(tree.tasks.map(({ pid }) => pid));
  const looked = tree.tasks.map((task, i) => {
    const namespace = namespaces.identify(task.pid, task.label, alike[i]);
    problems.push(...namespace.problems);
    const exe = files.registerLink(task, 'exe', alike[i]) ?? 0;
    const seen = look.look(task);
    const ids = { ...DUMPER_IDS, ...shared.get(task.pid), ...namespace.ids };
    const hasAio = seen.special.some(({ entry }) => (entry.status & VMA_AREA_AIORING) !== 0);
    const bytes = early?.bytesOf(task);
    return { task, ids, ...seen, bytes, hasAio, auxv: readAuxv(task.pid), exe };
  });
  const later = looked.filter((one) => one.bytes !== undefined && !one.hasAio && canAskTwin(one, looked));
  ahead.tryStartMany(
    looked.flatMap((one) => {
      const { task, mappings } = one;
      return later.includes(one) ? [] : [{ pid: task.pid, residentPages: task.stat.rss, mappings }];
    }),
  );
  files.collect(tree, filesIds);
  for (const { task, special } of looked) problems.push(...assignRings(task, special, files));
  return looked.map((one, i) => ({
    ...one,
    pagesId: i + 1,
    runs: later.includes(one) ? findSharedGuards(one) : findPages(one, ahead),
    cwd: files.registerLink(one.task, 'cwd', alike[i]) ?? 0,
    root: files.registerLink(one.task, 'root', alike[i]) ?? 0,
  }));
}

/** Sessions and groups that lead out of the tree are only possible as a shell job. */
function sessionProblems(tree: FrozenTree, { shellJob }: DumpOptions): CriuErrorFields[] {
  if (shellJob) return [];
  const pids = new Set(tree.members.map(({ pid }) => pid));
  const { pid, sid, pgid, label } = tree.root;
  if (pids.has(sid) && pids.has(pgid)) return [];
  const what = pids.has(sid) ? `process group ${pgid}` : `session ${sid}`;
  return [
    {
      object: label,
      action: `cannot be dumped: its ${what} is not part of the tree`,
      why: `the leader of its session is another process than ${pid}, such as a shell`,
      remedy: 'use --shell-job (on restore too), or start the program with setsid',
    },
  ];
}

/** Memory and signal handlers may be shared by the threads of one task only. */
function sharingProblems(tree: FrozenTree, shared: ReturnType<typeof assignSharedIds>): CriuErrorFields[] {
  const owners = new Map<string, FrozenTask>();
  return tree.tasks.flatMap((task) => {
    const ids = shared.get(task.pid);
    return (['vm_id', 'sighand_id'] as const).flatMap((field) => {
      const key = `${field} ${ids?.[field]}`;
      const owner = owners.get(key);
      owners.set(key, owner ?? task);
      if (owner === undefined) return [];
      const what = field === 'vm_id' ? 'memory (CLONE_VM)' : 'signal handlers (CLONE_SIGHAND)';
      return [{ object: task.label, action: `cannot be dumped: it shares its ${what} with ${owner.label}` }];
    });
  });
}
