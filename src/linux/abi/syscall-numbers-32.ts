/**
 * System call numbers of 32-bit programs, as far as they are used here or recognised in registers
 * (arch/x86/entry/syscalls/syscall_32.tbl).
 */
export const SYS_32 = {
  restart_syscall: 0,
  munmap: 91,
  nanosleep: 162,
  poll: 168,
  rt_sigaction: 174,
  mmap2: 192,
  futex: 240,
  io_setup: 245,
  clock_nanosleep: 267,
  openat: 295,
  set_robust_list: 311,
  get_robust_list: 312,
  clock_nanosleep_time64: 407,
  futex_time64: 422,
} as const;
