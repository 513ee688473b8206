/**
 * statfs(2): f_type of file systems. Values: linux/magic.h, and the file systems' own sources where said.
 */

/* File systems. */
export const QNX4_SUPER_MAGIC = 0x2f;
export const AUTOFS_SUPER_MAGIC = 0x187;
export const MINIX_SUPER_MAGIC = 0x137f;
export const MINIX_SUPER_MAGIC2 = 0x138f;
export const DEVPTS_SUPER_MAGIC = 0x1cd1;
export const MINIX2_SUPER_MAGIC = 0x2468;
export const MINIX2_SUPER_MAGIC2 = 0x2478;
export const NILFS_SUPER_MAGIC = 0x3434;
export const MSDOS_SUPER_MAGIC = 0x4d44;
export const MINIX3_SUPER_MAGIC = 0x4d5a;
export const SMB_SUPER_MAGIC = 0x517b;
export const NCP_SUPER_MAGIC = 0x564c;
export const NFS_SUPER_MAGIC = 0x6969;
export const JFFS2_SUPER_MAGIC = 0x72b6;
export const ISOFS_SUPER_MAGIC = 0x9660;
export const PROC_SUPER_MAGIC = 0x9fa0;
export const OPENPROM_SUPER_MAGIC = 0x9fa1;
export const USBDEVICE_SUPER_MAGIC = 0x9fa2;
export const ADFS_SUPER_MAGIC = 0xadf5;
export const AFFS_SUPER_MAGIC = 0xadff;
export const EXT2_SUPER_MAGIC = 0xef53;
export const EXT3_SUPER_MAGIC = 0xef53;
export const EXT4_SUPER_MAGIC = 0xef53;
export const ECRYPTFS_SUPER_MAGIC = 0xf15f;
export const CGROUP_SUPER_MAGIC = 0x27e0eb;
export const EFS_SUPER_MAGIC = 0x414a53;
export const HOSTFS_SUPER_MAGIC = 0xc0ffee;
export const CEPH_SUPER_MAGIC = 0xc36400;
export const TMPFS_MAGIC = 0x1021994;
export const V9FS_MAGIC = 0x1021997;
export const RDTGROUP_SUPER_MAGIC = 0x7655821;
export const UDF_SUPER_MAGIC = 0x15013346;
export const EXFAT_SUPER_MAGIC = 0x2011bab0;
export const CRAMFS_MAGIC = 0x28cd3d45;
export const BINFMTFS_MAGIC = 0x42494e4d;
export const SMACK_MAGIC = 0x43415d53;
export const DMA_BUF_MAGIC = 0x444d4142;
export const DEVMEM_MAGIC = 0x454d444d;
export const GUEST_MEMFD_MAGIC = 0x474d454d;
export const PID_FS_MAGIC = 0x50494446;
export const PIPEFS_MAGIC = 0x50495045;
export const SECRETMEM_MAGIC = 0x5345434d;
export const AFS_SUPER_MAGIC = 0x5346414f;
export const SOCKFS_MAGIC = 0x534f434b;
export const XFS_SUPER_MAGIC = 0x58465342;
export const AAFS_MAGIC = 0x5a3c69f0;
export const ZONEFS_MAGIC = 0x5a4f4653;
export const PSTOREFS_MAGIC = 0x6165676c;
export const BDEVFS_MAGIC = 0x62646576;
export const SYSFS_MAGIC = 0x62656572;
export const CGROUP2_SUPER_MAGIC = 0x63677270;
export const DEBUGFS_MAGIC = 0x64626720;
export const DAXFS_MAGIC = 0x64646178;
export const FUSE_SUPER_MAGIC = 0x65735546;
export const QNX6_SUPER_MAGIC = 0x68191122;
export const BINDERFS_SUPER_MAGIC = 0x6c6f6f70;
export const NSFS_MAGIC = 0x6e736673;
export const SECURITYFS_MAGIC = 0x73636673;
export const SQUASHFS_MAGIC = 0x73717368;
export const CODA_SUPER_MAGIC = 0x73757245;
export const OCFS2_SUPER_MAGIC = 0x7461636f;
export const TRACEFS_MAGIC = 0x74726163;
export const OVERLAYFS_SUPER_MAGIC = 0x794c7630;
export const RAMFS_MAGIC = 0x858458f6;
export const BTRFS_SUPER_MAGIC = 0x9123683e;
export const HUGETLBFS_MAGIC = 0x958458f6;
export const XENFS_SUPER_MAGIC = 0xabba1974;
export const BCACHEFS_SUPER_MAGIC = 0xca451a4e;
export const BPF_FS_MAGIC = 0xcafe4a11;
export const EFIVARFS_MAGIC = 0xde5e81e4;
export const EROFS_SUPER_MAGIC_V1 = 0xe0f5e1e2;
export const F2FS_SUPER_MAGIC = 0xf2f52010;
export const SELINUX_MAGIC = 0xf97cff8c;
export const HPFS_SUPER_MAGIC = 0xf995e849;
export const SMB2_SUPER_MAGIC = 0xfe534d42;
export const CIFS_SUPER_MAGIC = 0xff534d42;

/* Kernel-internal file systems of descriptors without a path. */
export const ANON_INODE_FS_MAGIC = 0x9041934;

/* In ipc/mqueue.c; the file system of aio rings uses AIO_RING_MAGIC of aio.ts. */
export const MQUEUE_MAGIC = 0x19800202;

/* In the sources of the file systems. */
export const JFS_SUPER_MAGIC = 0x3153464a;
export const NTFS3_SUPER_MAGIC = 0x7366746e;
export const CONFIGFS_MAGIC = 0x62656570;
export const ZFS_SUPER_MAGIC = 0x2fc12fc1;
export const VBOXSF_SUPER_MAGIC = 0x786f4256;

/** Size of struct statfs on x86-64, bytes, and offsets of its first fields. */
export const STATFS = {
  bytes: 120,
  f_type: 0,
  f_bsize: 8,
  f_fsid: 56,
  f_namelen: 64,
  f_frsize: 72,
  f_flags: 80,
} as const;
