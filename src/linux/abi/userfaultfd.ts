/**
 * userfaultfd(2), ioctl_userfaultfd(2). Values: linux/userfaultfd.h.
 */

/* userfaultfd flags. */
export const UFFD_USER_MODE_ONLY = 1;

/* On /dev/userfaultfd: a new descriptor. */
export const USERFAULTFD_IOC_NEW = 0xaa00;

/* Requests. */
export const UFFDIO_UNREGISTER = 0x8010aa01;
export const UFFDIO_WAKE = 0x8010aa02;
export const UFFDIO_WRITEPROTECT = 0xc018aa06;
export const UFFDIO_API = 0xc018aa3f;
export const UFFDIO_REGISTER = 0xc020aa00;
export const UFFDIO_ZEROPAGE = 0xc020aa04;
export const UFFDIO_CONTINUE = 0xc020aa07;
export const UFFDIO_POISON = 0xc020aa08;
export const UFFDIO_COPY = 0xc028aa03;
export const UFFDIO_MOVE = 0xc028aa05;

/* uffdio_api.api. */
export const UFFD_API = 0xaa;

/* Features. */
export const UFFD_FEATURE_PAGEFAULT_FLAG_WP = 1;
export const UFFD_FEATURE_EVENT_FORK = 2;
export const UFFD_FEATURE_EVENT_REMAP = 4;
export const UFFD_FEATURE_EVENT_REMOVE = 8;
export const UFFD_FEATURE_MISSING_HUGETLBFS = 0x10;
export const UFFD_FEATURE_MISSING_SHMEM = 0x20;
export const UFFD_FEATURE_EVENT_UNMAP = 0x40;
export const UFFD_FEATURE_SIGBUS = 0x80;
export const UFFD_FEATURE_THREAD_ID = 0x100;
export const UFFD_FEATURE_MINOR_HUGETLBFS = 0x200;
export const UFFD_FEATURE_MINOR_SHMEM = 0x400;
export const UFFD_FEATURE_EXACT_ADDRESS = 0x800;
export const UFFD_FEATURE_WP_HUGETLBFS_SHMEM = 0x1000;
export const UFFD_FEATURE_WP_UNPOPULATED = 0x2000;
export const UFFD_FEATURE_POISON = 0x4000;
export const UFFD_FEATURE_WP_ASYNC = 0x8000;
export const UFFD_FEATURE_MOVE = 0x10000;

/* Events. */
export const UFFD_EVENT_PAGEFAULT = 0x12;
export const UFFD_EVENT_FORK = 0x13;
export const UFFD_EVENT_REMAP = 0x14;
export const UFFD_EVENT_REMOVE = 0x15;
export const UFFD_EVENT_UNMAP = 0x16;

/* uffd_msg.arg.pagefault.flags. */
export const UFFD_PAGEFAULT_FLAG_WRITE = 1;
export const UFFD_PAGEFAULT_FLAG_WP = 2;
export const UFFD_PAGEFAULT_FLAG_MINOR = 4;

/* Modes of the requests. */
export const UFFDIO_REGISTER_MODE_MISSING = 1;
export const UFFDIO_REGISTER_MODE_WP = 2;
export const UFFDIO_REGISTER_MODE_MINOR = 4;
export const UFFDIO_COPY_MODE_DONTWAKE = 1;
export const UFFDIO_COPY_MODE_WP = 2;
export const UFFDIO_ZEROPAGE_MODE_DONTWAKE = 1;
export const UFFDIO_WRITEPROTECT_MODE_WP = 1;
export const UFFDIO_WRITEPROTECT_MODE_DONTWAKE = 2;
export const UFFDIO_CONTINUE_MODE_DONTWAKE = 1;
export const UFFDIO_CONTINUE_MODE_WP = 2;
export const UFFDIO_MOVE_MODE_DONTWAKE = 1;
export const UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES = 2;

/** Size of struct uffd_msg, bytes. */
export const UFFD_MSG_BYTES = 32;
