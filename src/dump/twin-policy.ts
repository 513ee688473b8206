/**
 * Which tasks get a copy-on-write twin: big ones, if there is memory for it. While the twin lives, every page that the
 * task writes to is copied by the kernel, so in the worst case the memory of the task is there twice.
 */
import type { Logger } from '../base/log.ts';
import { readFile, tryReadFile } from '../linux/syscalls/fs.ts';
import { parseCgroup } from '../proc/cgroup.ts';
import { Hierarchy } from '../resources/cgroup/hierarchy.ts';
import { isVersion2 } from '../resources/cgroup/properties.ts';
import type { DumpRun } from '../resources/mm/dump-pages.ts';
import type { FrozenTask } from './frozen-tree.ts';

/** To copy less takes no longer than to fork, and to stop the task once more. */
export const TWIN_BYTES_MIN = 8 << 20;

/** A task, and how much a twin could give of it. */
export interface Candidate {
  readonly task: FrozenTask;
  readonly bytes: number;
  /** Asynchronous I/O writes to its memory while it is frozen, so all of it is copied at once. */
  readonly hasAio: boolean;
}

/** What was found out before the tree was stopped: whether there is memory for twins of these tasks. */
export interface KnownRoom {
  readonly pids: ReadonlySet<number>;
  /** Undefined when there is. */
  readonly shortage: string | undefined;
}

/** `big`: by pid, how much memory tasks have. */
export function readRoom(big: ReadonlyMap<number, number>): KnownRoom {
  const pids = new Set(big.keys());
  const wanted = [...big.values()].reduce((sum, bytes) => sum + bytes, 0);
  return { pids, shortage: pids.size === 0 ? undefined : findShortage(wanted, [...pids]) };
}

/** Tasks that are to have a twin. Says in the log when there is too little memory for it. */
export function chooseTwins(
  candidates: readonly Candidate[],
  known: KnownRoom | undefined,
  log: Logger,
): ReadonlySet<FrozenTask> {
  const big = candidates.filter(({ hasAio, bytes }) => !hasAio && bytes >= TWIN_BYTES_MIN);
  const wanted = big.reduce((sum, { bytes }) => sum + bytes, 0);
  const chosen = new Set(big.map(({ task }) => task));
  if (chosen.size === 0) return chosen;
  const pids = big.map(({ task }) => task.pid);
  const isKnown = known !== undefined && pids.every((pid) => known.pids.has(pid));
  const tooLittle = isKnown ? known.shortage : findShortage(wanted, pids);
  if (tooLittle === undefined) return chosen;
  log.info(`no copy-on-write twins, the tree stays frozen longer: ${tooLittle}`);
  return new Set();
}

/** What a twin has of runs of pages. */
export const twinBytes = (runs: readonly DumpRun[]): number =>
  runs.reduce((sum, { start, end, isInTwin }) => (isInTwin ? sum + end - start : sum), 0);

/** Where `bytes` more of memory are not to be had; undefined when they are. */
function findShortage(bytes: number, pids: readonly number[]): string | undefined {
  const available = parseAvailable(readFile('/proc/meminfo'));
  if (available < bytes) return `${bytes} bytes may be needed, ${available} are available`;
  const folders = new Set(pids.map((pid) => tryReadFile(`/proc/${pid}/cgroup`)));
  for (const text of folders) {
    if (typeof text !== 'string') continue;
    for (const { controllers, path } of parseCgroup(text)) {
      if (!isVersion2(controllers) && !controllers.includes('memory')) continue;
      const free = cgroupHeadroom(controllers, path);
      if (free < bytes) return `${bytes} bytes may be needed, cgroup ${path} has room for ${free}`;
    }
  }
  return undefined;
}

/** MemAvailable of /proc/meminfo, in bytes. Pure. */
export function parseAvailable(meminfo: string): number {
  return Number(/^MemAvailable:\s+(\d+) kB$/m.exec(meminfo)?.[1] ?? 0) * 1024;
}

/** What a cgroup and those above it may still take; infinite when that is not limited or can't be read. */
function cgroupHeadroom(controllers: readonly string[], path: string): number {
  const [limit, usage] = isVersion2(controllers)
    ? ['memory.max', 'memory.current']
    : ['memory.limit_in_bytes', 'memory.usage_in_bytes'];
  let hierarchy: Hierarchy;
  try {
    hierarchy = new Hierarchy(controllers, undefined);
  } catch {
    return Number.POSITIVE_INFINITY;
  }
  using _ = hierarchy;
  let least = Number.POSITIVE_INFINITY;
  for (let at = path; at !== '' && at !== '/'; at = at.slice(0, at.lastIndexOf('/'))) {
    const read = (name: string) => tryReadFile(`${hierarchy.root}${at}/${name}`);
    least = Math.min(least, headroom(read(`${limit}`), read(`${usage}`), read('memory.stat')));
  }
  return least;
}

/** One cgroup: its limit, less what it uses, plus file pages that the kernel can drop. Numbers are −errno. Pure. */
export function headroom(limit: string | number, usage: string | number, stat: string | number): number {
  if (typeof limit !== 'string' || typeof usage !== 'string' || limit.trim() === 'max') return Number.POSITIVE_INFINITY;
  const droppable = typeof stat === 'string' ? Number(/^(?:total_)?inactive_file (\d+)$/m.exec(stat)?.[1] ?? 0) : 0;
  return Number(limit) - Number(usage) + droppable;
}
