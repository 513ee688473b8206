/**
 * Signals that were sent but not yet taken: one queue for each thread, one for the process. Each signal is a siginfo_t
 * of 128 bytes, kept as the kernel gave it (man 2 ptrace, PTRACE_PEEKSIGINFO).
 *
 * A thread may send itself a siginfo with any si_code, also those that only the kernel makes for others
 * (kernel/signal.c, do_rt_sigqueueinfo and do_rt_tgsigqueueinfo), so the queues are rebuilt by their owners.
 *
 * Lost: a pending signal of a POSIX timer is no longer tied to its timer, so its overrun count (see
 * timers/pending-overruns.ts) stays as it is, and what comes later is a signal of its own.
 */
import type { Program } from '../../agent/program.ts';
import type { CriuErrorFields } from '../../base/errors.ts';
import type { FrozenTask } from '../../dump/frozen-tree.ts';
import type { SiginfoEntry, SignalQueueEntry } from '../../image/gen/siginfo.ts';
import { PTRACE_PEEKSIGINFO, PTRACE_PEEKSIGINFO_ARGS, PTRACE_PEEKSIGINFO_SHARED } from '../../linux/abi/ptrace.ts';
import { SIGCONT, SIGINFO_BYTES, SIGKILL, SIGSTOP, SIGTRAP, signalName } from '../../linux/abi/signal.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { addressOf, check } from '../../linux/kernel.ts';
import { ptrace } from '../../linux/syscalls/process.ts';
import { i32, putU32, putU64 } from '../task/words.ts';

/** How many signals are read at once. */
const BATCH = 32;

export type Queue = 'thread' | 'process';

/**
 * Copies a queue of a stopped thread without taking anything from it.
 * @param hasPending what SigPnd or ShdPnd of /proc says: without a bit there the queue is empty and not read
 */
export function readSignalQueue(tid: number, queue: Queue, hasPending: boolean): SignalQueueEntry {
  const signals: SiginfoEntry[] = [];
  if (!hasPending) return { signals };
  const buffer = new Uint8Array(BATCH * SIGINFO_BYTES);
  for (;;) {
    const got = peek(tid, queue, signals.length, buffer);
    for (let i = 0; i < got; i++) {
      signals.push({ siginfo: buffer.slice(i * SIGINFO_BYTES, (i + 1) * SIGINFO_BYTES) });
    }
    if (got < BATCH) return { signals };
  }
}

function peek(tid: number, queue: Queue, from: number, buffer: Uint8Array): number {
  const args = new Uint8Array(PTRACE_PEEKSIGINFO_ARGS.bytes);
  putU64(args, PTRACE_PEEKSIGINFO_ARGS.off, from);
  putU32(args, PTRACE_PEEKSIGINFO_ARGS.flags, queue === 'process' ? PTRACE_PEEKSIGINFO_SHARED : 0);
  putU32(args, PTRACE_PEEKSIGINFO_ARGS.nr, BATCH);
  return check('ptrace', ptrace(PTRACE_PEEKSIGINFO, tid, addressOf(args), buffer), `PEEKSIGINFO, ${tid}`);
}

/** A pending SIGTRAP can't be told from the traps of the agent at restore, so a task that has one is refused. */
export function findPendingTraps(tasks: readonly Pick<FrozenTask, 'threads' | 'label'>[]): CriuErrorFields[] {
  const trap = 1n << BigInt(SIGTRAP - 1);
  const isTrapped = ({ threads }: Pick<FrozenTask, 'threads'>) => {
    for (const { status } of threads) if (((status.sigPnd | status.shdPnd) & trap) !== 0n) return true;
    return false;
  };
  return tasks.filter(isTrapped).map(({ label }) => ({
    object: label,
    action: 'cannot be dumped',
    why: 'a SIGTRAP is pending, which a restore could not tell from its own',
    remedy: 'have the program take that signal first',
  }));
}

/** Number of the signal in a siginfo_t. */
export function signalOf(entry: SiginfoEntry): number {
  return i32(entry.siginfo, 0);
}

/**
 * Queues signals in the thread that runs the program.
 *
 * Preconditions: all signals are blocked; the actions are set, since ignoring a signal empties its queue; for the
 * queue of the process the thread is the leader; RLIMIT_SIGPENDING is not lowered yet.
 * Some are left out: see `signalsToSend`.
 *
 * Afterwards the program has to end by SIGSTOP: with the SIGTRAP of an int3 the kernel would also deliver a SIGSEGV and
 * the like that the processor caused, even blocked (kernel/signal.c, dequeue_synchronous_signal).
 */
export function planSignalQueue(
  program: Program,
  entry: SignalQueueEntry | undefined,
  to: { pid: number; tid: number; queue: Queue },
): void {
  for (const signal of entry?.signals ?? []) {
    const number = signalOf(signal);
    if (isSentLast(number)) continue;
    const info = program.data(signal.siginfo);
    const because = `queue ${signalName(number)} for the ${to.queue}`;
    if (to.queue === 'process') program.must(because, SYS.rt_sigqueueinfo, to.pid, number, info);
    else program.must(because, SYS.rt_tgsigqueueinfo, to.pid, to.tid, number, info);
  }
}

/**
 * Signals of a queue that the controller has to send just before it lets the task go: SIGSTOP can't be blocked and would
 * stop the task at once, and every stop throws SIGCONT away (kernel/signal.c, prepare_signal). Who sent them is lost.
 */
export function signalsToSend(entry: SignalQueueEntry | undefined): number[] {
  return (entry?.signals ?? []).map(signalOf).filter(isSentLast);
}

const isSentLast = (signal: number) => signal === SIGSTOP || signal === SIGKILL || signal === SIGCONT;
