/**
 * ioctls of files: inode flags, FIEMAP, clone. Values: linux/fs.h, linux/fiemap.h.
 */

/* Requests. */
export const FS_IOC_SETFLAGS = 0x40086602;
export const FS_IOC_SETVERSION = 0x40087602;
export const FS_IOC_FSSETXATTR = 0x401c5820;
export const FS_IOC_GETFLAGS = 0x80086601;
export const FS_IOC_GETVERSION = 0x80087601;
export const FS_IOC_GETFSUUID = 0x80111500;
export const FS_IOC_FSGETXATTR = 0x801c581f;
export const FS_IOC_FIEMAP = 0xc020660b;
export const FICLONE = 0x40049409;
export const FICLONERANGE = 0x4020940d;
export const FIDEDUPERANGE = 0xc0189436;
export const FIBMAP = 1;
export const FIGETBSZ = 2;
export const BLKGETSIZE64 = 0x80081272;

/* Inode flags of FS_IOC_GETFLAGS. */
export const FS_SECRM_FL = 0x00000001;
export const FS_UNRM_FL = 0x00000002;
export const FS_COMPR_FL = 0x00000004;
export const FS_SYNC_FL = 0x00000008;
export const FS_IMMUTABLE_FL = 0x00000010;
export const FS_APPEND_FL = 0x00000020;
export const FS_NODUMP_FL = 0x00000040;
export const FS_NOATIME_FL = 0x00000080;
export const FS_ENCRYPT_FL = 0x00000800;
export const FS_JOURNAL_DATA_FL = 0x00004000;
export const FS_NOTAIL_FL = 0x00008000;
export const FS_DIRSYNC_FL = 0x00010000;
export const FS_TOPDIR_FL = 0x00020000;
export const FS_EXTENT_FL = 0x00080000;
export const FS_VERITY_FL = 0x00100000;
export const FS_NOCOW_FL = 0x00800000;
export const FS_DAX_FL = 0x02000000;
export const FS_INLINE_DATA_FL = 0x10000000;
export const FS_PROJINHERIT_FL = 0x20000000;
export const FS_CASEFOLD_FL = 0x40000000;

/* fiemap flags. */
export const FIEMAP_FLAG_SYNC = 1;
export const FIEMAP_FLAG_XATTR = 2;
export const FIEMAP_FLAG_CACHE = 4;

/* fiemap_extent flags. */
export const FIEMAP_EXTENT_LAST = 0x00000001;
export const FIEMAP_EXTENT_UNKNOWN = 0x00000002;
export const FIEMAP_EXTENT_DELALLOC = 0x00000004;
export const FIEMAP_EXTENT_ENCODED = 0x00000008;
export const FIEMAP_EXTENT_DATA_ENCRYPTED = 0x00000080;
export const FIEMAP_EXTENT_NOT_ALIGNED = 0x00000100;
export const FIEMAP_EXTENT_DATA_INLINE = 0x00000200;
export const FIEMAP_EXTENT_DATA_TAIL = 0x00000400;
export const FIEMAP_EXTENT_UNWRITTEN = 0x00000800;
export const FIEMAP_EXTENT_MERGED = 0x00001000;
export const FIEMAP_EXTENT_SHARED = 0x00002000;

/** Sizes of struct fiemap without extents, and of struct fiemap_extent, bytes. */
export const FIEMAP_BYTES = 32;
export const FIEMAP_EXTENT_BYTES = 56;
