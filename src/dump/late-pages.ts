/**
 * Which pages a task has is asked of its twin, when the tree runs on: the kernel walks all page tables for it, 3 ms for a
 * GiB, and for each run of pages there is work of ours. A twin has the page tables of the freeze, but for what a fork
 * leaves out (mm/memory.c, vma_needs_copy(): all that is not private, or has no pages of its own).
 */
import { MAP_DROPPABLE } from '../linux/abi/mman.ts';
import { type Range, TASK_SIZE } from '../resources/mm/address-space.ts';
import { type DumpRun, isForked, isShareable, planRuns } from '../resources/mm/dump-pages.ts';
import { type DescribedVma, guardVmas } from '../resources/mm/dump-vmas.ts';
import { type ScannedMapping, scanPages } from '../resources/mm/page-scan.ts';
import type { ScansAhead } from '../resources/mm/scan-ahead.ts';
import type { FrozenTask } from './frozen-tree.ts';

/** A task and its mappings. */
export interface MappedTask {
  readonly task: FrozenTask;
  readonly mappings: readonly ScannedMapping[];
  /** Guard pages are added to them when they are found. */
  readonly vmas: DescribedVma[];
  readonly special: readonly DescribedVma[];
}

/** Its dumped pages; some of them may be known. */
export function findPages({ task, mappings, vmas }: MappedTask, ahead?: ScansAhead): DumpRun[] {
  const { content, guards } = scanPages(task.pid, mappings, undefined, ahead?.of(task.pid));
  vmas.push(...guardVmas(guards));
  return planRuns(vmas, content);
}

/** To be asked of the stopped task when its pages are to be found later: what no twin can tell, guards in shared mappings. */
export function findSharedGuards({ task, mappings, vmas }: MappedTask): undefined {
  vmas.push(...guardVmas(scanPages(task.pid, mappings, ({ isShared }) => isShared).guards));
}

/** The pages of a task, asked of its twin. */
export function findPagesInTwin({ mappings, vmas }: MappedTask, twin: number): DumpRun[] {
  const { content, guards } = scanPages(twin, mappings, ({ isShared }) => !isShared);
  vmas.push(...guardVmas(guards));
  return planRuns(vmas, content);
}

/**
 * Whether a twin can tell all pages of a task. Not when there are some that it does not have, and not when other tasks have
 * mappings at the same addresses: pages that they share are recognised before there are twins, which share all. Pure.
 */
export function canAskTwin(one: Vmas, all: readonly Vmas[]): boolean {
  const isTold = ({ entry, seen }: DescribedVma) =>
    seen.isShared || isForked(entry) || (entry.flags & MAP_DROPPABLE) !== 0;
  if (!one.special.every(isTold)) return false;
  return all.every((other) => other === one || !doOverlap(shareable(one.vmas), shareable(other.vmas)));
}

type Vmas = Pick<MappedTask, 'vmas' | 'special'>;

const shareable = (vmas: readonly DescribedVma[]): Range[] =>
  vmas.flatMap(({ entry, seen }) => (seen.isShared || !isShareable(entry) || entry.start >= TASK_SIZE ? [] : [entry]));

/** Both in order of address. */
function doOverlap(ranges: readonly Range[], others: readonly Range[]): boolean {
  let next = 0;
  return ranges.some(({ start, end }) => {
    while ((others[next]?.end ?? Number.POSITIVE_INFINITY) <= start) next++;
    return (others[next]?.start ?? Number.POSITIVE_INFINITY) < end;
  });
}
