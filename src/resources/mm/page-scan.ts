/**
 * Which pages of a task have content of their own: PAGEMAP_SCAN over the whole address space (Linux 6.7,
 * Documentation/admin-guide/mm/pagemap.rst). Private anonymous pages, and private file pages that were written to; not
 * zero pages, not pages of files and shared memory. Guard pages (6.15) come out of the same scan.
 */
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
const REGION_HALVES = 6;
const REGIONS = 4096;
const regions = new Uint32Array(REGIONS * REGION_HALVES);
const HIGH = 2 ** 32;
let knowsGuards = true;

/** A mapping to be scanned. */
export interface ScannedMapping extends Range {
  readonly isShared: boolean;
  /** 0 when there is no file behind it. */
  readonly inode: number;
}

/**
 * Scans the mappings of a stopped task, or those of them that are wanted. Throws SyscallError (ENOTTY: the kernel is older
 * than 6.7).
 */
export function scanPages(pid: number, mappings: readonly ScannedMapping[], isWanted?: IsWanted): ScannedPages {
  const fd = open(`/proc/${pid}/pagemap`, O_RDONLY);
  const result: ScannedPages = { content: [], guards: [] };
  try {
    for (const { hasFiles, ...range } of groupMappings(mappings, isWanted)) {
      scan(fd, range, hasFiles ? PAGE_IS_PFNZERO | PAGE_IS_FILE : PAGE_IS_PFNZERO, result);
    }
    return result;
  } finally {
    close(fd);
  }
}

/** To ask more of so few pages takes less than another call. */
const FEW_BYTES = 16 << 10;

/**
 * Neighbours of one kind as one range, whatever is between them, but for what is not wanted. To ask whether a page is one
 * of a file costs the kernel ten times more than the rest, so mappings without files are not asked, unless they are small.
 * Pure.
 */
export function groupMappings(
  mappings: readonly ScannedMapping[],
  isWanted?: IsWanted,
): (Range & { readonly hasFiles: boolean })[] {
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

function scan(fd: number, { start, end }: Range, unwanted: number, result: ScannedPages): void {
  const arg = new BigUint64Array(PM_SCAN_ARG.bytes / 8);
  const set = (offset: number, value: number) => {
    arg[offset / 8] = BigInt(value);
  };
  const guard = () => (knowsGuards ? PAGE_IS_GUARD : 0);
  set(PM_SCAN_ARG.size, PM_SCAN_ARG.bytes);
  set(PM_SCAN_ARG.end, end);
  set(PM_SCAN_ARG.vec, addressOf(regions));
  set(PM_SCAN_ARG.vec_len, REGIONS);
  set(PM_SCAN_ARG.category_inverted, unwanted);
  set(PM_SCAN_ARG.category_mask, unwanted);
  let from = start;
  while (from < end) {
    set(PM_SCAN_ARG.start, from);
    set(PM_SCAN_ARG.category_anyof_mask, PAGE_IS_PRESENT | PAGE_IS_SWAPPED | guard());
    set(PM_SCAN_ARG.return_mask, guard());
    const count = ioctl(fd, PAGEMAP_SCAN, arg);
    if (count === -ERRNO.EINVAL && knowsGuards) {
      knowsGuards = false; // before Linux 6.16
      continue;
    }
    check('ioctl', count, 'PAGEMAP_SCAN');
    addRegions(result, count);
    // Only a full vector means that there is more: else walk_end may be where the kernel's own buffer was full last.
    if (count < REGIONS) break;
    const walked = Number(arg[PM_SCAN_ARG.walk_end / 8] ?? 0n);
    if (walked <= from) break;
    from = walked;
  }
}

function addRegions({ content, guards }: ScannedPages, count: number): void {
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
