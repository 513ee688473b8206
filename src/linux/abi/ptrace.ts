/**
 * ptrace(2): requests, options, events, register sets, for x86-64.
 * Values: linux/ptrace.h, asm/ptrace-abi.h, linux/elf.h.
 */

/* Requests. */
export const PTRACE_TRACEME = 0;
export const PTRACE_PEEKTEXT = 1;
export const PTRACE_PEEKDATA = 2;
export const PTRACE_PEEKUSR = 3;
export const PTRACE_POKETEXT = 4;
export const PTRACE_POKEDATA = 5;
export const PTRACE_POKEUSR = 6;
export const PTRACE_CONT = 7;
export const PTRACE_KILL = 8;
export const PTRACE_SINGLESTEP = 9;
export const PTRACE_GETREGS = 12;
export const PTRACE_SETREGS = 13;
export const PTRACE_GETFPREGS = 14;
export const PTRACE_SETFPREGS = 15;
export const PTRACE_ATTACH = 16;
export const PTRACE_DETACH = 17;
export const PTRACE_GETFPXREGS = 18;
export const PTRACE_SETFPXREGS = 19;
export const PTRACE_SYSCALL = 24;
export const PTRACE_GET_THREAD_AREA = 25;
export const PTRACE_SET_THREAD_AREA = 26;
export const PTRACE_ARCH_PRCTL = 30;
export const PTRACE_SYSEMU = 31;
export const PTRACE_SYSEMU_SINGLESTEP = 32;
export const PTRACE_SINGLEBLOCK = 33;

/* Requests of the newer range. */
export const PTRACE_SETOPTIONS = 0x4200;
export const PTRACE_GETEVENTMSG = 0x4201;
export const PTRACE_GETSIGINFO = 0x4202;
export const PTRACE_SETSIGINFO = 0x4203;
export const PTRACE_GETREGSET = 0x4204;
export const PTRACE_SETREGSET = 0x4205;
export const PTRACE_SEIZE = 0x4206;
export const PTRACE_INTERRUPT = 0x4207;
export const PTRACE_LISTEN = 0x4208;
export const PTRACE_PEEKSIGINFO = 0x4209;
export const PTRACE_GETSIGMASK = 0x420a;
export const PTRACE_SETSIGMASK = 0x420b;
export const PTRACE_SECCOMP_GET_FILTER = 0x420c;
export const PTRACE_SECCOMP_GET_METADATA = 0x420d;
export const PTRACE_GET_SYSCALL_INFO = 0x420e;
export const PTRACE_GET_RSEQ_CONFIGURATION = 0x420f;
export const PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG = 0x4210;
export const PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG = 0x4211;
export const PTRACE_SET_SYSCALL_INFO = 0x4212;

/* Options. */
export const PTRACE_O_TRACESYSGOOD = 0x00000001;
export const PTRACE_O_TRACEFORK = 0x00000002;
export const PTRACE_O_TRACEVFORK = 0x00000004;
export const PTRACE_O_TRACECLONE = 0x00000008;
export const PTRACE_O_TRACEEXEC = 0x00000010;
export const PTRACE_O_TRACEVFORKDONE = 0x00000020;
export const PTRACE_O_TRACEEXIT = 0x00000040;
export const PTRACE_O_TRACESECCOMP = 0x00000080;
export const PTRACE_O_EXITKILL = 0x00100000;
export const PTRACE_O_SUSPEND_SECCOMP = 0x00200000;
export const PTRACE_O_MASK = 0x003000ff;

/* Events, in bits 16 and up of a wait status. */
export const PTRACE_EVENT_FORK = 1;
export const PTRACE_EVENT_VFORK = 2;
export const PTRACE_EVENT_CLONE = 3;
export const PTRACE_EVENT_EXEC = 4;
export const PTRACE_EVENT_VFORK_DONE = 5;
export const PTRACE_EVENT_EXIT = 6;
export const PTRACE_EVENT_SECCOMP = 7;
export const PTRACE_EVENT_STOP = 128;

/* PTRACE_GETEVENTMSG values of a syscall stop. */
export const PTRACE_EVENTMSG_SYSCALL_ENTRY = 1;
export const PTRACE_EVENTMSG_SYSCALL_EXIT = 2;

/* ptrace_syscall_info.op. */
export const PTRACE_SYSCALL_INFO_NONE = 0;
export const PTRACE_SYSCALL_INFO_ENTRY = 1;
export const PTRACE_SYSCALL_INFO_EXIT = 2;
export const PTRACE_SYSCALL_INFO_SECCOMP = 3;

/* ptrace_peeksiginfo_args.flags: the queue of the process instead of the thread. */
export const PTRACE_PEEKSIGINFO_SHARED = 1;

/* Register sets of PTRACE_GETREGSET. */
export const NT_PRSTATUS = 1;
export const NT_PRFPREG = 2;
export const NT_386_TLS = 0x200;
export const NT_386_IOPERM = 0x201;
export const NT_X86_XSTATE = 0x202;
export const NT_X86_SHSTK = 0x204;
export const NT_X86_XSAVE_LAYOUT = 0x205;

/** Size of struct ptrace_rseq_configuration, bytes, and offsets of its fields. */
export const PTRACE_RSEQ_CONFIGURATION = {
  bytes: 24,
  rseq_abi_pointer: 0,
  rseq_abi_size: 8,
  signature: 12,
  flags: 16,
} as const;

/** struct ptrace_peeksiginfo_args: first entry (u64), flags (u32), number of entries (s32). */
export const PTRACE_PEEKSIGINFO_ARGS = { bytes: 16, off: 0, flags: 8, nr: 12 } as const;

/** struct seccomp_metadata of PTRACE_SECCOMP_GET_METADATA. */
export const SECCOMP_METADATA = { bytes: 16, filter_off: 0, flags: 8 } as const;

/** struct ptrace_sud_config (syscall user dispatch). */
export const PTRACE_SUD_CONFIG = { bytes: 32, mode: 0, selector: 8, offset: 16, len: 24 } as const;

/** Index of each field of struct user_regs_struct (PTRACE_GETREGS, NT_PRSTATUS); they are 64 bits wide. */
export const USER_REGS = {
  r15: 0,
  r14: 1,
  r13: 2,
  r12: 3,
  rbp: 4,
  rbx: 5,
  r11: 6,
  r10: 7,
  r9: 8,
  r8: 9,
  rax: 10,
  rcx: 11,
  rdx: 12,
  rsi: 13,
  rdi: 14,
  orig_rax: 15,
  rip: 16,
  cs: 17,
  eflags: 18,
  rsp: 19,
  ss: 20,
  fs_base: 21,
  gs_base: 22,
  ds: 23,
  es: 24,
  fs: 25,
  gs: 26,
} as const;

/** Size of struct user_regs_struct, bytes. */
export const USER_REGS_BYTES = 216;
