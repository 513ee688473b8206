/**
 * futex(2), get_robust_list(2). Values: linux/futex.h.
 */

/* Operations. */
export const FUTEX_WAIT = 0;
export const FUTEX_WAKE = 1;
export const FUTEX_REQUEUE = 3;
export const FUTEX_CMP_REQUEUE = 4;
export const FUTEX_WAKE_OP = 5;
export const FUTEX_LOCK_PI = 6;
export const FUTEX_UNLOCK_PI = 7;
export const FUTEX_TRYLOCK_PI = 8;
export const FUTEX_WAIT_BITSET = 9;
export const FUTEX_WAKE_BITSET = 10;
export const FUTEX_WAIT_REQUEUE_PI = 11;
export const FUTEX_CMP_REQUEUE_PI = 12;
export const FUTEX_LOCK_PI2 = 13;

/* Flags of the operation. */
export const FUTEX_PRIVATE_FLAG = 128;
export const FUTEX_CLOCK_REALTIME = 256;

/* Bits of a robust or priority-inheriting futex. */
export const FUTEX_WAITERS = 0x80000000;
export const FUTEX_OWNER_DIED = 0x40000000;
export const FUTEX_TID_MASK = 0x3fffffff;

/* Any bit of FUTEX_WAIT_BITSET. */
export const FUTEX_BITSET_MATCH_ANY = 0xffffffff;

/** Size of struct robust_list_head, bytes; the only one that set_robust_list takes. */
export const ROBUST_LIST_HEAD_BYTES = 24;
