/**
 * pidfd_open(2), pidfd_send_signal(2), ioctl_pidfd. Values: linux/pidfd.h.
 */

/* pidfd_open flags. */
export const PIDFD_NONBLOCK = 0x800;
export const PIDFD_THREAD = 0x80;

/* pidfd_send_signal flags. */
export const PIDFD_SIGNAL_THREAD = 1;
export const PIDFD_SIGNAL_THREAD_GROUP = 2;
export const PIDFD_SIGNAL_PROCESS_GROUP = 4;

/* In place of a pidfd: the caller's thread, process. */
export const PIDFD_SELF_THREAD = -10000;
export const PIDFD_SELF_THREAD_GROUP = -10001;

/* Namespaces of the process, as new descriptors (6.11). */
export const PIDFD_GET_CGROUP_NAMESPACE = 0xff01;
export const PIDFD_GET_IPC_NAMESPACE = 0xff02;
export const PIDFD_GET_MNT_NAMESPACE = 0xff03;
export const PIDFD_GET_NET_NAMESPACE = 0xff04;
export const PIDFD_GET_PID_NAMESPACE = 0xff05;
export const PIDFD_GET_PID_FOR_CHILDREN_NAMESPACE = 0xff06;
export const PIDFD_GET_TIME_NAMESPACE = 0xff07;
export const PIDFD_GET_TIME_FOR_CHILDREN_NAMESPACE = 0xff08;
export const PIDFD_GET_USER_NAMESPACE = 0xff09;
export const PIDFD_GET_UTS_NAMESPACE = 0xff0a;

/* Facts about the process (6.13), with the first size of the structure; a bigger one is _IOWR(0xff, 11, size). */
export const PIDFD_GET_INFO = 0xc040ff0b;

/* pidfd_info.mask. */
export const PIDFD_INFO_PID = 1;
export const PIDFD_INFO_CREDS = 2;
export const PIDFD_INFO_CGROUPID = 4;
export const PIDFD_INFO_EXIT = 8;
export const PIDFD_INFO_COREDUMP = 16;
export const PIDFD_INFO_SUPPORTED_MASK = 32;
export const PIDFD_INFO_COREDUMP_SIGNAL = 64;

/* Sizes of struct pidfd_info, bytes. */
export const PIDFD_INFO_SIZE_VER0 = 64;
export const PIDFD_INFO_SIZE_VER1 = 72;
export const PIDFD_INFO_SIZE_VER2 = 80;
