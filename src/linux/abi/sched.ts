/**
 * clone(2), clone3(2), unshare(2), setns(2), sched_setattr(2).
 * The flags above 32 bits exist in clone3 only; use arithmetic or bigint, not `|`, to combine those.
 * Values: linux/sched.h, linux/sched/types.h.
 */

/* Bits of the clone flags that hold the exit signal (not in clone3). */
export const CSIGNAL = 0x000000ff;

/* clone and unshare flags. */
export const CLONE_NEWTIME = 0x00000080;
export const CLONE_VM = 0x00000100;
export const CLONE_FS = 0x00000200;
export const CLONE_FILES = 0x00000400;
export const CLONE_SIGHAND = 0x00000800;
export const CLONE_PIDFD = 0x00001000;
export const CLONE_PTRACE = 0x00002000;
export const CLONE_VFORK = 0x00004000;
export const CLONE_PARENT = 0x00008000;
export const CLONE_THREAD = 0x00010000;
export const CLONE_NEWNS = 0x00020000;
export const CLONE_SYSVSEM = 0x00040000;
export const CLONE_SETTLS = 0x00080000;
export const CLONE_PARENT_SETTID = 0x00100000;
export const CLONE_CHILD_CLEARTID = 0x00200000;
export const CLONE_DETACHED = 0x00400000;
export const CLONE_UNTRACED = 0x00800000;
export const CLONE_CHILD_SETTID = 0x01000000;
export const CLONE_NEWCGROUP = 0x02000000;
export const CLONE_NEWUTS = 0x04000000;
export const CLONE_NEWIPC = 0x08000000;
export const CLONE_NEWUSER = 0x10000000;
export const CLONE_NEWPID = 0x20000000;
export const CLONE_NEWNET = 0x40000000;
export const CLONE_IO = 0x80000000;
export const CLONE_CLEAR_SIGHAND = 0x100000000;
export const CLONE_INTO_CGROUP = 0x200000000;

/* Sizes of struct clone_args, bytes. */
export const CLONE_ARGS_SIZE_VER0 = 64;
export const CLONE_ARGS_SIZE_VER1 = 80;
export const CLONE_ARGS_SIZE_VER2 = 88;

/* Scheduling policies. */
export const SCHED_NORMAL = 0;
export const SCHED_FIFO = 1;
export const SCHED_RR = 2;
export const SCHED_BATCH = 3;
export const SCHED_IDLE = 5;
export const SCHED_DEADLINE = 6;
export const SCHED_EXT = 7;

/* Or-ed to the policy by sched_getscheduler. */
export const SCHED_RESET_ON_FORK = 0x40000000;

/* sched_attr.sched_flags. */
export const SCHED_FLAG_RESET_ON_FORK = 0x00000001;
export const SCHED_FLAG_RECLAIM = 0x00000002;
export const SCHED_FLAG_DL_OVERRUN = 0x00000004;
export const SCHED_FLAG_KEEP_POLICY = 0x00000008;
export const SCHED_FLAG_KEEP_PARAMS = 0x00000010;
export const SCHED_FLAG_KEEP_ALL = 0x00000018;
export const SCHED_FLAG_UTIL_CLAMP_MIN = 0x00000020;
export const SCHED_FLAG_UTIL_CLAMP_MAX = 0x00000040;
export const SCHED_FLAG_UTIL_CLAMP = 0x00000060;
export const SCHED_FLAG_ALL = 0x0000007f;

/* Sizes of struct sched_attr, bytes. */
export const SCHED_ATTR_SIZE_VER0 = 48;
export const SCHED_ATTR_SIZE_VER1 = 56;

/** Offsets in bytes of the fields of struct clone_args (all are 64 bits wide). */
export const CLONE_ARGS = {
  flags: 0,
  pidfd: 8,
  child_tid: 16,
  parent_tid: 24,
  exit_signal: 32,
  stack: 40,
  stack_size: 48,
  tls: 56,
  set_tid: 64,
  set_tid_size: 72,
  cgroup: 80,
} as const;
