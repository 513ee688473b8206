/** Which pages of a task are dumped, and how: runs of pages, and their entries in the pagemap image. Pure. */
import type { PagemapEntry } from '../../image/gen/pagemap.ts';
import { PAGE_BYTES, PE_LAZY, PE_PARENT, PE_PRESENT } from '../../image/pagemap.ts';
import {
  VMA_ANON_PRIVATE,
  VMA_AREA_AIORING,
  VMA_AREA_SOCKET,
  VMA_AREA_VDSO,
  VMA_AREA_VVAR,
} from '../../image/vma-status.ts';
import { MADV_DONTFORK, MADV_WIPEONFORK, MAP_DROPPABLE, MAP_HUGETLB, MAP_LOCKED } from '../../linux/abi/mman.ts';
import type { Range } from './address-space.ts';
import type { DescribedVma } from './dump-vmas.ts';

/** A run of pages to be copied, and whether they may come later in a lazy restore. */
export interface DumpRun extends Range {
  readonly isLazy: boolean;
  /** Only /proc/PID/mem may read it. */
  readonly isProtected: boolean;
  /** A fork of the task has these pages as they were. */
  readonly isInTwin: boolean;
  /** Other tasks may have the same pages copy-on-write. */
  readonly isShareable: boolean;
  /** They do: it is written to the base of the tree (shared-pages.ts), and here only referred to. */
  readonly isInBase: boolean;
}

/** A run of pages that are nothing but there. */
export function plainRun({ start, end }: Range): DumpRun {
  return { start, end, isLazy: false, isProtected: false, isInTwin: false, isShareable: false, isInBase: false };
}

const PROT_READ_BIT = 1;
const NOT_FORKED = [MADV_DONTFORK, MADV_WIPEONFORK].reduce((bits, advice) => bits | (1n << BigInt(advice)), 0n);

/**
 * Whether a fork has the pages of a private mapping. Not what it leaves out, and not huge pages of hugetlbfs, which the
 * kernel takes from the child when its pool is empty (mm/hugetlb.c, unmap_ref_private()).
 */
export function isForked({ madv, flags }: DescribedVma['entry']): boolean {
  return (madv === undefined || (madv & NOT_FORKED) === 0n) && (flags & MAP_HUGETLB) === 0;
}

/** Whether other tasks may have pages of a private mapping copy-on-write. */
export const isShareable = ({ flags }: DescribedVma['entry']): boolean => (flags & MAP_HUGETLB) === 0;

type RunKind = Omit<DumpRun, 'start' | 'end'>;

function kindOfRuns(entry: DescribedVma['entry']): RunKind {
  return {
    isLazy: (entry.status & VMA_ANON_PRIVATE) !== 0 && (entry.flags & (MAP_LOCKED | MAP_HUGETLB)) === 0,
    isProtected: (entry.prot & PROT_READ_BIT) === 0,
    isInTwin: isForked(entry),
    isShareable: isShareable(entry),
    isInBase: false,
  };
}

/** The scanned pages that lie in dumpable private mappings, cut at the mappings' borders. */
export function planRuns(vmas: readonly DescribedVma[], content: readonly Range[]): DumpRun[] {
  const runs: DumpRun[] = [];
  let next = 0;
  for (const { entry } of vmas) {
    if ((entry.status & (VMA_AREA_VDSO | VMA_AREA_AIORING)) !== 0) {
      runs.push({ ...plainRun(entry), isInTwin: (entry.status & VMA_AREA_VDSO) !== 0 });
      continue;
    }
    if ((entry.status & (VMA_AREA_VVAR | VMA_AREA_SOCKET)) !== 0 || (entry.flags & MAP_DROPPABLE) !== 0) continue;
    let kind: RunKind | undefined;
    for (; next < content.length; next++) {
      const range = content[next];
      if (range === undefined || range.start >= entry.end) break;
      const start = Math.max(range.start, entry.start);
      const end = Math.min(range.end, entry.end);
      if (start < end) {
        kind ??= kindOfRuns(entry);
        const { isLazy, isProtected, isInTwin, isShareable, isInBase } = kind;
        runs.push({ start, end, isLazy, isProtected, isInTwin, isShareable, isInBase });
      }
      if (range.end > entry.end) break;
    }
  }
  return runs;
}

/** pagemap entries of runs; adjacent runs of one kind become one entry. */
export function pagemapEntries(runs: readonly DumpRun[]): PagemapEntry[] {
  const entries: PagemapEntry[] = [];
  for (const { start, end, isLazy, isInBase } of runs) {
    const flags = isInBase ? PE_PARENT : isLazy ? PE_PRESENT | PE_LAZY : PE_PRESENT;
    const last = entries.at(-1);
    const pages = (end - start) / PAGE_BYTES;
    if (last !== undefined && last.flags === flags && last.vaddr + (last.nr_pages ?? 0) * PAGE_BYTES === start) {
      last.nr_pages = (last.nr_pages ?? 0) + pages;
    } else {
      entries.push({ vaddr: start, compat_nr_pages: 0, flags, nr_pages: pages });
    }
  }
  return entries;
}
