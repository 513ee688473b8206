/**
 * POSIX timers of a process: timer_create(2). /proc/PID/timers says which there are, timer_gettime inside the task what
 * is left of them. Ids are part of the program's state: the C library hands them out.
 *
 * Lost: TIMER_ABSTIME (the time that is left is kept, so a later jump of the clock no longer moves the timer), and what
 * timer_getoverrun says of the last signal that was taken; the count of a pending one is kept (pending-overruns.ts). A timer whose target thread has ended never does anything; it becomes a SIGEV_NONE timer.
 * A timer on CLOCK_THREAD_CPUTIME_ID (the kernel calls it −2) belongs to the thread that made it, which the kernel doesn't
 * tell: it becomes one of the leader, as CRIU does it. CLOCK_PROCESS_CPUTIME_ID shows up as −6.
 */

import type { Place, Program, Result } from '../../agent/program.ts';
import { CriuError } from '../../base/errors.ts';
import type { PosixTimerEntry } from '../../image/gen/timer.ts';
import { errnoName } from '../../linux/abi/errno.ts';
import { PR_TIMER_CREATE_RESTORE_IDS, PR_TIMER_CREATE_RESTORE_IDS_GET } from '../../linux/abi/prctl.ts';
import { SIGEV_NONE, SIGEV_SIGNAL, SIGEV_THREAD, SIGEV_THREAD_ID, SIGEVENT_BYTES } from '../../linux/abi/signal.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { ITIMERSPEC_BYTES } from '../../linux/abi/time.ts';
import { syscall } from '../../linux/kernel.ts';
import { isGone, tryReadFile } from '../../linux/syscalls/fs.ts';
import { type PosixTimer, parseTimers } from '../../proc/timers.ts';
import type { VisitResult } from '../../tracee/guest.ts';
import { putU32, putU64, small64 } from '../task/words.ts';

const PR_TIMER_CREATE_RESTORE_IDS_OFF = 0;
const PR_TIMER_CREATE_RESTORE_IDS_ON = 1;

/** Above this a kernel before 6.15 would need too many calls to get to the id. */
const LAST_COUNTED_ID = 20_000;

/** The timers of a process, by id; none when the kernel has no such file (before 3.10, or without CONFIG_CHECKPOINT_RESTORE). */
export function readPosixTimers(pid: number): PosixTimer[] {
  const file = `/proc/${pid}/timers`;
  const text = tryReadFile(file);
  if (typeof text === 'string') return parseTimers(text, file).toSorted((a, b) => a.id - b.id);
  if (isGone(text)) return [];
  throw new CriuError({ object: `task ${pid}`, action: `cannot read ${file} (${errnoName(-text)})` });
}

export interface PosixTimersToken {
  readonly timers: readonly PosixTimer[];
  readonly values: Place;
  readonly overruns: readonly Result[];
}

export function inspectPosixTimers(program: Program, timers: readonly PosixTimer[]): PosixTimersToken {
  const values = program.reserve(timers.length * ITIMERSPEC_BYTES);
  const overruns = timers.map((timer, i) => {
    program.call(SYS.timer_gettime, timer.id, program.at(values, i * ITIMERSPEC_BYTES));
    return program.call(SYS.timer_getoverrun, timer.id);
  });
  return { timers, values, overruns };
}

/** @param virtualTid the number that a thread has in its own pid namespace */
export function describePosixTimers(
  token: PosixTimersToken,
  result: VisitResult,
  virtualTid: (tid: number) => number,
): PosixTimerEntry[] {
  const values = result.bytes(token.values);
  return token.timers.map((timer, i) => {
    const overrun = token.overruns[i];
    const word = (index: number) => small64(values, i * ITIMERSPEC_BYTES + 8 * index);
    return {
      it_id: timer.id,
      clock_id: timer.clockId >>> 0,
      si_signo: timer.signal,
      ...notification(timer, virtualTid),
      sival_ptr: timer.sigval,
      overrun: overrun === undefined ? 0 : Math.max(result.result(overrun), 0),
      isec: word(0),
      insec: word(1),
      vsec: word(2),
      vnsec: word(3),
    };
  });
}

/** For the log: counts that nobody can give back, since timer_settime(2) sets them to 0 and only a signal sets them again. */
export function overrunWarnings(label: string, entries: readonly PosixTimerEntry[]): string[] {
  return entries
    .filter(({ overrun }) => overrun > 0)
    .map(
      ({ it_id, overrun }) =>
        `${label}: timer_getoverrun of POSIX timer ${it_id} is ${overrun}, and will be 0 after a restore until it expires again`,
    );
}

const NOTIFY = { signal: SIGEV_SIGNAL, none: SIGEV_NONE, thread: SIGEV_THREAD } as const;

