/**
 * personality(2). Values: linux/personality.h.
 */

/* Flags, or-ed to the kind. */
export const UNAME26 = 0x00020000;
export const ADDR_NO_RANDOMIZE = 0x00040000;
export const FDPIC_FUNCPTRS = 0x00080000;
export const MMAP_PAGE_ZERO = 0x00100000;
export const ADDR_COMPAT_LAYOUT = 0x00200000;
export const READ_IMPLIES_EXEC = 0x00400000;
export const ADDR_LIMIT_32BIT = 0x00800000;
export const SHORT_INODE = 0x01000000;
export const WHOLE_SECONDS = 0x02000000;
export const STICKY_TIMEOUTS = 0x04000000;
export const ADDR_LIMIT_3GB = 0x08000000;

/* Kinds. */
export const PER_LINUX = 0;
export const PER_LINUX32 = 8;
