/** Bits of vma_entry.status, a part of the image format (criu/include/image.h). */

/** A mapping of the task, as opposed to those that the kernel puts in every task. */
export const VMA_AREA_REGULAR = 1 << 0;
export const VMA_AREA_STACK = 1 << 1;
export const VMA_AREA_VSYSCALL = 1 << 2;
export const VMA_AREA_VDSO = 1 << 3;
export const VMA_AREA_HEAP = 1 << 5;
export const VMA_FILE_PRIVATE = 1 << 6;
export const VMA_FILE_SHARED = 1 << 7;
export const VMA_ANON_SHARED = 1 << 8;
export const VMA_ANON_PRIVATE = 1 << 9;
/** System V shared memory; shmid is the id of the segment. */
export const VMA_AREA_SYSVIPC = 1 << 10;
/** Ring buffer of a packet socket. */
export const VMA_AREA_SOCKET = 1 << 11;
export const VMA_AREA_VVAR = 1 << 12;
export const VMA_AREA_AIORING = 1 << 13;
export const VMA_AREA_MEMFD = 1 << 14;
/** Shadow stack. */
export const VMA_AREA_SHSTK = 1 << 15;
/** Not a mapping: a range of guard pages (MADV_GUARD_INSTALL) inside mappings; these come after all mappings. */
export const VMA_AREA_GUARD = 1 << 16;
export const VMA_AREA_UPROBES = 1 << 17;
/** Saved and restored by a plugin. */
export const VMA_EXT_PLUGIN = 1 << 27;
/** Never in an image. Unsigned, as all values of the field are. */
export const VMA_UNSUPP = 0x8000_0000;
