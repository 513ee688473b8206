/**
 * Stopping and waiting for single threads with ptrace (man 2 ptrace, "Stopped states").
 *
 * A tracee's death is no error here but a value: 'gone'.
 */
import { ERRNO } from '../linux/abi/errno.ts';
import {
  PTRACE_CONT,
  PTRACE_DETACH,
  PTRACE_EVENT_STOP,
  PTRACE_INTERRUPT,
  PTRACE_KILL,
  PTRACE_O_SUSPEND_SECCOMP,
  PTRACE_O_TRACESYSGOOD,
  PTRACE_SEIZE,
  PTRACE_SETOPTIONS,
} from '../linux/abi/ptrace.ts';
import { SIGKILL, SIGSTOP, SIGTRAP, SIGTSTP, SIGTTIN, SIGTTOU } from '../linux/abi/signal.ts';
import { ptraceEvent, WIFSTOPPED, WSTOPSIG } from '../linux/abi/wait.ts';
import { check } from '../linux/kernel.ts';
import { tryReadFile } from '../linux/syscalls/fs.ts';
import { kill, ptrace, tryWait } from '../linux/syscalls/process.ts';
import { parseStat } from '../proc/stat.ts';

/** Why a thread stopped. */
export type Stop =
  /** PTRACE_INTERRUPT or the start of a new tracee: nothing pending. */
  | { readonly kind: 'trap' }
  /** Job control: the whole process is stopped by this signal. */
  | { readonly kind: 'group-stop'; readonly signal: number }
  /** A signal is about to be delivered; continuing without it loses it. */
  | { readonly kind: 'signal'; readonly signal: number }
  /** PTRACE_EVENT_* other than STOP. */
  | { readonly kind: 'event'; readonly event: number }
  | 'gone';

const STOPPING_SIGNALS: readonly number[] = [SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU];

/** What a wait status says. */
export function classify(status: number): Stop {
  if (!WIFSTOPPED(status)) return 'gone';
  const [event, signal] = [ptraceEvent(status), WSTOPSIG(status)];
  if (event === PTRACE_EVENT_STOP) {
    return STOPPING_SIGNALS.includes(signal) ? { kind: 'group-stop', signal } : { kind: 'trap' };
  }
  return event !== 0 ? { kind: 'event', event } : { kind: 'signal', signal };
}

/** Waits for the next stop of one thread. */
export function waitForStop(tid: number): Stop {
  return classify(waitForStatus(tid));
}

/** The status word of the next stop of one thread, or of its end. */
export function waitForStatus(tid: number): number {
  const waited = tryWait(tid);
  if (waited === undefined || waited === -ERRNO.ECHILD) return ENDED;
  if (typeof waited !== 'number') return waited.status;
  check('wait4', waited, `${tid}`);
  return ENDED;
}

/** The status word of a thread that has ended (by exit, but what matters is that it did not stop). */
export const ENDED = 0;

/**
 * PTRACE_SEIZE; 'gone' when the thread is dead. System call stops are told from SIGTRAP (PTRACE_O_TRACESYSGOOD): without
 * that the kernel sends the thread a real SIGTRAP when its tracer dies in such a stop. Throws SyscallError (EPERM: somebody else traces it, or may not). */
export function seize(tid: number, options = 0): 'seized' | 'gone' {
  const result = ptrace(PTRACE_SEIZE, tid, 0, options | PTRACE_O_TRACESYSGOOD);
  if (result === -ERRNO.ESRCH) return 'gone';
  check('ptrace', result, `SEIZE, ${tid}`);
  return 'seized';
}

/** The filters of a seized thread do not see the agent's system calls. They are back by themselves when we detach. */
export function suspendSeccomp(tid: number): void {
  setOptions(tid, 0, true);
}

/** PTRACE_SETOPTIONS for a stopped thread. */
export function setOptions(tid: number, options: number, suspendsSeccomp: boolean): void {
  const seccomp = suspendsSeccomp ? PTRACE_O_SUSPEND_SECCOMP : 0;
  ptrace(PTRACE_SETOPTIONS, tid, 0, options | seccomp | PTRACE_O_TRACESYSGOOD);
}

/** PTRACE_INTERRUPT: the thread will stop soon. */
export function interrupt(tid: number): void {
  ptrace(PTRACE_INTERRUPT, tid);
}

/** PTRACE_CONT, delivering `signal` (0: none). False when the thread is gone. */
export function resume(tid: number, signal = 0): boolean {
  return ptrace(PTRACE_CONT, tid, 0, signal) === 0;
}

/** PTRACE_DETACH, delivering `signal` (0: none). */
export function detach(tid: number, signal = 0): void {
  ptrace(PTRACE_DETACH, tid, 0, signal);
}

/** How long somebody may take to stop who is not scheduled: a busy machine. */
const STOPPING_MS = 1000;

/** Waits until tasks that were let go with a stop signal have come to it, or have ended. */
export function waitForJobStop(pids: readonly number[]): void {
  let left = pids;
  for (let waitedMs = 0; waitedMs < STOPPING_MS; waitedMs++) {
    left = left.filter((pid) => {
      const text = tryReadFile(`/proc/${pid}/stat`);
      return typeof text === 'string' && !'TZX'.includes(parseStat(text).state);
    });
    if (left.length === 0) return;
    Bun.sleepSync(1);
  }
}

/**
 * Ends a task that we trace. A tracer may do that where kill(2) may not: without CAP_KILL, to a task of another user
 * (kernel/ptrace.c, ptrace_request()).
 */
export function killTracee(pid: number): void {
  if (kill(pid, SIGKILL) < 0) ptrace(PTRACE_KILL, pid);
}

/**
 * Waits until an interrupted thread has stopped without a signal in hand. Signals that arrive first are delivered: the
 * thread runs on with them until the trap, which stays pending (kernel/signal.c, JOBCTL_TRAP_STOP).
 */
export function waitForTrap(tid: number): TrapStop {
  for (;;) {
    const stop = passOn(tid, waitForStatus(tid));
    if (stop !== undefined) return stop;
  }
}

/** Where an interrupted thread ends up. */
export type TrapStop = Exclude<Stop, { kind: 'signal' | 'event' }>;

/** What a status of an interrupted thread says. Undefined: it had a signal in hand, was let go with it, and will stop again. */
export function passOn(tid: number, status: number): TrapStop | undefined {
  const stop = classify(status);
  if (stop === 'gone' || stop.kind === 'trap' || stop.kind === 'group-stop') return stop;
  if (!resume(tid, stop.kind === 'signal' ? stop.signal : 0)) return 'gone';
  interrupt(tid);
  return undefined;
}

export { SIGTRAP };
