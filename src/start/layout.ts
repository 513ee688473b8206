/** What the launcher of a start image (tools/start-image/launcher.ts) and the image's own code agree about. */

/** Its code: below the runtime's own segments, above the lowest address that may be mapped (vm.mmap_min_addr). */
export const CODE_AT = 0x10_0000;
/** Its data; writable. */
export const DATA_AT = 0x11_0000;
/** Where the runtime's own segments begin. */
export const DATA_END = 0x20_0000;
/** From here on the runtime has its descriptors, so that those which a caller left open keep their numbers. */
export const FIRST_FD = 190;
/** The word of the command line with which an image is taken. */
export const MAKE_IMAGE = 'make-start-image';
/** What a page table of the second level maps on x86-64. */
export const HUGE_PAGE_BYTES = 2 << 20;
