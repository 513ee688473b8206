/** The pages of a task in its images: runs of pages and where their bytes are in the pages file. Pure. */
import { CriuError } from '../../base/errors.ts';
import type { Pagemap } from '../../image/image-kinds.ts';
import { PAGE_BYTES, PE_PARENT, PE_PRESENT, pagemapEntryFlags, pagemapEntryPages } from '../../image/pagemap.ts';

/** Consecutive pages with content. */
export interface PageRun {
  /** First address. */
  readonly address: number;
  readonly bytes: number;
  /** Offset in pages-N.img. */
  readonly offset: number;
}

/** The runs of a pagemap. Throws CriuError for pages that lie in a parent image folder. */
export function pageRuns(pagemap: Pagemap, name: string): PageRun[] {
  let offset = 0;
  const runs: PageRun[] = [];
  for (const entry of pagemap.entries) {
    const bytes = pagemapEntryPages(entry) * PAGE_BYTES;
    const flags = pagemapEntryFlags(entry);
    if ((flags & PE_PARENT) !== 0) {
      throw new CriuError({
        object: name,
        action: 'refers to pages of a parent image folder',
        why: 'incremental images are not supported yet by this criu',
      });
    }
    if ((flags & PE_PRESENT) === 0) continue; // a zero page of an older criu
    runs.push({ address: entry.vaddr, bytes, offset });
    offset += bytes;
  }
  return runs;
}
