/**
 * wait4(2), waitid(2): options, and the decoding of a wait status.
 * Values: linux/wait.h; the layout of the status: man 2 wait, kernel/exit.c and kernel/ptrace.c.
 */

/* Options. */
export const WNOHANG = 0x00000001;
export const WUNTRACED = 0x00000002;
export const WSTOPPED = 0x00000002;
export const WEXITED = 0x00000004;
export const WCONTINUED = 0x00000008;
export const WNOWAIT = 0x01000000;
export const __WNOTHREAD = 0x20000000;
export const __WALL = 0x40000000;
export const __WCLONE = 0x80000000;

/* waitid id types. */
export const P_ALL = 0;
export const P_PID = 1;
export const P_PGID = 2;
export const P_PIDFD = 3;

/** True when the task ended by exit. */
export function WIFEXITED(status: number): boolean {
  return (status & 0x7f) === 0;
}

/** Exit code; only when WIFEXITED. */
export function WEXITSTATUS(status: number): number {
  return (status >> 8) & 0xff;
}

/** True when a signal killed the task. */
export function WIFSIGNALED(status: number): boolean {
  const low = status & 0x7f;
  return low !== 0 && low !== 0x7f;
}

/** Signal that killed the task; only when WIFSIGNALED. */
export function WTERMSIG(status: number): number {
  return status & 0x7f;
}

/** True when the killed task left a core dump; only when WIFSIGNALED. */
export function WCOREDUMP(status: number): boolean {
  return (status & 0x80) !== 0;
}

/** True when the task stopped (job control or ptrace). */
export function WIFSTOPPED(status: number): boolean {
  return (status & 0xff) === 0x7f;
}

/** Signal that stopped the task (for ptrace with 0x80 set in a syscall stop); only when WIFSTOPPED. */
export function WSTOPSIG(status: number): number {
  return (status >> 8) & 0xff;
}

/** PTRACE_EVENT_* of a ptrace stop, 0 when the stop is no event; only when WIFSTOPPED. */
export function ptraceEvent(status: number): number {
  return (status >> 16) & 0xffff;
}

/** True when a stopped task went on. */
export function WIFCONTINUED(status: number): boolean {
  return status === 0xffff;
}
