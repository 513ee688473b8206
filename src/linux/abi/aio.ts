/**
 * io_setup(2), io_submit(2). Values: linux/aio_abi.h; the ring: fs/aio.c.
 */

/* iocb.aio_lio_opcode. */
export const IOCB_CMD_PREAD = 0;
export const IOCB_CMD_PWRITE = 1;
export const IOCB_CMD_FSYNC = 2;
export const IOCB_CMD_FDSYNC = 3;
export const IOCB_CMD_POLL = 5;
export const IOCB_CMD_NOOP = 6;
export const IOCB_CMD_PREADV = 7;
export const IOCB_CMD_PWRITEV = 8;

/* iocb.aio_flags. */
export const IOCB_FLAG_RESFD = 1;
export const IOCB_FLAG_IOPRIO = 2;

/* aio_ring.magic. */
export const AIO_RING_MAGIC = 0xa10a10a1;

/** Sizes of struct iocb and struct io_event, bytes. */
export const IOCB_BYTES = 64;
export const IO_EVENT_BYTES = 32;

/** Offsets in bytes of the fields of struct aio_ring, at the start of the ring's mapping. */
export const AIO_RING = {
  id: 0,
  nr: 4,
  head: 8,
  tail: 12,
  magic: 16,
  compat_features: 20,
  incompat_features: 24,
  header_length: 28,
  io_events: 32,
} as const;
