/**
 * Which memory of a task may come after it runs already, through a userfaultfd: big private mappings that nobody inherits.
 * The rest is there from the start. Pure.
 *
 * From the start: what the kernel gives to no userfaultfd (files, droppable memory), what is not to be touched later
 * (locked, sealed, huge pages of hugetlbfs), what a fork treats in its own way (MADV_DONTFORK, MADV_WIPEONFORK: the
 * messages say nothing about it), code, mappings that children of the tree get by fork and share, and pages that are used
 * at once.
 */
import { lowerBound } from '../base/sorted.ts';
import type { CoreEntry } from '../image/gen/core.ts';
import type { VmaEntry } from '../image/gen/vma.ts';
import { PAGE_BYTES } from '../image/pagemap.ts';
import { VMA_ANON_PRIVATE, VMA_AREA_HEAP, VMA_AREA_REGULAR, VMA_AREA_STACK } from '../image/vma-status.ts';
import {
  MADV_DONTFORK,
  MADV_WIPEONFORK,
  MAP_DROPPABLE,
  MAP_HUGETLB,
  MAP_LOCKED,
  PROT_EXEC,
} from '../linux/abi/mman.ts';
import type { Range } from '../resources/mm/address-space.ts';
import type { PageRun } from '../resources/mm/pages-image.ts';
import { isInherited } from '../resources/mm/restore-vmas.ts';
import { pageOf } from './pending-pages.ts';

/** What comes later: runs of pages, and the mappings that they are in. */
export interface LaterMemory {
  readonly ranges: readonly Range[];
  readonly runs: readonly PageRun[];
}

/** Less of a mapping is not worth a message. */
const LATER_BYTES_MIN = 256 << 10;
const FORK_ADVICE = (1n << BigInt(MADV_DONTFORK)) | (1n << BigInt(MADV_WIPEONFORK));

/**
 * Sorts pages that are to be written: `now`, and later. `runs` are in order of address, each in one mapping; `children`
 * are the mappings of tasks that are forked from this one; `wanted` are pages that are needed at once, in order.
 */
export function chooseLater(
  vmas: readonly VmaEntry[],
  children: readonly (readonly VmaEntry[])[],
  runs: readonly PageRun[],
  wanted: readonly number[],
): { now: PageRun[]; later: LaterMemory } {
  const inherited = inheritedStarts(vmas, children);
  const now: PageRun[] = [];
  const ranges: Range[] = [];
  const later: PageRun[] = [];
  let next = 0;
  for (const vma of vmas) {
    const first = next;
    let bytes = 0;
    for (let run = runs[next]; run !== undefined && run.address < vma.end; run = runs[++next]) bytes += run.bytes;
    const own = runs.slice(first, next);
    if (bytes < LATER_BYTES_MIN || !mayComeLater(vma) || inherited.has(vma.start)) {
      for (const run of own) now.push(run);
      continue;
    }
    ranges.push({ start: vma.start, end: vma.end });
    for (const run of own) divide(run, wanted, now, later);
  }
  return { now, later: { ranges, runs: later } };
}

const PLAIN = VMA_AREA_REGULAR | VMA_ANON_PRIVATE;

function mayComeLater({ status, flags, prot, madv, sealed_ext }: VmaEntry): boolean {
  return (
    (status & ~(VMA_AREA_HEAP | VMA_AREA_STACK)) === PLAIN &&
    (flags & (MAP_HUGETLB | MAP_LOCKED | MAP_DROPPABLE)) === 0 &&
    (prot & PROT_EXEC) === 0 &&
    ((madv ?? 0n) & FORK_ADVICE) === 0n &&
    sealed_ext !== true
  );
}

/** Mappings that a child keeps: their pages are shared copy-on-write, so they must be there before the fork. */
function inheritedStarts(vmas: readonly VmaEntry[], children: readonly (readonly VmaEntry[])[]): ReadonlySet<number> {
  const inherited = new Set<number>();
  if (children.length === 0) return inherited;
  const own = new Map(vmas.map((vma) => [vma.start, vma]));
  for (const theirs of children) {
    for (const vma of theirs) if (isInherited(vma, own.get(vma.start))) inherited.add(vma.start);
  }
  return inherited;
}

/** Cuts the wanted pages out of a run. */
function divide(run: PageRun, wanted: readonly number[], now: PageRun[], later: PageRun[]): void {
  const end = run.address + run.bytes;
  let from = run.address;
  for (let i = lowerBound(wanted, from); i < wanted.length; i++) {
    const page = wanted[i] ?? end;
    if (page >= end) break;
    if (page > from) later.push(part(run, from, page));
    now.push(part(run, page, page + PAGE_BYTES));
    from = page + PAGE_BYTES;
  }
  if (from < end) later.push(part(run, from, end));
}

const part = ({ address, file, offset }: PageRun, start: number, end: number): PageRun => ({
  address: start,
  bytes: end - start,
  file,
  offset: offset + start - address,
});

/**
 * Pages that the restore itself or the first instructions of a thread touch: the kernel writes to the rseq area, and most
 * programs use their stack and thread-local storage at once. In order of address.
 */
export function pagesWantedAtOnce(cores: readonly CoreEntry[]): number[] {
  const pages = new Set<number>();
  const add = (address: number | bigint | undefined) => {
    if (address !== undefined && address !== 0n) pages.add(pageOf(Number(address)));
  };
  for (const { thread_core, thread_info } of cores) {
    add(thread_core?.rseq_entry?.rseq_abi_pointer);
    add(thread_core?.futex_rla);
    add(thread_info?.clear_tid_addr);
    add(thread_info?.gpregs.sp);
    add(thread_info?.gpregs.fs_base);
  }
  return [...pages].sort((a, b) => a - b);
}
