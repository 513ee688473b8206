/** Reading of pagemap entries: which pages they mean, in images of any age. */
import type { PagemapEntry } from './gen/pagemap.ts';

/** Values of pagemap_entry.flags (criu/include/pagemap.h). */
export const PE_PARENT = 1 << 0;
export const PE_LAZY = 1 << 1;
export const PE_PRESENT = 1 << 2;

export const PAGE_BYTES = 4096;

/** How many pages an entry is about; older criu wrote 32 bits only. */
export function pagemapEntryPages(entry: PagemapEntry): number {
  return entry.nr_pages ?? entry.compat_nr_pages;
}

/**
 * The PE_ flags of an entry: PE_PRESENT when the pages are in the pages image, PE_PARENT when they are in the images of
 * the dump before, PE_LAZY when they may come after the restore. Older criu had in_parent only.
 */
export function pagemapEntryFlags(entry: PagemapEntry): number {
  if (entry.in_parent === true) return (entry.flags ?? 0) | PE_PARENT;
  return entry.flags ?? PE_PRESENT;
}
