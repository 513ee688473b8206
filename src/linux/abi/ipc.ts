/**
 * System V IPC: shmget(2), semget(2), msgget(2) and their control calls. Values: linux/ipc.h, shm.h, sem.h, msg.h.
 */

/* Common. */
export const IPC_PRIVATE = 0;
export const IPC_CREAT = 0o1000;
export const IPC_EXCL = 0o2000;
export const IPC_NOWAIT = 0o4000;

/* Common control commands. */
export const IPC_RMID = 0;
export const IPC_SET = 1;
export const IPC_STAT = 2;
export const IPC_INFO = 3;

/* shmget and shmat flags. */
export const SHM_R = 0o400;
export const SHM_W = 0o200;
export const SHM_HUGETLB = 0o4000;
export const SHM_NORESERVE = 0o10000;
export const SHM_RDONLY = 0o10000;
export const SHM_RND = 0o20000;
export const SHM_REMAP = 0o40000;
export const SHM_EXEC = 0o100000;

/* Marks in shm_perm.mode (include/linux/shm.h). */
export const SHM_DEST = 0o1000;
export const SHM_LOCKED = 0o2000;

/* shmctl commands. */
export const SHM_LOCK = 11;
export const SHM_UNLOCK = 12;
export const SHM_STAT = 13;
export const SHM_INFO = 14;
export const SHM_STAT_ANY = 15;

/* semctl commands and semop flag. */
export const GETPID = 11;
export const GETVAL = 12;
export const GETALL = 13;
export const GETNCNT = 14;
export const GETZCNT = 15;
export const SETVAL = 16;
export const SETALL = 17;
export const SEM_STAT = 18;
export const SEM_INFO = 19;
export const SEM_STAT_ANY = 20;
export const SEM_UNDO = 4096;

/* msgctl commands and msgrcv flags. */
export const MSG_STAT = 11;
export const MSG_INFO = 12;
export const MSG_STAT_ANY = 13;
export const MSG_NOERROR = 4096;
export const MSG_EXCEPT = 8192;
export const MSG_COPY = 16384;
