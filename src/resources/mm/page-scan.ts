/**
 * Which pages of a task have content of their own: PAGEMAP_SCAN over the whole address space (Linux 6.7,
 * Documentation/admin-guide/mm/pagemap.rst). Private anonymous pages, and private file pages that were written to; not
 * zero pages, not pages of files and shared memory. Guard pages (6.15) come out of the same scan.
 */
import { perRun } from '../../base/per-run.ts';
import { ERRNO } from '../../linux/abi/errno.ts';
import { O_RDONLY } from '../../linux/abi/fcntl.ts';
import {
  PAGE_IS_FILE,
  PAGE_IS_GUARD,
  PAGE_IS_PFNZERO,
  PAGE_IS_PRESENT,
  PAGE_IS_SWAPPED,
  PAGEMAP_SCAN,
  PM_SCAN_ARG,
} from '../../linux/abi/pagemap.ts';
import { addressOf, check } from '../../linux/kernel.ts';
import { close, ioctl, open } from '../../linux/syscalls/fs.ts';
import { type Range, TASK_SIZE } from './address-space.ts';

interface WritableRange {
  start: number;
  end: number;
}

type IsWanted = (mapping: ScannedMapping) => boolean;

export interface ScannedPages {
  /** Pages with content, in order of address. */
  readonly content: WritableRange[];
  /** Ranges of guard pages. */
  readonly guards: WritableRange[];
}

/** struct page_region: start, end, categories; as halves, since a bigint for each would be the most expensive part. */
export const REGION_HALVES = 6;
const REGIONS = 4096;
const regions = new Uint32Array(REGIONS * REGION_HALVES);
const HIGH = 2 ** 32;
/** Before Linux 6.16 the kernel knows no category of guard pages. */
const guardPages = perRun(() => ({ areKnown: true }));

/** A mapping to be scanned. */
export interface ScannedMapping extends Range {
  readonly isShared: boolean;
  /** 0 when there is no file behind it. */
  readonly inode: number;
}

/** What has been found in a group of mappings by somebody else. */
export interface FoundRegions {
  /** As the kernel writes them, and how many there are (−errno: none). */
  readonly regions: Uint32Array;
  readonly count: number;
  /** Where to go on when there was no more room; `end` of the group when all is scanned. */
  readonly walkEnd: number;
}

/**
 * Scans the mappings of a stopped task, or those of them that are wanted. `found` may have a part of it for a group. Throws
 * SyscallError (ENOTTY: the kernel is older than 6.7).
 */
export function scanPages(
  pid: number,
  mappings: readonly ScannedMapping[],
  isWanted?: IsWanted,
  found?: (group: MappingGroup) => FoundRegions | undefined,
): ScannedPages {
  const fd = open(`/proc/${pid}/pagemap`, O_RDONLY);
  const result: ScannedPages = { content: [], guards: [] };
  try {
    for (const group of groupMappings(mappings, isWanted)) {
      const part = found?.(group);
      if (part === undefined || part.count < 0) scan(fd, group, group.start, result);
      else {
        addRegions(result, part.regions, part.count);
        scan(fd, group, part.walkEnd, result);
      }
    }
    return result;
  } finally {
    close(fd);
  }
}

export interface MappingGroup extends Range {
  readonly hasFiles: boolean;
}

/** To ask more of so few pages takes less than another call. */
const FEW_BYTES = 16 << 10;

/**
 * Neighbours of one kind as one range, whatever is between them, but for what is not wanted. To ask whether a page is one
 * of a file costs the kernel ten times more than the rest, so mappings without files are not asked, unless they are small.
 * Pure.
 */
export function groupMappings(mappings: readonly ScannedMapping[], isWanted?: IsWanted): MappingGroup[] {
  const groups: (WritableRange & { hasFiles: boolean })[] = [];
  let last: (typeof groups)[number] | undefined;
  for (const mapping of mappings) {
    const { start, end, isShared, inode } = mapping;
    if (start >= TASK_SIZE) continue; // [vsyscall]
    if (isWanted?.(mapping) === false) {
      last = undefined;
      continue;
    }
    const hasFiles = isShared || inode !== 0;
    if (last !== undefined && (last.hasFiles === hasFiles || (last.hasFiles && end - start <= FEW_BYTES))) {
      last.end = end;
    } else {
      last = { start, end, hasFiles };
      groups.push(last);
    }
  }
  return groups;
}

/** struct pm_scan_arg for a group, with room for `room` regions at an address. */
export function scanArgument({ start, end, hasFiles }: MappingGroup, address: number, room: number): BigUint64Array {
  const arg = new BigUint64Array(new ArrayBuffer(PM_SCAN_ARG.bytes));
  const unwanted = BigInt(hasFiles ? PAGE_IS_PFNZERO | PAGE_IS_FILE : PAGE_IS_PFNZERO);
  const guard = guardPages().areKnown ? PAGE_IS_GUARD : 0;
  arg[PM_SCAN_ARG.size / 8] = BigInt(PM_SCAN_ARG.bytes);
  arg[PM_SCAN_ARG.start / 8] = BigInt(start);
  arg[PM_SCAN_ARG.end / 8] = BigInt(end);
  arg[PM_SCAN_ARG.vec / 8] = BigInt(address);
  arg[PM_SCAN_ARG.vec_len / 8] = BigInt(room);
  arg[PM_SCAN_ARG.category_inverted / 8] = unwanted;
  arg[PM_SCAN_ARG.category_mask / 8] = unwanted;
  arg[PM_SCAN_ARG.category_anyof_mask / 8] = BigInt(PAGE_IS_PRESENT | PAGE_IS_SWAPPED | guard);
  arg[PM_SCAN_ARG.return_mask / 8] = BigInt(guard);
  return arg;
}

/**
 * How far a scan has come. Only a full vector means that there is more: else walk_end may be where the kernel's own buffer
 * was full last.
 */
export function walkEnd(arg: BigUint64Array, count: number, room: number, end: number): number {
  return count < room ? end : Number(arg[PM_SCAN_ARG.walk_end / 8] ?? 0n);
}

function scan(fd: number, group: MappingGroup, start: number, result: ScannedPages): void {
  for (let from = start; from < group.end; ) {
    const arg = scanArgument({ ...group, start: from }, addressOf(regions), REGIONS);
    const count = ioctl(fd, PAGEMAP_SCAN, arg);
    if (count === -ERRNO.EINVAL && guardPages().areKnown) {
      guardPages().areKnown = false;
      continue;
    }
    check('ioctl', count, 'PAGEMAP_SCAN');
    addRegions(result, regions, count);
    const walked = walkEnd(arg, count, REGIONS, group.end);
    if (walked <= from) break;
    from = walked;
  }
}

function addRegions({ content, guards }: ScannedPages, regions: Uint32Array, count: number): void {
  let lastList = content;
  let last = content.at(-1);
  for (let at = 0; at < count * REGION_HALVES; at += REGION_HALVES) {
    const start = (regions[at] as number) + (regions[at + 1] as number) * HIGH;
    const end = (regions[at + 2] as number) + (regions[at + 3] as number) * HIGH;
    const list = ((regions[at + 4] as number) & PAGE_IS_GUARD) !== 0 ? guards : content;
    if (list !== lastList) last = list.at(-1);
    if (last !== undefined && last.end === start) last.end = end;
    else {
      last = { start, end };
      list.push(last);
    }
    lastList = list;
  }
}
