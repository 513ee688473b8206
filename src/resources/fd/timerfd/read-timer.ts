/**
 * What a timerfd of a frozen task shows. The kernel tells the time that is left; together with the clock at that moment it
 * is the deadline of one that was set to an absolute time: it stays the same however long a dump and a restore take.
 */
import type { TimerfdEntry } from '../../../image/gen/timerfd.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import {
  CLOCK_BOOTTIME,
  CLOCK_BOOTTIME_ALARM,
  CLOCK_MONOTONIC,
  CLOCK_REALTIME,
  CLOCK_REALTIME_ALARM,
  TFD_TIMER_ABSTIME,
} from '../../../linux/abi/time.ts';
import { readClock } from '../../../linux/clock.ts';
import { check, syscall } from '../../../linux/kernel.ts';
import { readProc } from '../../../linux/syscalls/fs.ts';
import { parseFdinfo } from '../../../proc/fdinfo.ts';
import { clocksAhead } from '../../timers/task-clocks.ts';

/** The fields of the entry that say how the timer stands. */
export type TimerState = Omit<TimerfdEntry, 'id' | 'flags' | 'fown'>;

/** The clock that each of those of a timerfd shows. */
const BASES: Partial<Record<number, number>> = {
  [CLOCK_REALTIME]: CLOCK_REALTIME,
  [CLOCK_REALTIME_ALARM]: CLOCK_REALTIME,
  [CLOCK_MONOTONIC]: CLOCK_MONOTONIC,
  [CLOCK_BOOTTIME]: CLOCK_BOOTTIME,
  [CLOCK_BOOTTIME_ALARM]: CLOCK_BOOTTIME,
};

/** After so many looks a timer is one that expires all the time, or the machine is very busy. */
const LOOKS_MAX = 7;
/** From this look on the kernel gets a millisecond to let a timer expire whose time has come. */
const LOOKS_AT_ONCE = 5;
/** So near to the clock a look has to be: nobody else had the processor meanwhile. */
const NEAR_NS = 20_000n;

/** struct itimerspec: seconds and nanoseconds of the interval, and of the time left. */
const spec = new BigInt64Array(4);

/**
 * @param localFd a duplicate of it
 * @param pid a task, by whose CLOCK_MONOTONIC and CLOCK_BOOTTIME the deadline is
 *
 * A periodic timer that has expired is started again by timerfd_gettime(2), in step with before (fs/timerfd.c,
 * do_timerfd_gettime()). Then its expirations are counted and its time left is known; whoever reads it later gets the same.
 * Undefined when the kernel does not show it. Throws SyscallError.
 */
export function readTimer(localFd: number, clockId: number, pid: number): TimerState | undefined {
  const base = BASES[clockId] ?? CLOCK_REALTIME;
  for (let look = 1; ; look++) {
    const before = readClock(base);
    check('timerfd_gettime', syscall(SYS.timerfd_gettime, localFd, spec));
    // A deadline may be late by the time between the two, but no timer ever expires early.
    const now = readClock(base);
    const [isec = 0n, insec = 0n, vsec = 0n, vnsec = 0n] = spec;
    const info = parseFdinfo(readProc(`/proc/self/fdinfo/${localFd}`)).timerfd;
    if (info === undefined) return undefined;
    const isArmed = vsec !== 0n || vnsec !== 0n;
    const hasExpired = isArmed && info.value.sec === 0n && info.value.nsec === 0;
    const isOverdue = !isArmed && (isec !== 0n || insec !== 0n);
    const isFar = isArmed && now - before > NEAR_NS;
    if ((hasExpired || isOverdue || isFar) && look < LOOKS_MAX) {
      if (look >= LOOKS_AT_ONCE) Bun.sleepSync(1);
      continue;
    }
    const { ticks, settimeFlags } = info;
    const hasDeadline = isArmed && (settimeFlags & TFD_TIMER_ABSTIME) !== 0;
    return {
      clockid: clockId,
      ticks: Number(ticks),
      settime_flags: settimeFlags,
      vsec: Number(vsec),
      vnsec: Number(vnsec),
      isec: Number(isec),
      insec: Number(insec),
      ...(hasDeadline ? { deadline_ext: now + ahead(base, pid) + vsec * 1_000_000_000n + vnsec } : {}),
    };
  }
}

/**
 * One that is not set, when it was looked at, may be one whose time had come and which the kernel had not let expire yet:
 * the expirations that it has by now.
 */
export function readTicks(pid: number, fd: number): number {
  return Number(parseFdinfo(readProc(`/proc/${pid}/fdinfo/${fd}`)).timerfd?.ticks ?? 0);
}

/** How far the clock is ahead of ours for that task, in nanoseconds. */
function ahead(base: number, pid: number): bigint {
  if (base === CLOCK_REALTIME) return 0n;
  const { monotonic, boottime } = clocksAhead(pid);
  return base === CLOCK_MONOTONIC ? monotonic : boottime;
}
