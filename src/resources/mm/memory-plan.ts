/**
 * What happens to the private memory of one task: which mappings it keeps from its parent, which are made anew, which
 * inherited pages are dropped and which pages are written. Pure, but for the comparison of pages, which is passed in.
 */
import type { VmaEntry } from '../../image/gen/vma.ts';
import { PAGE_BYTES as PAGE } from '../../image/pagemap.ts';
import { VMA_ANON_PRIVATE, VMA_AREA_VDSO, VMA_AREA_VVAR, VMA_FILE_PRIVATE } from '../../image/vma-status.ts';
import type { Range } from './address-space.ts';
import type { PageRun } from './pages-image.ts';
import { isInherited, ordinaryVmas } from './restore-vmas.ts';

/** The memory of a task that its children inherit. */
export interface TaskMemory {
  readonly vmas: readonly VmaEntry[];
  readonly runs: readonly PageRun[];
}

/** The same of a parent, in whose mappings content has been put. */
export interface ParentMemory extends TaskMemory {
  /** Its mappings that have PROT_WRITE for now; children inherit that. */
  readonly writable: ReadonlySet<VmaEntry>;
}

/** True when the bytes of two pages, by offset in the pages files of child and parent, are equal. */
export type PagesEqual = (childOffset: number, parentOffset: number) => boolean;

export interface MemoryPlan {
  /** Mappings taken over from the parent. */
  readonly inherited: ReadonlySet<VmaEntry>;
  /** Mappings to be made, in order of address. */
  readonly fresh: readonly VmaEntry[];
  /** Mappings that have PROT_WRITE until their content is there: new ones, and those the parent has so. */
  readonly writable: ReadonlySet<VmaEntry>;
  /** Pages of inherited mappings that the child does not have. */
  readonly drop: readonly Range[];
  /** Pages to write into fresh mappings. */
  readonly write: readonly PageRun[];
  /** Pages to write over inherited ones: with force, since the mapping may be read-only. */
  readonly overwrite: readonly PageRun[];
}

const PROT_WRITE = 2;
const isPrivate = (vma: VmaEntry) => (vma.status & (VMA_ANON_PRIVATE | VMA_FILE_PRIVATE)) !== 0;

export function planMemory(child: TaskMemory, parent: ParentMemory | undefined, equal: PagesEqual): MemoryPlan {
  const ordinary = ordinaryVmas(child.vmas);
  const parents = new Map((parent === undefined ? [] : ordinaryVmas(parent.vmas)).map((vma) => [vma.start, vma]));
  const inherited = new Set(ordinary.filter((vma) => isInherited(vma, parents.get(vma.start))));
  const fresh = ordinary.filter((vma) => !inherited.has(vma));
  const write: PageRun[] = [];
  const overwrite: PageRun[] = [];
  const drop: Range[] = [];
  const writable = new Set<VmaEntry>();
  const own = new Cursor(child.runs);
  const theirs = new Cursor(parent?.runs ?? []);
  for (const vma of child.vmas) {
    if (!isPrivate(vma) || (vma.status & (VMA_AREA_VDSO | VMA_AREA_VVAR)) !== 0) continue;
    const runs = own.within(vma);
    if (inherited.has(vma)) {
      const theirVma = parents.get(vma.start);
      if (theirVma !== undefined && parent?.writable.has(theirVma)) writable.add(vma);
      mergePages(runs, theirs.within(vma), equal, overwrite, drop);
    } else if (runs.length > 0) {
      for (const run of runs) write.push(run);
      if ((vma.prot & PROT_WRITE) === 0) writable.add(vma);
    }
  }
  return { inherited, fresh, writable, drop, write, overwrite };
}

/** Walks page runs in order of address, giving the parts that lie in a mapping. */
class Cursor {
  readonly #runs: readonly PageRun[];
  #next = 0;

  constructor(runs: readonly PageRun[]) {
    this.#runs = runs;
  }

  within({ start, end }: Range): PageRun[] {
    const parts: PageRun[] = [];
    for (;;) {
      const run = this.#runs[this.#next];
      if (run === undefined || run.address >= end) return parts;
      const runEnd = run.address + run.bytes;
      const from = Math.max(run.address, start);
      const to = Math.min(runEnd, end);
      if (from < to) parts.push({ address: from, bytes: to - from, offset: run.offset + from - run.address });
      if (runEnd > end) return parts;
      this.#next++;
    }
  }
}

/** Page by page: equal pages stay shared, others are overwritten, pages only the parent has are dropped. */
function mergePages(
  own: readonly PageRun[],
  theirs: readonly PageRun[],
  equal: PagesEqual,
  overwrite: PageRun[],
  drop: Range[],
): void {
  const inherited = new Map<number, number>();
  for (const run of theirs) {
    for (let at = 0; at < run.bytes; at += PAGE) inherited.set(run.address + at, run.offset + at);
  }
  for (const run of own) {
    for (let at = 0; at < run.bytes; at += PAGE) {
      const address = run.address + at;
      const theirOffset = inherited.get(address);
      inherited.delete(address);
      if (theirOffset !== undefined && equal(run.offset + at, theirOffset)) continue;
      appendPage(overwrite, { address, bytes: PAGE, offset: run.offset + at });
    }
  }
  for (const address of inherited.keys()) {
    const last = drop.at(-1);
    if (last?.end === address) drop[drop.length - 1] = { start: last.start, end: address + PAGE };
    else drop.push({ start: address, end: address + PAGE });
  }
}

function appendPage(runs: PageRun[], page: PageRun): void {
  const last = runs.at(-1);
  if (last !== undefined && last.address + last.bytes === page.address && last.offset + last.bytes === page.offset) {
    runs[runs.length - 1] = { ...last, bytes: last.bytes + page.bytes };
  } else runs.push(page);
}
