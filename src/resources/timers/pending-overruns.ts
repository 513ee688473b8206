/**
 * Overrun counts of timers whose signal is pending: how often a POSIX timer has expired since.
 *
 * The kernel counts when the signal is taken and not before (kernel/time/posix-timers.c, posixtimer_deliver_signal), so
 * nobody can look. The thread takes such signals itself, and puts them back at once with what the kernel wrote into them,
 * in the same program: whatever happens to criu, they are there again. What was a signal of the timer is then one that
 * the thread sent to itself, with the same content; the timer goes on by itself, and no expiration is lost. One that
 * expires in these microseconds has its next signal in front of the old one.
 *
 * Lost: the count of the last signal that was taken before the dump (timer_getoverrun): timer_settime sets it to 0, and
 * only a signal of the timer sets it to anything else. And counts of signals that are pending in both queues, or that
 * stop or continue a process, since sending these has effects of its own.
 */
import type { Place, Program, Result } from '../../agent/program.ts';
import type { SiginfoEntry, SignalQueueEntry } from '../../image/gen/siginfo.ts';
import {
  SI_TIMER,
  SIGCONT,
  SIGINFO_BYTES,
  SIGKILL,
  SIGSTOP,
  SIGTSTP,
  SIGTTIN,
  SIGTTOU,
} from '../../linux/abi/signal.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import type { Status } from '../../proc/status.ts';
import type { VisitResult } from '../../tracee/guest.ts';
import { type Queue, signalOf } from '../signals/signal-queues.ts';
import { i32 } from '../task/words.ts';

const WITH_EFFECTS: readonly number[] = [SIGKILL, SIGSTOP, SIGCONT, SIGTSTP, SIGTTIN, SIGTTOU];
const SIGSET_BYTES = 8;

export interface OverrunsToken {
  /** Numbers of the signals that were taken and put back. */
  readonly signals: ReadonlySet<number>;
  readonly infos: Place;
  readonly taken: readonly Result[];
}

/** Asks for the counts of one queue; to be asked by the thread it belongs to, for that of the process by the leader. */
export function inspectOverruns(
  program: Program,
  { signals }: SignalQueueEntry,
  where: { readonly pid: number; readonly tid: number; readonly queue: Queue; readonly status: Status },
): OverrunsToken | undefined {
  const { pid, tid, queue, status } = where;
  const others = queue === 'process' ? status.sigPnd : status.shdPnd;
  const numbers = new Set(
    signals
      .filter(isOfTimer)
      .map(signalOf)
      .filter((number) => isSafe(number, others)),
  );
  const concerned = signals.filter((signal) => numbers.has(signalOf(signal)));
  // Signals of a timer have their own place in the queue, signals that are sent need room.
  const hasRoom = status.queuedSignals + concerned.length <= status.queuedSignalsMax;
  if (concerned.length === 0 || !hasRoom) return undefined;
  const infos = program.reserve(concerned.length * SIGINFO_BYTES);
  const now = program.words(0, 0);
  const infoAt = (i: number) => program.at(infos, i * SIGINFO_BYTES);
  const taken = concerned.map((signal, i) => {
    const set = program.words(1n << BigInt(signalOf(signal) - 1));
    return program.call(SYS.rt_sigtimedwait, set, infoAt(i), now, SIGSET_BYTES);
  });
  // A signal that was not there is no signal's number.
  taken.forEach((number, i) => {
    if (queue === 'process') program.call(SYS.rt_sigqueueinfo, pid, number, infoAt(i));
    else program.call(SYS.rt_tgsigqueueinfo, pid, tid, number, infoAt(i));
  });
  return { signals: numbers, infos, taken };
}

/** The queue with its counts. What the kernel would have dropped, such as a signal of a timer that was set again, is not in it. */
export function describeOverruns(
  token: OverrunsToken | undefined,
  result: VisitResult,
  queue: SignalQueueEntry,
): SignalQueueEntry {
  if (token === undefined) return queue;
  const bytes = result.bytes(token.infos);
  const taken = token.taken.flatMap((number, i) =>
    result.result(number) > 0 ? [{ siginfo: bytes.slice(i * SIGINFO_BYTES, (i + 1) * SIGINFO_BYTES) }] : [],
  );
  const signals = queue.signals.flatMap((signal): SiginfoEntry[] => {
    const number = signalOf(signal);
    if (!token.signals.has(number)) return [signal];
    const next = taken.findIndex((candidate) => signalOf(candidate) === number);
    return next < 0 ? [] : taken.splice(next, 1);
  });
  return { signals };
}

/** si_code follows si_signo and si_errno (include/uapi/asm-generic/siginfo.h). */
const isOfTimer = ({ siginfo }: SiginfoEntry) => i32(siginfo, 8) === SI_TIMER;

function isSafe(number: number, otherQueue: bigint): boolean {
  return !WITH_EFFECTS.includes(number) && (otherQueue & (1n << BigInt(number - 1))) === 0n;
}
