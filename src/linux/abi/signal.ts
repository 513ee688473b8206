/**
 * sigaction(2), sigaltstack(2), rt_sigprocmask(2), sigqueue(3): numbers, flags, si_code values and sizes for x86-64.
 * Values: asm/signal.h, asm-generic/siginfo.h.
 */

/* Signal numbers. */
export const SIGHUP = 1;
export const SIGINT = 2;
export const SIGQUIT = 3;
export const SIGILL = 4;
export const SIGTRAP = 5;
export const SIGABRT = 6;
export const SIGBUS = 7;
export const SIGFPE = 8;
export const SIGKILL = 9;
export const SIGUSR1 = 10;
export const SIGSEGV = 11;
export const SIGUSR2 = 12;
export const SIGPIPE = 13;
export const SIGALRM = 14;
export const SIGTERM = 15;
export const SIGSTKFLT = 16;
export const SIGCHLD = 17;
export const SIGCONT = 18;
export const SIGSTOP = 19;
export const SIGTSTP = 20;
export const SIGTTIN = 21;
export const SIGTTOU = 22;
export const SIGURG = 23;
export const SIGXCPU = 24;
export const SIGXFSZ = 25;
export const SIGVTALRM = 26;
export const SIGPROF = 27;
export const SIGWINCH = 28;
export const SIGIO = 29;
export const SIGPWR = 30;
export const SIGSYS = 31;

/* First and last real-time signal as the kernel counts them; the C library keeps the first two for itself. */
export const SIGRTMIN = 32;
export const SIGRTMAX = 64;

/* Number of signals; a kernel sigset has as many bits. */
export const _NSIG = 64;
export const SIGSET_BYTES = 8;

/* sigaction handlers that are not addresses. */
export const SIG_DFL = 0;
export const SIG_IGN = 1;

/* rt_sigprocmask operations. */
export const SIG_BLOCK = 0;
export const SIG_UNBLOCK = 1;
export const SIG_SETMASK = 2;

/* sigaction flags. */
export const SA_NOCLDSTOP = 0x00000001;
export const SA_NOCLDWAIT = 0x00000002;
export const SA_SIGINFO = 0x00000004;
export const SA_UNSUPPORTED = 0x00000400;
export const SA_EXPOSE_TAGBITS = 0x00000800;
export const SA_RESTORER = 0x04000000;
export const SA_ONSTACK = 0x08000000;
export const SA_RESTART = 0x10000000;
export const SA_NODEFER = 0x40000000;
export const SA_RESETHAND = 0x80000000;

/* sigaltstack flags and smallest size. */
export const SS_ONSTACK = 1;
export const SS_DISABLE = 2;
export const SS_AUTODISARM = 0x80000000;

/* sigaltstack sizes, bytes. */
export const MINSIGSTKSZ = 2048;
export const SIGSTKSZ = 8192;

/* si_code of signals sent by programs and the kernel. */
export const SI_ASYNCNL = -60;
export const SI_DETHREAD = -7;
export const SI_TKILL = -6;
export const SI_SIGIO = -5;
export const SI_ASYNCIO = -4;
export const SI_MESGQ = -3;
export const SI_TIMER = -2;
export const SI_QUEUE = -1;
export const SI_USER = 0;
export const SI_KERNEL = 128;

/* si_code of SIGCHLD. */
export const CLD_EXITED = 1;
export const CLD_KILLED = 2;
export const CLD_DUMPED = 3;
export const CLD_TRAPPED = 4;
export const CLD_STOPPED = 5;
export const CLD_CONTINUED = 6;

/* si_code of SIGTRAP. */
export const TRAP_BRKPT = 1;
export const TRAP_PERF_FLAG_ASYNC = 1;
export const TRAP_TRACE = 2;
export const TRAP_BRANCH = 3;
export const TRAP_HWBKPT = 4;
export const TRAP_UNK = 5;
export const TRAP_PERF = 6;

/* si_code of SIGSEGV and SIGSYS. */
export const SEGV_MAPERR = 1;
export const SEGV_ACCERR = 2;
export const SEGV_BNDERR = 3;
export const SEGV_PKUERR = 4;
export const SYS_SECCOMP = 1;
export const SYS_USER_DISPATCH = 2;

/* sigevent.sigev_notify. */
export const SIGEV_SIGNAL = 0;
export const SIGEV_NONE = 1;
export const SIGEV_THREAD = 2;
export const SIGEV_THREAD_ID = 4;

/* Sizes of kernel structures, bytes: siginfo_t, struct sigevent, rt_sigaction's struct, stack_t, signalfd_siginfo. */
export const SIGINFO_BYTES = 128;
export const SIGEVENT_BYTES = 64;
export const KERNEL_SIGACTION_BYTES = 32;
export const KERNEL_SIGACTION_32_BYTES = 20;
export const STACK_T_BYTES = 24;
export const SIGNALFD_SIGINFO_BYTES = 128;

/** Offsets in bytes of the fields of the kernel's struct sigaction on x86-64 (not the C library's). */
export const KERNEL_SIGACTION = { handler: 0, flags: 8, restorer: 16, mask: 24 } as const;

/** The same for 32-bit programs: struct compat_sigaction (linux/compat.h). */
export const KERNEL_SIGACTION_32 = { handler: 0, flags: 4, restorer: 8, mask: 12 } as const;

/** Offsets in bytes of the fields of stack_t. */
export const STACK_T = { ss_sp: 0, ss_flags: 8, ss_size: 16 } as const;

/** Signal names by number; index 0 is no signal. */
export const SIGNAL_NAMES = [
  '0',
  'SIGHUP',
  'SIGINT',
  'SIGQUIT',
  'SIGILL',
  'SIGTRAP',
  'SIGABRT',
  'SIGBUS',
  'SIGFPE',
  'SIGKILL',
  'SIGUSR1',
  'SIGSEGV',
  'SIGUSR2',
  'SIGPIPE',
  'SIGALRM',
  'SIGTERM',
  'SIGSTKFLT',
  'SIGCHLD',
  'SIGCONT',
  'SIGSTOP',
  'SIGTSTP',
  'SIGTTIN',
  'SIGTTOU',
  'SIGURG',
  'SIGXCPU',
  'SIGXFSZ',
  'SIGVTALRM',
  'SIGPROF',
  'SIGWINCH',
  'SIGIO',
  'SIGPWR',
  'SIGSYS',
] as const;

/** Name of a signal for logs: `SIGUSR1`, `SIGRTMIN+3`, or `signal 99` when there is no such signal. */
export function signalName(signal: number): string {
  const name = SIGNAL_NAMES[signal];
  if (name !== undefined) return name;
  if (signal === SIGRTMIN) return 'SIGRTMIN';
  return signal > SIGRTMIN && signal <= SIGRTMAX ? `SIGRTMIN+${signal - SIGRTMIN}` : `signal ${signal}`;
}
