/** Lists of memory ranges. Values: linux/uio.h. */

/** How many struct iovec one system call may name. */
export const UIO_MAXIOV = 1024;
