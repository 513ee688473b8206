/**
 * /proc/PID/pagemap: entries, and the ioctls PAGEMAP_SCAN (Linux 6.7) and, on /proc/PID/maps, PROCMAP_QUERY (6.11).
 * Values: linux/fs.h; Documentation/admin-guide/mm/pagemap.rst.
 */

/* PAGEMAP_SCAN, on /proc/PID/pagemap. */
export const PAGEMAP_SCAN = 0xc0606610;

/* Categories of pages. */
export const PAGE_IS_WPALLOWED = 1;
export const PAGE_IS_WRITTEN = 2;
export const PAGE_IS_FILE = 4;
export const PAGE_IS_PRESENT = 8;
export const PAGE_IS_SWAPPED = 16;
export const PAGE_IS_PFNZERO = 32;
export const PAGE_IS_HUGE = 64;
export const PAGE_IS_SOFT_DIRTY = 128;
export const PAGE_IS_GUARD = 256;

/* pm_scan_arg.flags. */
export const PM_SCAN_WP_MATCHING = 1;
export const PM_SCAN_CHECK_WPASYNC = 2;

/* PROCMAP_QUERY, on /proc/PID/maps. */
export const PROCMAP_QUERY = 0xc0686611;

/* procmap_query.query_flags; the first four also in vma_flags. */
export const PROCMAP_QUERY_VMA_READABLE = 1;
export const PROCMAP_QUERY_VMA_WRITABLE = 2;
export const PROCMAP_QUERY_VMA_EXECUTABLE = 4;
export const PROCMAP_QUERY_VMA_SHARED = 8;
export const PROCMAP_QUERY_COVERING_OR_NEXT_VMA = 0x10;
export const PROCMAP_QUERY_FILE_BACKED_VMA = 0x20;

/** Bits of the 64-bit entries of /proc/PID/pagemap. */
export const PM_SOFT_DIRTY_BIT = 55;
export const PM_MMAP_EXCLUSIVE_BIT = 56;
export const PM_UFFD_WP_BIT = 57;
export const PM_GUARD_REGION_BIT = 58;
export const PM_FILE_BIT = 61;
export const PM_SWAP_BIT = 62;
export const PM_PRESENT_BIT = 63;

/** Offsets in bytes of the fields of struct pm_scan_arg; all are 64 bits wide. */
export const PM_SCAN_ARG = {
  bytes: 96,
  size: 0,
  flags: 8,
  start: 16,
  end: 24,
  walk_end: 32,
  vec: 40,
  vec_len: 48,
  max_pages: 56,
  category_inverted: 64,
  category_mask: 72,
  category_anyof_mask: 80,
  return_mask: 88,
} as const;

/** Offsets in bytes of the fields of struct page_region; all are 64 bits wide. */
export const PAGE_REGION = { bytes: 24, start: 0, end: 8, categories: 16 } as const;

/** Offsets in bytes of the fields of struct procmap_query; 64 bits wide, but device and sizes 32. */
export const PROCMAP_QUERY_STRUCT = {
  bytes: 104,
  size: 0,
  query_flags: 8,
  query_addr: 16,
  vma_start: 24,
  vma_end: 32,
  vma_flags: 40,
  vma_page_size: 48,
  vma_offset: 56,
  inode: 64,
  dev_major: 72,
  dev_minor: 76,
  vma_name_size: 80,
  build_id_size: 84,
  vma_name_addr: 88,
  build_id_addr: 96,
} as const;
