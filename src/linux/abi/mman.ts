/**
 * mmap(2), madvise(2), mremap(2), mlock2(2), msync(2), memfd_create(2): flags, with the kernel's spelling.
 * Values: asm-generic/mman-common.h, asm/mman.h (x86-64), linux/memfd.h.
 */

/* Page protection. */
export const PROT_NONE = 0x00000000;
export const PROT_READ = 0x00000001;
export const PROT_WRITE = 0x00000002;
export const PROT_EXEC = 0x00000004;
export const PROT_SEM = 0x00000008;
export const PROT_GROWSDOWN = 0x01000000;
export const PROT_GROWSUP = 0x02000000;

/* mmap flags. */
export const MAP_FILE = 0x00000000;
export const MAP_SHARED = 0x00000001;
export const MAP_PRIVATE = 0x00000002;
export const MAP_SHARED_VALIDATE = 0x00000003;
export const MAP_DROPPABLE = 0x00000008;
export const MAP_TYPE = 0x0000000f;
export const MAP_FIXED = 0x00000010;
export const MAP_ANONYMOUS = 0x00000020;
export const MAP_32BIT = 0x00000040;
export const MAP_ABOVE4G = 0x00000080;
export const MAP_GROWSDOWN = 0x00000100;
export const MAP_DENYWRITE = 0x00000800;
export const MAP_EXECUTABLE = 0x00001000;
export const MAP_LOCKED = 0x00002000;
export const MAP_NORESERVE = 0x00004000;
export const MAP_POPULATE = 0x00008000;
export const MAP_NONBLOCK = 0x00010000;
export const MAP_STACK = 0x00020000;
export const MAP_HUGETLB = 0x00040000;
export const MAP_SYNC = 0x00080000;
export const MAP_FIXED_NOREPLACE = 0x00100000;
export const MAP_UNINITIALIZED = 0x04000000;

/* Huge page size, log2, in bits 26 to 31 of the mmap flags. */
export const MAP_HUGE_SHIFT = 0x0000001a;
export const MAP_HUGE_MASK = 0x0000003f;
export const MAP_HUGE_2MB = 0x54000000;
export const MAP_HUGE_1GB = 0x78000000;

/* mremap flags. */
export const MREMAP_MAYMOVE = 1;
export const MREMAP_FIXED = 2;
export const MREMAP_DONTUNMAP = 4;

/* madvise advice. */
export const MADV_NORMAL = 0;
export const MADV_RANDOM = 1;
export const MADV_SEQUENTIAL = 2;
export const MADV_WILLNEED = 3;
export const MADV_DONTNEED = 4;
export const MADV_FREE = 8;
export const MADV_REMOVE = 9;
export const MADV_DONTFORK = 10;
export const MADV_DOFORK = 11;
export const MADV_MERGEABLE = 12;
export const MADV_UNMERGEABLE = 13;
export const MADV_HUGEPAGE = 14;
export const MADV_NOHUGEPAGE = 15;
export const MADV_DONTDUMP = 16;
export const MADV_DODUMP = 17;
export const MADV_WIPEONFORK = 18;
export const MADV_KEEPONFORK = 19;
export const MADV_COLD = 20;
export const MADV_PAGEOUT = 21;
export const MADV_POPULATE_READ = 22;
export const MADV_POPULATE_WRITE = 23;
export const MADV_DONTNEED_LOCKED = 24;
export const MADV_COLLAPSE = 25;
export const MADV_HWPOISON = 100;
export const MADV_SOFT_OFFLINE = 101;
export const MADV_GUARD_INSTALL = 102;
export const MADV_GUARD_REMOVE = 103;

/* mlock2 and mlockall flags. */
export const MLOCK_ONFAULT = 1;
export const MCL_CURRENT = 1;
export const MCL_FUTURE = 2;
export const MCL_ONFAULT = 4;

/* msync flags. */
export const MS_ASYNC = 1;
export const MS_INVALIDATE = 2;
export const MS_SYNC = 4;

/* memfd_create flags. */
export const MFD_CLOEXEC = 0x00000001;
export const MFD_ALLOW_SEALING = 0x00000002;
export const MFD_HUGETLB = 0x00000004;
export const MFD_NOEXEC_SEAL = 0x00000008;
export const MFD_EXEC = 0x00000010;
export const MFD_HUGE_SHIFT = 0x0000001a;
export const MFD_HUGE_MASK = 0x0000003f;
export const MFD_HUGE_2MB = 0x54000000;
export const MFD_HUGE_1GB = 0x78000000;

/* Protection keys. */
export const PKEY_DISABLE_ACCESS = 1;
export const PKEY_DISABLE_WRITE = 2;
export const PKEY_ACCESS_MASK = 3;
