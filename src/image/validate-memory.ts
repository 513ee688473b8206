/** Checks of the memory images: mappings that fit into an address space, pages that are there and belong to mappings. */
import type { CriuErrorFields } from '../base/errors.ts';
import type { PagemapEntry } from './gen/pagemap.ts';
import type { VmaEntry } from './gen/vma.ts';
import type { Pagemap } from './image-kinds.ts';
import { PAGE_BYTES, PE_LAZY, PE_PARENT, PE_PRESENT, pagemapEntryFlags, pagemapEntryPages } from './pagemap.ts';
import {
  VMA_ANON_PRIVATE,
  VMA_AREA_AIORING,
  VMA_AREA_GUARD,
  VMA_AREA_SOCKET,
  VMA_AREA_SYSVIPC,
  VMA_AREA_VSYSCALL,
  VMA_FILE_PRIVATE,
  VMA_UNSUPP,
} from './vma-status.ts';

/** End of user addresses on x86-64 with four-level page tables (Documentation/arch/x86/x86_64/mm.rst). */
const ADDRESS_END = 2 ** 47;

/** PROT_READ, PROT_WRITE and PROT_EXEC. */
const PROT_ALL = 7;

/** What the kernel keeps in memory that is mapped, and what a task has for itself. */
const OF_THE_KERNEL = VMA_AREA_AIORING | VMA_AREA_SYSVIPC | VMA_AREA_SOCKET;
const PRIVATE = VMA_FILE_PRIVATE | VMA_ANON_PRIVATE;

interface Range {
  readonly start: number;
  readonly end: number;
}

/** Mappings must be page-aligned, sorted, apart from each other, and below the end of user addresses. */
export function findVmaProblems(object: string, vmas: readonly VmaEntry[]): CriuErrorFields[] {
  const problems: CriuErrorFields[] = [];
  let mappingEnd = 0;
  let guardEnd = 0;
  for (const vma of vmas) {
    const isGuard = (vma.status & VMA_AREA_GUARD) !== 0;
    const problem = vmaProblem(vma, isGuard ? guardEnd : mappingEnd);
    if (problem !== undefined) problems.push({ object, action: `the mapping ${rangeText(vma)} ${problem}` });
    if (isGuard) guardEnd = Math.max(guardEnd, vma.end);
    else mappingEnd = Math.max(mappingEnd, vma.end);
  }
  return problems;
}

function vmaProblem({ start, end, status, prot }: VmaEntry, previousEnd: number): string | undefined {
  if (!isAligned(start) || !isAligned(end)) return 'is not page-aligned';
  if (end <= start) return 'is empty';
  if (start < previousEnd) return `begins before the end of the one before it (${addressText(previousEnd)})`;
  if (end > ADDRESS_END && (status & VMA_AREA_VSYSCALL) === 0) return 'is outside of user addresses';
  if ((prot & ~PROT_ALL) !== 0) return `has unknown protections (0x${prot.toString(16)})`;
  if ((status & OF_THE_KERNEL) !== 0 && (status & PRIVATE) !== 0)
    return 'is marked as shared with the kernel and as private';
  if ((status & VMA_UNSUPP) !== 0) return 'is marked as not supported by the criu that made the image';
  return undefined;
}

export interface PagemapFacts {
  /** Size of the pages image; undefined when there is none. */
  readonly pagesBytes: number | undefined;
  /** Whether there are images of a dump before this one. */
  readonly hasParent: boolean;
  /** The mappings that the pages must lie in; undefined for shared memory, where addresses are offsets. */
  readonly vmas?: readonly VmaEntry[] | undefined;
}

/** Pages must be sorted, lie in mappings, and fill the pages image exactly. */
export function findPagemapProblems(object: string, pagemap: Pagemap, facts: PagemapFacts): CriuErrorFields[] {
  const problems: CriuErrorFields[] = [];
  const areas = facts.vmas === undefined ? undefined : new Areas(joinRanges(facts.vmas));
  let previousEnd = 0;
  let presentBytes = 0;
  for (const entry of pagemap.entries) {
    const range = pagemapRange(entry);
    const problem = pagemapProblem(entry, range, previousEnd, facts.hasParent, areas);
    if (problem !== undefined) problems.push({ object, action: `the run of pages ${rangeText(range)} ${problem}` });
    previousEnd = Math.max(previousEnd, range.end);
    if ((pagemapEntryFlags(entry) & PE_PRESENT) !== 0) presentBytes += range.end - range.start;
  }
  const { pagesBytes = 0 } = facts;
  if (presentBytes !== pagesBytes) {
    const pages = `pages-${pagemap.head.pages_id}.img`;
    const has = facts.pagesBytes === undefined ? 'is not there' : `has ${pagesBytes}`;
    problems.push({ object, action: `${presentBytes} bytes of pages are expected, but ${pages} ${has}` });
  }
  return problems;
}

function pagemapRange(entry: PagemapEntry): Range {
  return { start: entry.vaddr, end: entry.vaddr + pagemapEntryPages(entry) * PAGE_BYTES };
}

function pagemapProblem(
  entry: PagemapEntry,
  range: Range,
  previousEnd: number,
  hasParent: boolean,
  areas: Areas | undefined,
): string | undefined {
  const flags = pagemapEntryFlags(entry);
  if (!isAligned(range.start)) return 'is not page-aligned';
  if (range.end > ADDRESS_END) return 'is outside of user addresses';
  if (range.start < previousEnd) return `begins before the end of the one before it (${addressText(previousEnd)})`;
  if ((flags & ~(PE_PARENT | PE_LAZY | PE_PRESENT)) !== 0) return `has unknown flags (0x${flags.toString(16)})`;
  if ((flags & PE_PARENT) !== 0 && !hasParent) return 'is in the images of the dump before, but there are none';
  if (areas !== undefined && !areas.cover(range)) return 'is not inside of mappings';
  return undefined;
}

/** Mappings that touch become one range: a run of pages may reach over several. Expects them sorted. */
function joinRanges(vmas: readonly VmaEntry[]): Range[] {
  const joined: { start: number; end: number }[] = [];
  for (const { start, end, status } of vmas) {
    if ((status & VMA_AREA_GUARD) !== 0) continue;
    const last = joined[joined.length - 1];
    if (last !== undefined && last.end === start) last.end = end;
    else joined.push({ start, end });
  }
  return joined;
}

/** Finds areas for ranges that come in order of address, each from where the one before was found. */
class Areas {
  readonly #areas: readonly Range[];
  #next = 0;

  constructor(areas: readonly Range[]) {
    this.#areas = areas;
  }

  /** Whether one of them has all of the range. */
  cover(range: Range): boolean {
    while (this.#next < this.#areas.length && (this.#areas[this.#next] as Range).end < range.end) this.#next++;
    const area = this.#areas[this.#next];
    return area !== undefined && area.start <= range.start && range.end <= area.end;
  }
}

function isAligned(address: number): boolean {
  return address % PAGE_BYTES === 0;
}

function rangeText({ start, end }: Range): string {
  return `${addressText(start)}-${addressText(end)}`;
}

function addressText(address: number): string {
  return BigInt(address).toString(16);
}
