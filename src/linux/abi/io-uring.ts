/** io_uring_setup(2), io_uring_enter(2). Values: linux/io_uring.h, include/linux/io_uring_types.h. */

/* io_uring_params.flags. */
export const IORING_SETUP_IOPOLL = 1 << 0;
export const IORING_SETUP_SQPOLL = 1 << 1;
export const IORING_SETUP_CQSIZE = 1 << 3;
export const IORING_SETUP_CLAMP = 1 << 4;
export const IORING_SETUP_SUBMIT_ALL = 1 << 7;
export const IORING_SETUP_COOP_TASKRUN = 1 << 8;
export const IORING_SETUP_TASKRUN_FLAG = 1 << 9;
export const IORING_SETUP_SQE128 = 1 << 10;
export const IORING_SETUP_CQE32 = 1 << 11;
export const IORING_SETUP_SINGLE_ISSUER = 1 << 12;
export const IORING_SETUP_DEFER_TASKRUN = 1 << 13;
export const IORING_SETUP_NO_SQARRAY = 1 << 16;

/* What mmap(2) of a ring takes for an offset. */
export const IORING_OFF_SQ_RING = 0;
export const IORING_OFF_CQ_RING = 0x800_0000;
export const IORING_OFF_SQES = 0x1000_0000;

/* struct io_uring_params. */
export const PARAMS_BYTES = 120;
export const PARAMS_CQ_ENTRIES = 4;
export const PARAMS_FLAGS = 8;
/** struct io_sqring_offsets: head, tail, ring_mask, ring_entries, flags, dropped, array. */
export const PARAMS_SQ_OFF = 40;
/** struct io_cqring_offsets: head, tail, ring_mask, ring_entries, overflow, cqes, flags. */
export const PARAMS_CQ_OFF = 80;

/*
 * struct io_rings: how the memory of a ring begins. Where the array of the submission queue is, depends on the completions
 * before it.
 */
export const RINGS_SQ_HEAD = 0;
export const RINGS_SQ_TAIL = 4;
export const RINGS_CQ_HEAD = 8;
export const RINGS_CQ_TAIL = 12;
export const RINGS_SQ_MASK = 16;
export const RINGS_CQ_MASK = 20;
export const RINGS_SQ_ENTRIES = 24;
export const RINGS_CQ_ENTRIES = 28;
export const RINGS_SQ_DROPPED = 32;
export const RINGS_SQ_FLAGS = 36;
export const RINGS_CQ_FLAGS = 40;
export const RINGS_CQ_OVERFLOW = 44;
export const RINGS_CQES = 64;

export const CQE_BYTES = 16;

export const SQE_BYTES = 64;
/** struct io_uring_sqe: opcode, flags. */
export const SQE_FLAGS = 1;
export const IORING_OP_NOP = 0;
export const IOSQE_CQE_SKIP_SUCCESS = 1 << 6;

export const SQ_ENTRIES_MAX = 32768;
export const CQ_ENTRIES_MAX = 2 * SQ_ENTRIES_MAX;
