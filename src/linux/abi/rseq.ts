/**
 * rseq(2). Values: linux/rseq.h; the signature is a choice of the C library for x86.
 */

/* rseq flags. */
export const RSEQ_FLAG_UNREGISTER = 1;

/* rseq.cpu_id before and after a failed registration. */
export const RSEQ_CPU_ID_UNINITIALIZED = -1;
export const RSEQ_CPU_ID_REGISTRATION_FAILED = -2;

/* glibc's signature on x86. */
export const RSEQ_SIG = 0x53053053;

/** Offsets in bytes of the fields of struct rseq; the first published size is 32. */
export const RSEQ = { bytes: 32, cpu_id_start: 0, cpu_id: 4, rseq_cs: 8, flags: 16, node_id: 20, mm_cid: 24 } as const;

/** Offsets in bytes of the fields of struct rseq_cs, a critical section. */
export const RSEQ_CS = { bytes: 32, version: 0, flags: 4, start_ip: 8, post_commit_offset: 16, abort_ip: 24 } as const;
