/**
 * The pages of a task in its images: runs of pages and where their bytes are. Some may lie in the images that the link
 * "parent" of the folder leads to: those of a dump before, or pages that tasks of the tree share.
 */

import { CriuError } from '../../base/errors.ts';
import { countBefore } from '../../base/sorted.ts';
import type { ImageDir } from '../../image/image-dir.ts';
import type { Pagemap } from '../../image/image-kinds.ts';
import { PAGE_BYTES, PE_PARENT, PE_PRESENT, pagemapEntryFlags, pagemapEntryPages } from '../../image/pagemap.ts';
import { RepeatedImages } from '../../image/repeated-images.ts';

/** Consecutive pages with content. */
export interface PageRun {
  /** First address. */
  readonly address: number;
  readonly bytes: number;
  /** The pages image, and the offset in it. */
  readonly file: string;
  readonly offset: number;
}

/** More dumps in a row than anybody makes; a chain that is longer is a circle. */
const CHAIN_MAX = 1000;

/** Reads the page runs of tasks and shared memory; what a parent folder says is read once. */
export class PagesIndex {
  readonly #images: ImageDir;
  readonly #repeated: RepeatedImages;
  readonly #parent: PagesIndex | undefined;
  readonly #runs = new Map<string, readonly PageRun[]>();
  /** Pagemaps that are the same have the same runs. */
  #last: { readonly pagemap: Pagemap; readonly runs: readonly PageRun[] } | undefined = undefined;

  /** Throws CriuError when a parent folder can't be opened. */
  constructor(images: ImageDir, depth = 0) {
    this.#images = images;
    this.#repeated = new RepeatedImages(images);
    const parent = images.openParent();
    if (depth > CHAIN_MAX) {
      throw new CriuError({ object: images.path, action: 'has a link "parent" that leads in a circle' });
    }
    this.#parent = parent === undefined ? undefined : new PagesIndex(parent, depth + 1);
  }

  /** The runs of pagemap-ID or pagemap-shmem-ID, in order of address. Throws CriuError for pages that are nowhere. */
  runs(kind: 'pagemap' | 'pagemap-shmem', id: number, pagemap: Pagemap): readonly PageRun[] {
    const file = this.#images.imagePath('pages', pagemap.head.pages_id);
    const fromParent = (address: number, bytes: number) => {
      const found = cut(this.#parent?.tryRuns(kind, id) ?? [], address, bytes);
      if (found !== undefined) return found;
      throw new CriuError({
        object: this.#images.imagePath(kind, id),
        action: `refers to pages at ${address.toString(16)} of the parent image folder, but they are not there`,
        why: this.#parent === undefined ? 'there is no parent folder' : 'images are missing or do not belong together',
      });
    };
    return pageRuns(pagemap, file, fromParent);
  }

  /** The same for an image that may be missing. */
  tryRuns(kind: 'pagemap' | 'pagemap-shmem', id: number): readonly PageRun[] | undefined {
    const key = `${kind} ${id}`;
    let runs = this.#runs.get(key);
    if (runs === undefined) {
      const pagemap = this.#repeated.tryRead(kind, id);
      if (pagemap === undefined) return undefined;
      // What a parent folder has, may differ all the same.
      const isLast = pagemap === this.#last?.pagemap && this.#parent === undefined;
      runs = isLast ? (this.#last?.runs ?? []) : this.runs(kind, id, pagemap);
      this.#last = { pagemap, runs };
      this.#runs.set(key, runs);
    }
    return runs;
  }
}

/** The runs of a pagemap whose pages are in `file`. Pure. */
export function pageRuns(
  pagemap: Pagemap,
  file: string,
  fromParent: (address: number, bytes: number) => readonly PageRun[],
): PageRun[] {
  let offset = 0;
  const runs: PageRun[] = [];
  for (const entry of pagemap.entries) {
    const bytes = pagemapEntryPages(entry) * PAGE_BYTES;
    const flags = pagemapEntryFlags(entry);
    if ((flags & PE_PARENT) !== 0) runs.push(...fromParent(entry.vaddr, bytes));
    if ((flags & PE_PRESENT) === 0) continue; // in the parent, or a zero page of an older criu
    runs.push({ address: entry.vaddr, bytes, file, offset });
    offset += bytes;
  }
  return runs;
}

/** The part of sorted runs that is `bytes` long from `address` on; undefined when they do not cover it. Pure. */
export function cut(runs: readonly PageRun[], address: number, bytes: number): PageRun[] | undefined {
  const parts: PageRun[] = [];
  const end = address + bytes;
  let at = address;
  for (let i = firstEndingAfter(runs, address); at < end; i++) {
    const run = runs[i];
    if (run === undefined || run.address > at) return undefined;
    const to = Math.min(run.address + run.bytes, end);
    parts.push({ address: at, bytes: to - at, file: run.file, offset: run.offset + at - run.address });
    at = to;
  }
  return parts;
}

/** The index of the first of some runs in order that ends behind an address. */
export function firstEndingAfter(runs: readonly Pick<PageRun, 'address' | 'bytes'>[], address: number): number {
  return countBefore(runs.length, (i) => {
    const run = runs[i];
    return run !== undefined && run.address + run.bytes <= address;
  });
}
