/**
 * /proc/PID/timers: POSIX timers of a process, man 5 proc_pid_timers; fs/proc/base.c show_timer().
 *
 * What is left of each timer is not here: timer_gettime(2) inside the task says that.
 */
import { eachLine, malformed, type Place, toHexBigint, toInteger } from './text.ts';

/** How the end of a timer is told: by a signal, not at all, or (for the C library) by a signal that starts a thread. */
export type TimerNotify = 'signal' | 'none' | 'thread';

/** A timer made by timer_create(2). */
export interface PosixTimer {
  readonly id: number;
  readonly signal: number;
  /** sigev_value, a number or a pointer of the task. */
  readonly sigval: bigint;
  readonly notify: TimerNotify;
  /** SIGEV_THREAD_ID: `target` is a thread. */
  readonly isThreadTarget: boolean;
  /** Process or thread that gets the signal, in the reader's pid namespace; 0 when it is gone. */
  readonly target: number;
  /** CLOCK_*; negative for the clock of a process or thread. */
  readonly clockId: number;
}

/** Parses /proc/PID/timers. Throws CriuError when a timer is incomplete. */
export function parseTimers(text: string, file = '/proc/PID/timers'): PosixTimer[] {
  const timers: PosixTimer[] = [];
  let open: Partial<Writable<PosixTimer>> | undefined;
  let last: Place = { file, line: 0, text: '' };
  eachLine(text, file, (line, place) => {
    const colon = line.indexOf(': ');
    const value = line.slice(colon + 2);
    const key = line.slice(0, Math.max(colon, 0));
    last = place;
    if (key === 'ID') {
      if (open !== undefined) timers.push(complete(open, place));
      open = { id: toInteger(value, place, 'a timer id') };
    } else if (open === undefined) {
      throw malformed(place, '"ID: " of a timer');
    } else {
      parseField(open, key, value, place);
    }
  });
  if (open !== undefined) timers.push(complete(open, last));
  return timers;
}

type Writable<T> = { -readonly [K in keyof T]: T[K] };

function parseField(timer: Partial<Writable<PosixTimer>>, key: string, value: string, place: Place): void {
  if (key === 'signal') {
    const slash = value.indexOf('/');
    timer.signal = toInteger(value.slice(0, Math.max(slash, 0)), place, 'a signal number');
    timer.sigval = toHexBigint(value.slice(slash + 1), place, 'a hexadecimal signal value');
  } else if (key === 'notify') {
    const match = /^(signal|none|thread)\/(pid|tid)\.(\d+)$/.exec(value);
    if (match === null) throw malformed(place, 'a kind of notification and its target');
    timer.notify = match[1] as TimerNotify;
    timer.isThreadTarget = match[2] === 'tid';
    timer.target = toInteger(match[3] ?? '', place, 'a pid');
  } else if (key === 'ClockID') {
    timer.clockId = toInteger(value, place, 'a clock id');
  }
}

/** `place` is where the timer was found to be over. */
function complete(timer: Partial<PosixTimer>, place: Place): PosixTimer {
  const { id, signal, sigval, notify, isThreadTarget, target, clockId } = timer;
  if (id === undefined || signal === undefined || sigval === undefined) throw malformed(place, '"signal: " before');
  if (notify === undefined || isThreadTarget === undefined || target === undefined) {
    throw malformed(place, '"notify: " before');
  }
  if (clockId === undefined) throw malformed(place, '"ClockID: " before');
  return { id, signal, sigval, notify, isThreadTarget, target, clockId };
}
