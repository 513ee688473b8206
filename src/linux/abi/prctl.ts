/**
 * prctl(2) and arch_prctl(2): operations and their arguments, and the securebits, for x86-64.
 * Values: linux/prctl.h, linux/securebits.h, asm/prctl.h. Operations of other architectures are left out.
 */

/* Operations. */
export const PR_SET_PDEATHSIG = 1;
export const PR_GET_PDEATHSIG = 2;
export const PR_GET_DUMPABLE = 3;
export const PR_SET_DUMPABLE = 4;
export const PR_GET_KEEPCAPS = 7;
export const PR_SET_KEEPCAPS = 8;
export const PR_GET_TIMING = 13;
export const PR_SET_TIMING = 14;
export const PR_SET_NAME = 15;
export const PR_GET_NAME = 16;
export const PR_GET_SECCOMP = 21;
export const PR_SET_SECCOMP = 22;
export const PR_CAPBSET_READ = 23;
export const PR_CAPBSET_DROP = 24;
export const PR_GET_TSC = 25;
export const PR_SET_TSC = 26;
export const PR_GET_SECUREBITS = 27;
export const PR_SET_SECUREBITS = 28;
export const PR_SET_TIMERSLACK = 29;
export const PR_GET_TIMERSLACK = 30;
export const PR_TASK_PERF_EVENTS_DISABLE = 31;
export const PR_TASK_PERF_EVENTS_ENABLE = 32;
export const PR_MCE_KILL = 33;
export const PR_MCE_KILL_GET = 34;
export const PR_SET_MM = 35;
export const PR_SET_CHILD_SUBREAPER = 36;
export const PR_GET_CHILD_SUBREAPER = 37;
export const PR_SET_NO_NEW_PRIVS = 38;
export const PR_GET_NO_NEW_PRIVS = 39;
export const PR_GET_TID_ADDRESS = 40;
export const PR_SET_THP_DISABLE = 41;
export const PR_GET_THP_DISABLE = 42;
export const PR_CAP_AMBIENT = 47;
export const PR_GET_SPECULATION_CTRL = 52;
export const PR_SET_SPECULATION_CTRL = 53;
export const PR_SET_IO_FLUSHER = 57;
export const PR_GET_IO_FLUSHER = 58;
export const PR_SET_SYSCALL_USER_DISPATCH = 59;
export const PR_SCHED_CORE = 62;
export const PR_SET_MDWE = 65;
export const PR_GET_MDWE = 66;
export const PR_SET_MEMORY_MERGE = 67;
export const PR_GET_MEMORY_MERGE = 68;
export const PR_GET_SHADOW_STACK_STATUS = 74;
export const PR_SET_SHADOW_STACK_STATUS = 75;
export const PR_LOCK_SHADOW_STACK_STATUS = 76;
export const PR_TIMER_CREATE_RESTORE_IDS = 77;
export const PR_FUTEX_HASH = 78;

/* Operations with a spoken number. */
export const PR_SET_PTRACER = 0x59616d61;
export const PR_SET_VMA = 0x53564d41;
export const PR_GET_AUXV = 0x41555856;

/* PR_SET_PTRACER: every process may trace. */
export const PR_SET_PTRACER_ANY = -1;

/* PR_SET_MM. */
export const PR_SET_MM_START_CODE = 1;
export const PR_SET_MM_END_CODE = 2;
export const PR_SET_MM_START_DATA = 3;
export const PR_SET_MM_END_DATA = 4;
export const PR_SET_MM_START_STACK = 5;
export const PR_SET_MM_START_BRK = 6;
export const PR_SET_MM_BRK = 7;
export const PR_SET_MM_ARG_START = 8;
export const PR_SET_MM_ARG_END = 9;
export const PR_SET_MM_ENV_START = 10;
export const PR_SET_MM_ENV_END = 11;
export const PR_SET_MM_AUXV = 12;
export const PR_SET_MM_EXE_FILE = 13;
export const PR_SET_MM_MAP = 14;
export const PR_SET_MM_MAP_SIZE = 15;

/* PR_SET_DUMPABLE (linux/sched/coredump.h). */
export const SUID_DUMP_DISABLE = 0;
export const SUID_DUMP_USER = 1;
export const SUID_DUMP_ROOT = 2;

/* PR_SET_TSC. */
export const PR_TSC_ENABLE = 1;
export const PR_TSC_SIGSEGV = 2;

/* PR_MCE_KILL. */
export const PR_MCE_KILL_CLEAR = 0;
export const PR_MCE_KILL_LATE = 0;
export const PR_MCE_KILL_EARLY = 1;
export const PR_MCE_KILL_SET = 1;
export const PR_MCE_KILL_DEFAULT = 2;

/* PR_CAP_AMBIENT. */
export const PR_CAP_AMBIENT_IS_SET = 1;
export const PR_CAP_AMBIENT_RAISE = 2;
export const PR_CAP_AMBIENT_LOWER = 3;
export const PR_CAP_AMBIENT_CLEAR_ALL = 4;

/* PR_SET_VMA. */
export const PR_SET_VMA_ANON_NAME = 0;

/* PR_SET_THP_DISABLE flag (6.18). */
export const PR_THP_DISABLE_EXCEPT_ADVISED = 2;