function notification(
  timer: PosixTimer,
  virtualTid: (tid: number) => number,
): Pick<PosixTimerEntry, 'it_sigev_notify' | 'notify_thread_id'> {
  if (!timer.isThreadTarget) return { it_sigev_notify: NOTIFY[timer.notify] };
  if (timer.target === 0) return { it_sigev_notify: SIGEV_NONE };
  const it_sigev_notify = NOTIFY[timer.notify] | SIGEV_THREAD_ID;
  return { it_sigev_notify, notify_thread_id: virtualTid(timer.target) };
}

/** Whether the kernel makes timers with wanted ids (6.15). Asks criu's own process. */
export function supportsTimerIds(): boolean {
  return syscall(SYS.prctl, PR_TIMER_CREATE_RESTORE_IDS, PR_TIMER_CREATE_RESTORE_IDS_GET, 0, 0, 0) >= 0;
}

/**
 * Makes the timers, not armed. Run by the leader, with all threads there and with the capabilities of criu
 * (CLOCK_REALTIME_ALARM and CLOCK_BOOTTIME_ALARM need CAP_WAKE_ALARM).
 */
export function planPosixTimersCreate(
  program: Program,
  entries: readonly PosixTimerEntry[],
  kernel: { supportsTimerIds: boolean },
): void {
  if (entries.length === 0) return;
  const timers = entries.toSorted((a, b) => a.it_id - b.it_id);
  if (kernel.supportsTimerIds) createWithIds(program, timers);
  else createByCounting(program, timers);
}

function createWithIds(program: Program, timers: readonly PosixTimerEntry[]): void {
  const [on, off] = [PR_TIMER_CREATE_RESTORE_IDS_ON, PR_TIMER_CREATE_RESTORE_IDS_OFF];
  program.must('ask for POSIX timers with wanted ids', SYS.prctl, PR_TIMER_CREATE_RESTORE_IDS, on);
  for (const timer of timers) {
    program.must(
      creating(timer),
      SYS.timer_create,
      timer.clock_id | 0,
      sigevent(program, timer),
      program.words(timer.it_id),
    );
  }
  program.must('end making POSIX timers with wanted ids', SYS.prctl, PR_TIMER_CREATE_RESTORE_IDS, off);
}

/** A process that never had a timer gives out ids from 0 on, each only once (kernel/time/posix-timers.c, before 6.15). */
function createByCounting(program: Program, timers: readonly PosixTimerEntry[]): void {
  const scratch = program.reserve(ITIMERSPEC_BYTES);
  let next = 0;
  for (const timer of timers) {
    if (timer.it_id > LAST_COUNTED_ID) {
      throw new CriuError({
        object: `POSIX timer ${timer.it_id}`,
        action: 'cannot be made',
        why: 'this kernel gives out timer ids one after the other only',
        remedy: 'restore on Linux 6.15 or newer',
      });
    }
    const event = sigevent(program, timer);
    for (; next < timer.it_id; next++) {
      const id = program.reserve(8);
      program.must(`use up timer id ${next}`, SYS.timer_create, timer.clock_id | 0, event, id);
      program.must(`use up timer id ${next}`, SYS.timer_delete, program.wordAt(id));
    }
    program.must(creating(timer), SYS.timer_create, timer.clock_id | 0, event, program.reserve(8));
    program.must(`find POSIX timer ${timer.it_id}`, SYS.timer_gettime, timer.it_id, scratch);
    next = timer.it_id + 1;
  }
}

const creating = (timer: PosixTimerEntry) => `make POSIX timer ${timer.it_id} on clock ${timer.clock_id | 0}`;

function sigevent(program: Program, timer: PosixTimerEntry): Place {
  const bytes = new Uint8Array(SIGEVENT_BYTES);
  putU64(bytes, 0, timer.sival_ptr);
  putU32(bytes, 8, timer.si_signo);
  putU32(bytes, 12, timer.it_sigev_notify);
  putU32(bytes, 16, timer.notify_thread_id ?? 0);
  return program.data(bytes);
}

/** Starts the timers that were running. */
export function planPosixTimersArm(program: Program, entries: readonly PosixTimerEntry[]): void {
  for (const timer of entries) {
    const { isec, insec, vsec, vnsec } = timer;
    // What is over and repeats goes on with its interval.
    const [sec, nsec] = vsec === 0 && vnsec === 0 ? [isec, insec] : [vsec, vnsec];
    if (sec === 0 && nsec === 0) continue;
    const value = program.words(isec, insec, sec, nsec);
    program.must(`arm POSIX timer ${timer.it_id}`, SYS.timer_settime, timer.it_id, 0, value, 0);
  }
}
