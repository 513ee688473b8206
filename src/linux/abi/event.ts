/**
 * epoll(7), eventfd(2), signalfd(2), inotify(7), fanotify(7).
 * Values: linux/eventpoll.h, eventfd.h, signalfd.h, inotify.h, fanotify.h.
 */

/* epoll. */
export const EPOLL_CLOEXEC = 0x80000;

/* epoll_ctl operations. */
export const EPOLL_CTL_ADD = 1;
export const EPOLL_CTL_DEL = 2;
export const EPOLL_CTL_MOD = 3;

/* epoll events. */
export const EPOLLIN = 0x00000001;
export const EPOLLPRI = 0x00000002;
export const EPOLLOUT = 0x00000004;
export const EPOLLERR = 0x00000008;
export const EPOLLHUP = 0x00000010;
export const EPOLLNVAL = 0x00000020;
export const EPOLLRDNORM = 0x00000040;
export const EPOLLRDBAND = 0x00000080;
export const EPOLLWRNORM = 0x00000100;
export const EPOLLWRBAND = 0x00000200;
export const EPOLLMSG = 0x00000400;
export const EPOLLRDHUP = 0x00002000;
export const EPOLLEXCLUSIVE = 0x10000000;
export const EPOLLWAKEUP = 0x20000000;
export const EPOLLONESHOT = 0x40000000;
export const EPOLLET = 0x80000000;

/* eventfd flags. */
export const EFD_SEMAPHORE = 0o1;
export const EFD_CLOEXEC = 0o2000000;
export const EFD_NONBLOCK = 0o4000;

/* signalfd flags. */
export const SFD_CLOEXEC = 0o2000000;
export const SFD_NONBLOCK = 0o4000;

/* inotify_init1 flags. */
export const IN_CLOEXEC = 0o2000000;
export const IN_NONBLOCK = 0o4000;

/* inotify masks. */
export const IN_ACCESS = 0x00000001;
export const IN_MODIFY = 0x00000002;
export const IN_ATTRIB = 0x00000004;
export const IN_CLOSE_WRITE = 0x00000008;
export const IN_CLOSE_NOWRITE = 0x00000010;
export const IN_CLOSE = 0x00000018;
export const IN_OPEN = 0x00000020;
export const IN_MOVED_FROM = 0x00000040;
export const IN_MOVED_TO = 0x00000080;
export const IN_MOVE = 0x000000c0;
export const IN_CREATE = 0x00000100;
export const IN_DELETE = 0x00000200;
export const IN_DELETE_SELF = 0x00000400;
export const IN_MOVE_SELF = 0x00000800;
export const IN_ALL_EVENTS = 0x00000fff;
export const IN_UNMOUNT = 0x00002000;
export const IN_Q_OVERFLOW = 0x00004000;
export const IN_IGNORED = 0x00008000;
export const IN_ONLYDIR = 0x01000000;
export const IN_DONT_FOLLOW = 0x02000000;
export const IN_EXCL_UNLINK = 0x04000000;
export const IN_MASK_CREATE = 0x10000000;
export const IN_MASK_ADD = 0x20000000;
export const IN_ISDIR = 0x40000000;
export const IN_ONESHOT = 0x80000000;

/* Sets the number of the next inotify watch, as a restore needs. */
export const INOTIFY_IOC_SETNEXTWD = 0x40044900;

/* fanotify_init flags. */
export const FAN_CLASS_NOTIF = 0;
export const FAN_CLASS_CONTENT = 4;
export const FAN_CLASS_PRE_CONTENT = 8;
export const FAN_CLOEXEC = 1;
export const FAN_NONBLOCK = 2;
export const FAN_UNLIMITED_QUEUE = 0x10;
export const FAN_UNLIMITED_MARKS = 0x20;
export const FAN_ENABLE_AUDIT = 0x40;
export const FAN_REPORT_PIDFD = 0x80;
export const FAN_REPORT_TID = 0x100;
export const FAN_REPORT_FID = 0x200;
export const FAN_REPORT_DIR_FID = 0x400;
export const FAN_REPORT_NAME = 0x800;
export const FAN_REPORT_DFID_NAME = 0xc00;
export const FAN_REPORT_TARGET_FID = 0x1000;
export const FAN_REPORT_FD_ERROR = 0x2000;
export const FAN_REPORT_MNT = 0x4000;

/* fanotify_mark flags. */
export const FAN_MARK_INODE = 0;
export const FAN_MARK_ADD = 1;
export const FAN_MARK_REMOVE = 2;
export const FAN_MARK_DONT_FOLLOW = 4;
export const FAN_MARK_ONLYDIR = 8;
export const FAN_MARK_MOUNT = 0x10;
export const FAN_MARK_IGNORED_MASK = 0x20;
export const FAN_MARK_IGNORED_SURV_MODIFY = 0x40;
export const FAN_MARK_FLUSH = 0x80;
export const FAN_MARK_FILESYSTEM = 0x100;
export const FAN_MARK_MNTNS = 0x110;
export const FAN_MARK_EVICTABLE = 0x200;
export const FAN_MARK_IGNORE = 0x400;
export const FAN_MARK_IGNORE_SURV = 0x440;

/* fanotify masks. */
export const FAN_ACCESS = 0x00000001;
export const FAN_MODIFY = 0x00000002;
export const FAN_ATTRIB = 0x00000004;
export const FAN_CLOSE_WRITE = 0x00000008;
export const FAN_CLOSE_NOWRITE = 0x00000010;
export const FAN_OPEN = 0x00000020;
export const FAN_MOVED_FROM = 0x00000040;
export const FAN_MOVED_TO = 0x00000080;
export const FAN_CREATE = 0x00000100;
export const FAN_DELETE = 0x00000200;
export const FAN_DELETE_SELF = 0x00000400;
export const FAN_MOVE_SELF = 0x00000800;
export const FAN_OPEN_EXEC = 0x00001000;
export const FAN_Q_OVERFLOW = 0x00004000;
export const FAN_FS_ERROR = 0x00008000;
export const FAN_OPEN_PERM = 0x00010000;
export const FAN_ACCESS_PERM = 0x00020000;
export const FAN_OPEN_EXEC_PERM = 0x00040000;
export const FAN_PRE_ACCESS = 0x00100000;
export const FAN_MNT_ATTACH = 0x01000000;
export const FAN_MNT_DETACH = 0x02000000;
export const FAN_EVENT_ON_CHILD = 0x08000000;
export const FAN_RENAME = 0x10000000;
export const FAN_ONDIR = 0x40000000;

/** Size of the packed struct epoll_event on x86-64, bytes. */
export const EPOLL_EVENT_BYTES = 12;