/* PR_SET_SPECULATION_CTRL. */
export const PR_SPEC_STORE_BYPASS = 0;
export const PR_SPEC_INDIRECT_BRANCH = 1;
export const PR_SPEC_L1D_FLUSH = 2;
export const PR_SPEC_NOT_AFFECTED = 0;
export const PR_SPEC_PRCTL = 1;
export const PR_SPEC_ENABLE = 2;
export const PR_SPEC_DISABLE = 4;
export const PR_SPEC_FORCE_DISABLE = 8;
export const PR_SPEC_DISABLE_NOEXEC = 16;

/* PR_SET_SYSCALL_USER_DISPATCH. */
export const PR_SYS_DISPATCH_OFF = 0;
export const PR_SYS_DISPATCH_ON = 1;
export const PR_SYS_DISPATCH_EXCLUSIVE_ON = 1;
export const PR_SYS_DISPATCH_INCLUSIVE_ON = 2;
export const SYSCALL_DISPATCH_FILTER_ALLOW = 0;
export const SYSCALL_DISPATCH_FILTER_BLOCK = 1;

/* PR_SET_MDWE (memory-deny-write-execute). */
export const PR_MDWE_REFUSE_EXEC_GAIN = 1;
export const PR_MDWE_NO_INHERIT = 2;

/* PR_SCHED_CORE. */
export const PR_SCHED_CORE_GET = 0;
export const PR_SCHED_CORE_CREATE = 1;
export const PR_SCHED_CORE_SHARE_TO = 2;
export const PR_SCHED_CORE_SHARE_FROM = 3;
export const PR_SCHED_CORE_SCOPE_THREAD = 0;
export const PR_SCHED_CORE_SCOPE_THREAD_GROUP = 1;
export const PR_SCHED_CORE_SCOPE_PROCESS_GROUP = 2;

/* PR_TIMER_CREATE_RESTORE_IDS (6.15). */
export const PR_TIMER_CREATE_RESTORE_IDS_OFF = 0;
export const PR_TIMER_CREATE_RESTORE_IDS_ON = 1;
export const PR_TIMER_CREATE_RESTORE_IDS_GET = 2;

/* PR_FUTEX_HASH (6.16). */
export const PR_FUTEX_HASH_SET_SLOTS = 1;
export const PR_FUTEX_HASH_GET_SLOTS = 2;

/* PR_SET_SECUREBITS. */
export const SECBIT_NOROOT = 1;
export const SECBIT_NOROOT_LOCKED = 2;
export const SECBIT_NO_SETUID_FIXUP = 4;
export const SECBIT_NO_SETUID_FIXUP_LOCKED = 8;
export const SECBIT_KEEP_CAPS = 0x10;
export const SECBIT_KEEP_CAPS_LOCKED = 0x20;
export const SECBIT_NO_CAP_AMBIENT_RAISE = 0x40;
export const SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED = 0x80;
export const SECBIT_EXEC_RESTRICT_FILE = 0x100;
export const SECBIT_EXEC_RESTRICT_FILE_LOCKED = 0x200;
export const SECBIT_EXEC_DENY_INTERACTIVE = 0x400;
export const SECBIT_EXEC_DENY_INTERACTIVE_LOCKED = 0x800;

/* arch_prctl operations. */
export const ARCH_SET_GS = 0x1001;
export const ARCH_SET_FS = 0x1002;
export const ARCH_GET_FS = 0x1003;
export const ARCH_GET_GS = 0x1004;
export const ARCH_GET_CPUID = 0x1011;
export const ARCH_SET_CPUID = 0x1012;
export const ARCH_GET_XCOMP_SUPP = 0x1021;
export const ARCH_GET_XCOMP_PERM = 0x1022;
export const ARCH_REQ_XCOMP_PERM = 0x1023;
export const ARCH_MAP_VDSO_X32 = 0x2001;
export const ARCH_MAP_VDSO_32 = 0x2002;
export const ARCH_MAP_VDSO_64 = 0x2003;
export const ARCH_SHSTK_ENABLE = 0x5001;
export const ARCH_SHSTK_DISABLE = 0x5002;
export const ARCH_SHSTK_LOCK = 0x5003;
export const ARCH_SHSTK_UNLOCK = 0x5004;
export const ARCH_SHSTK_STATUS = 0x5005;

/* Features of ARCH_SHSTK_ENABLE. */
export const ARCH_SHSTK_SHSTK = 1;
export const ARCH_SHSTK_WRSS = 2;

/** Offsets in bytes of the fields of struct prctl_mm_map (PR_SET_MM_MAP); 64 bits wide but for the last two. */
export const PRCTL_MM_MAP = {
  start_code: 0,
  end_code: 8,
  start_data: 16,
  end_data: 24,
  start_brk: 32,
  brk: 40,
  start_stack: 48,
  arg_start: 56,
  arg_end: 64,
  env_start: 72,
  env_end: 80,
  auxv: 88,
  auxv_size: 96,
  exe_fd: 100,
} as const;

/** Size of struct prctl_mm_map, bytes. */
export const PRCTL_MM_MAP_BYTES = 104;
