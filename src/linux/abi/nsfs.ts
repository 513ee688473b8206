/**
 * ioctl_nsfs(2): descriptors of namespaces. Values: linux/nsfs.h.
 */

/* Requests. */
export const NS_GET_USERNS = 0xb701;
export const NS_GET_PARENT = 0xb702;
export const NS_GET_NSTYPE = 0xb703;
export const NS_GET_OWNER_UID = 0xb704;
export const NS_GET_PID_FROM_PIDNS = 0x8004b706;
export const NS_GET_TGID_FROM_PIDNS = 0x8004b707;
export const NS_GET_PID_IN_PIDNS = 0x8004b708;
export const NS_GET_TGID_IN_PIDNS = 0x8004b709;
export const NS_GET_MNTNS_ID = 0x8008b705;
export const NS_GET_ID = 0x8008b70d;
export const NS_MNT_GET_INFO = 0x8010b70a;
export const NS_MNT_GET_NEXT = 0x8010b70b;
export const NS_MNT_GET_PREV = 0x8010b70c;

/* Size of struct mnt_ns_info, bytes. */
export const MNT_NS_INFO_SIZE_VER0 = 16;

/** Inode numbers of the first namespaces (include/linux/proc_ns.h). */
export const IPC_NS_INIT_INO = 0xefffffff;
export const UTS_NS_INIT_INO = 0xeffffffe;
export const USER_NS_INIT_INO = 0xeffffffd;
export const PID_NS_INIT_INO = 0xeffffffc;
export const CGROUP_NS_INIT_INO = 0xeffffffb;
export const TIME_NS_INIT_INO = 0xeffffffa;
