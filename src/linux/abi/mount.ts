/**
 * mount(2), umount2(2), and the newer calls: open_tree, move_mount, mount_setattr, fsopen, statmount, listmount.
 * Values: linux/mount.h.
 */

/* mount flags. */
export const MS_RDONLY = 0x00000001;
export const MS_NOSUID = 0x00000002;
export const MS_NODEV = 0x00000004;
export const MS_NOEXEC = 0x00000008;
export const MS_SYNCHRONOUS = 0x00000010;
export const MS_REMOUNT = 0x00000020;
export const MS_MANDLOCK = 0x00000040;
export const MS_DIRSYNC = 0x00000080;
export const MS_NOSYMFOLLOW = 0x00000100;
export const MS_NOATIME = 0x00000400;
export const MS_NODIRATIME = 0x00000800;
export const MS_BIND = 0x00001000;
export const MS_MOVE = 0x00002000;
export const MS_REC = 0x00004000;
export const MS_SILENT = 0x00008000;
export const MS_POSIXACL = 0x00010000;
export const MS_UNBINDABLE = 0x00020000;
export const MS_PRIVATE = 0x00040000;
export const MS_SLAVE = 0x00080000;
export const MS_SHARED = 0x00100000;
export const MS_RELATIME = 0x00200000;
export const MS_KERNMOUNT = 0x00400000;
export const MS_I_VERSION = 0x00800000;
export const MS_STRICTATIME = 0x01000000;
export const MS_LAZYTIME = 0x02000000;

/* umount2 flags. */
export const MNT_FORCE = 1;
export const MNT_DETACH = 2;
export const MNT_EXPIRE = 4;
export const UMOUNT_NOFOLLOW = 8;

/* open_tree flags. */
export const OPEN_TREE_CLONE = 1;
export const OPEN_TREE_CLOEXEC = 0x80000;

/* move_mount flags. */
export const MOVE_MOUNT_F_SYMLINKS = 1;
export const MOVE_MOUNT_F_AUTOMOUNTS = 2;
export const MOVE_MOUNT_F_EMPTY_PATH = 4;
export const MOVE_MOUNT_T_SYMLINKS = 0x10;
export const MOVE_MOUNT_T_AUTOMOUNTS = 0x20;
export const MOVE_MOUNT_T_EMPTY_PATH = 0x40;
export const MOVE_MOUNT_SET_GROUP = 0x100;
export const MOVE_MOUNT_BENEATH = 0x200;

/* fsopen, fspick and fsmount flags. */
export const FSOPEN_CLOEXEC = 1;
export const FSPICK_CLOEXEC = 1;
export const FSPICK_SYMLINK_NOFOLLOW = 2;
export const FSPICK_NO_AUTOMOUNT = 4;
export const FSPICK_EMPTY_PATH = 8;
export const FSMOUNT_CLOEXEC = 1;

/* fsconfig commands. */
export const FSCONFIG_SET_FLAG = 0;
export const FSCONFIG_SET_STRING = 1;
export const FSCONFIG_SET_BINARY = 2;
export const FSCONFIG_SET_PATH = 3;
export const FSCONFIG_SET_PATH_EMPTY = 4;
export const FSCONFIG_SET_FD = 5;
export const FSCONFIG_CMD_CREATE = 6;
export const FSCONFIG_CMD_RECONFIGURE = 7;
export const FSCONFIG_CMD_CREATE_EXCL = 8;

/* Mount attributes. */
export const MOUNT_ATTR_RELATIME = 0x00000000;
export const MOUNT_ATTR_RDONLY = 0x00000001;
export const MOUNT_ATTR_NOSUID = 0x00000002;
export const MOUNT_ATTR_NODEV = 0x00000004;
export const MOUNT_ATTR_NOEXEC = 0x00000008;
export const MOUNT_ATTR_NOATIME = 0x00000010;
export const MOUNT_ATTR_STRICTATIME = 0x00000020;
export const MOUNT_ATTR__ATIME = 0x00000070;
export const MOUNT_ATTR_NODIRATIME = 0x00000080;
export const MOUNT_ATTR_IDMAP = 0x00100000;
export const MOUNT_ATTR_NOSYMFOLLOW = 0x00200000;

/* Size of struct mount_attr, bytes. */
export const MOUNT_ATTR_SIZE_VER0 = 32;

/* statmount mask. */
export const STATMOUNT_SB_BASIC = 1;
export const STATMOUNT_MNT_BASIC = 2;
export const STATMOUNT_PROPAGATE_FROM = 4;
export const STATMOUNT_MNT_ROOT = 8;
export const STATMOUNT_MNT_POINT = 0x10;
export const STATMOUNT_FS_TYPE = 0x20;
export const STATMOUNT_MNT_NS_ID = 0x40;
export const STATMOUNT_MNT_OPTS = 0x80;
export const STATMOUNT_FS_SUBTYPE = 0x100;
export const STATMOUNT_SB_SOURCE = 0x200;
export const STATMOUNT_OPT_ARRAY = 0x400;
export const STATMOUNT_OPT_SEC_ARRAY = 0x800;
export const STATMOUNT_SUPPORTED_MASK = 0x1000;
export const STATMOUNT_MNT_UIDMAP = 0x2000;
export const STATMOUNT_MNT_GIDMAP = 0x4000;

/* listmount: the root of the namespace. */
export const LSMT_ROOT = 0xffff_ffff_ffff_ffffn;
export const LISTMOUNT_REVERSE = 1;

/* Sizes of struct mnt_id_req, bytes. */
export const MNT_ID_REQ_SIZE_VER0 = 24;
export const MNT_ID_REQ_SIZE_VER1 = 32;

/** Offsets in bytes of the fields of struct mount_attr; all are 64 bits wide. */
export const MOUNT_ATTR = { bytes: 32, attr_set: 0, attr_clr: 8, propagation: 16, userns_fd: 24 } as const;
