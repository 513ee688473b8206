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

/** True when the bytes of a page of the child and of one of the parent are equal. */
export type PagesEqual = (child: PageRun, parent: PageRun) => boolean;

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
  /** How many pages stay shared with the parent. */
  readonly sharedPages: number;
}

const PROT_WRITE = 2;
const isPrivate = (vma: VmaEntry) => (vma.status & (VMA_ANON_PRIVATE | VMA_FILE_PRIVATE)) !== 0;

export function planMemory(child: TaskMemory, parent: ParentMemory | undefined, equal: PagesEqual): MemoryPlan {
  const ordinary = ordinaryOf(child.vmas);
  const parents = parent === undefined ? undefined : ordinaryOf(parent.vmas);
  const isNew = parents === undefined || parents.vmas.length === 0;
  const inherited = inheritedOf(ordinary, isNew ? undefined : parents);
  const fresh = isNew ? ordinary.vmas : ordinary.vmas.filter((vma) => !inherited.has(vma));
  const write: PageRun[] = [];
  const overwrite: PageRun[] = [];
  const drop: Range[] = [];
  let sharedPages = 0;
  const writable = new Set<VmaEntry>();
  const own = new Cursor(child.runs);
  const theirs = new Cursor(parent?.runs ?? []);
  for (const vma of child.vmas) {
    // Of thousands, many have no pages.
    if (isNew && own.address >= vma.end) continue;
    if (!isPrivate(vma) || (vma.status & (VMA_AREA_VDSO | VMA_AREA_VVAR)) !== 0) continue;
    if (!isNew && inherited.has(vma)) {
      const theirVma = parents.byStart.get(vma.start);
      if (theirVma !== undefined && parent?.writable.has(theirVma)) writable.add(vma);
      sharedPages += mergePages(own.within(vma), theirs.within(vma), equal, overwrite, drop);
    } else if (own.moveWithin(vma, write) && (vma.prot & PROT_WRITE) === 0) writable.add(vma);
  }
  return { inherited, fresh, writable, drop, write, overwrite, sharedPages };
}

/** The mappings that are made with mmap, and what only a task with children or a parent needs of them. */
class Ordinary {
  readonly vmas: readonly VmaEntry[];
  #byStart: ReadonlyMap<number, VmaEntry> | undefined = undefined;
  #all: ReadonlySet<VmaEntry> | undefined = undefined;

  constructor(list: readonly VmaEntry[]) {
    this.vmas = ordinaryVmas(list);
  }

  get byStart(): ReadonlyMap<number, VmaEntry> {
    this.#byStart ??= new Map(this.vmas.map((vma) => [vma.start, vma]));
    return this.#byStart;
  }

  get all(): ReadonlySet<VmaEntry> {
    this.#all ??= new Set(this.vmas);
    return this.#all;
  }
}

/** Forked tasks have the same list, for their images are the same. */
const known = new WeakMap<readonly VmaEntry[], Ordinary>();

function ordinaryOf(list: readonly VmaEntry[]): Ordinary {
  let ordinary = known.get(list);
  if (ordinary === undefined) {
    ordinary = new Ordinary(list);
    known.set(list, ordinary);
  }
  return ordinary;
}

function inheritedOf(own: Ordinary, parents: Ordinary | undefined): ReadonlySet<VmaEntry> {
  if (own === parents) return own.all;
  if (parents === undefined) return new Set();
  return new Set(own.vmas.filter((vma) => isInherited(vma, parents.byStart.get(vma.start))));
}

/** Walks page runs in order of address, giving the parts that lie in a mapping. */
class Cursor {
  readonly #runs: readonly PageRun[];
  #next = 0;
  /** Of the next run. */
  address: number;

  constructor(runs: readonly PageRun[]) {
    this.#runs = runs;
    this.address = runs[0]?.address ?? Number.POSITIVE_INFINITY;
  }

  within(range: Range): PageRun[] {
    const parts: PageRun[] = [];
    this.moveWithin(range, parts);
    return parts;
  }

  /** Appends the parts to a list; true when there are any. */
  moveWithin({ start, end }: Range, parts: PageRun[]): boolean {
    const before = parts.length;
    for (;;) {
      const run = this.#runs[this.#next];
      if (run === undefined || run.address >= end) break;
      const runEnd = run.address + run.bytes;
      if (run.address >= start && runEnd <= end) parts.push(run);
      else {
        const from = Math.max(run.address, start);
        const to = Math.min(runEnd, end);
        if (from < to) parts.push(part(run, from, to));
      }
      if (runEnd > end) break;
      this.#next++;
    }
    this.address = this.#runs[this.#next]?.address ?? Number.POSITIVE_INFINITY;
    return parts.length > before;
  }
}

/**
 * Pages that both have from the same place of an image stay shared, and so do others that are equal; what differs is
 * overwritten, and pages only the parent has are dropped. Returns how many stay shared.
 */
function mergePages(
  own: readonly PageRun[],
  theirs: readonly PageRun[],
  equal: PagesEqual,
  overwrite: PageRun[],
  drop: Range[],
): number {
  let shared = 0;
  let at = 0;
  for (let [i, k] = [0, 0]; ; ) {
    const mine = own[i];
    const their = theirs[k];
    if (mine === undefined && their === undefined) return shared;
    at = Math.max(at, Math.min(mine?.address ?? Number.POSITIVE_INFINITY, their?.address ?? Number.POSITIVE_INFINITY));
    const isMine = mine !== undefined && mine.address <= at;
    const isTheirs = their !== undefined && their.address <= at;
    const end = Math.min(
      mine === undefined ? Number.POSITIVE_INFINITY : isMine ? mine.address + mine.bytes : mine.address,
      their === undefined ? Number.POSITIVE_INFINITY : isTheirs ? their.address + their.bytes : their.address,
    );
    if (isMine && isTheirs) shared += mergeSame(part(mine, at, end), part(their, at, end), equal, overwrite);
    else if (isMine) appendRun(overwrite, part(mine, at, end));
    else appendRange(drop, { start: at, end });
    at = end;
    if (isMine && mine.address + mine.bytes === end) i++;
    if (isTheirs && their.address + their.bytes === end) k++;
  }
}

/** The same addresses in both. */
function mergeSame(own: PageRun, theirs: PageRun, equal: PagesEqual, overwrite: PageRun[]): number {
  if (own.file === theirs.file && own.offset === theirs.offset) return own.bytes / PAGE;
  let shared = 0;
  for (let at = own.address; at < own.address + own.bytes; at += PAGE) {
    const page = part(own, at, at + PAGE);
    if (equal(page, part(theirs, at, at + PAGE))) shared++;
    else appendRun(overwrite, page);
  }
  return shared;
}

const part = ({ address, file, offset }: PageRun, start: number, end: number): PageRun => ({
  address: start,
  bytes: end - start,
  file,
  offset: offset + start - address,
});

function appendRun(runs: PageRun[], run: PageRun): void {
  const last = runs.at(-1);
  const follows = last !== undefined && last.address + last.bytes === run.address && last.file === run.file;
  if (follows && last.offset + last.bytes === run.offset) {
    runs[runs.length - 1] = { ...last, bytes: last.bytes + run.bytes };
  } else runs.push(run);
}

function appendRange(ranges: Range[], range: Range): void {
  const last = ranges.at(-1);
  if (last?.end === range.start) ranges[ranges.length - 1] = { start: last.start, end: range.end };
  else ranges.push(range);
}
