/**
 * timerfd (man 2 timerfd_create): clock, time left, interval, expirations that were not read.
 *
 * One that was set to an absolute time keeps its deadline: CLOCK_MONOTONIC and CLOCK_BOOTTIME go on where they were, and a time of
 * the wall clock that has passed meanwhile has come at once. All others go on with the time that was left at the dump, as with
 * CRIU: their flags, which the kernel shows, are those of the call that sets them. Timers are armed last.
 *
 * A periodic timer with a deadline and expirations that nobody has read is started at the first of them: then the kernel counts
 * them.
 */
import type { CriuErrorFields } from '../../../base/errors.ts';
import { FdTypes } from '../../../image/gen/fdinfo.ts';
import type { TimerfdEntry } from '../../../image/gen/timerfd.ts';
import { O_NONBLOCK } from '../../../linux/abi/fcntl.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import {
  CLOCK_REALTIME,
  CLOCK_REALTIME_ALARM,
  TFD_IOC_SET_TICKS,
  TFD_TIMER_ABSTIME,
  TFD_TIMER_CANCEL_ON_SET,
} from '../../../linux/abi/time.ts';
import type { FileKind, RestoreHome, RestoreSystem } from '../file-kind.ts';
import { readTicks, readTimer } from './read-timer.ts';

const NSEC_PER_SEC = 1_000_000_000n;
/** KTIME_SEC_MAX, linux/ktime.h. */
const SECONDS_MAX = 9_223_372_036;

export const timerfd: FileKind = {
  type: FdTypes.TIMERFD,

  recognise: (file) => file.link === 'anon_inode:[timerfd]',

  dump(file, id) {
    const clockId = file.fdinfo.timerfd?.clockId;
    const state = clockId === undefined ? undefined : readTimer(file.localFd, clockId, file.task.pid);
    if (state === undefined) return { unsupported: 'the kernel does not show its state' };
    return { type: FdTypes.TIMERFD, id, tfd: { id, flags: file.flags, fown: file.fown, ...state } };
  },

  complete({ tfd }, { pid, fd }) {
    if (tfd !== undefined && tfd.ticks === 0 && tfd.vsec === 0 && tfd.vnsec === 0) tfd.ticks = readTicks(pid, fd);
  },

  check: (entry) => (entry.tfd === undefined ? [] : checkTimes(entry.tfd)),

  create([entry], home) {
    if (entry?.tfd === undefined) return;
    const { id, clockid, flags } = entry.tfd;
    const cloexec = home.cloexec(id);
    const fd = home.table.open('make a timerfd', SYS.timerfd_create, clockid, cloexec | (flags & O_NONBLOCK));
    home.made(id, fd, cloexec !== 0);
  },

  finish(entry, fd, home) {
    if (entry.tfd !== undefined) arm(entry.tfd, fd, home);
  },

  fown: (entry) => entry.tfd?.fown,
};

function checkTimes({ id, vsec, vnsec, isec, insec }: TimerfdEntry): CriuErrorFields[] {
  const problem = (why: string) => [{ object: `timerfd (file ${id})`, action: 'cannot be restored', why }];
  const [sec, nsec] = [Math.max(vsec, isec), Math.max(vnsec, insec)];
  if (nsec >= NSEC_PER_SEC) return problem(`${nsec} nanoseconds are more than a second`);
  return sec > SECONDS_MAX ? problem(`the kernel counts no ${sec} seconds`) : [];
}

function arm(entry: TimerfdEntry, fd: number, { table, context }: RestoreHome): void {
  const { flags, startNs, intervalNs, ticks } = startOf(entry, context.system);
  if (startNs !== 0n || intervalNs !== 0n) {
    const words = [intervalNs, startNs].flatMap((ns) => [ns / NSEC_PER_SEC, ns % NSEC_PER_SEC]);
    const bytes = new Uint8Array(BigInt64Array.from(words).buffer);
    table.do('arm a timerfd', SYS.timerfd_settime, fd, flags, { bytes }, 0);
  }
  if (ticks > 0) {
    const bytes = new Uint8Array(BigUint64Array.of(BigInt(ticks)).buffer);
    table.do('set the expirations of a timerfd', SYS.ioctl, fd, TFD_IOC_SET_TICKS, { bytes });
  }
}

interface Start {
  /** TFD_TIMER_*. */
  readonly flags: number;
  readonly startNs: bigint;
  readonly intervalNs: bigint;
  /** Expirations to be set. */
  readonly ticks: number;
}

function startOf(entry: TimerfdEntry, system: RestoreSystem): Start {
  const { ticks, vsec, vnsec, isec, insec } = entry;
  const intervalNs = inNs(isec, insec);
  const restNs = inNs(vsec, vnsec);
  const deadlineNs =
    entry.deadline_ext ?? (restNs !== 0n && isWallClock(entry) ? system.wallClockNs() + restNs : undefined);
  if (deadlineNs !== undefined) {
    const flags = (entry.settime_flags & TFD_TIMER_CANCEL_ON_SET) | TFD_TIMER_ABSTIME;
    const firstNs = deadlineNs - BigInt(ticks) * intervalNs;
    if (intervalNs !== 0n && firstNs > 0n) return { flags, startNs: firstNs, intervalNs, ticks: 0 };
    return { flags, startNs: deadlineNs, intervalNs, ticks };
  }
  // It has expired and was not read, and the image does not tell more.
  const isOver = restNs === 0n && ticks > 0;
  return { flags: 0, startNs: isOver ? intervalNs : restNs, intervalNs, ticks };
}

/** TFD_TIMER_CANCEL_ON_SET only works for such a timer. */
const isWallClock = ({ clockid, settime_flags }: TimerfdEntry) =>
  (settime_flags & TFD_TIMER_ABSTIME) !== 0 && (clockid === CLOCK_REALTIME || clockid === CLOCK_REALTIME_ALARM);

const inNs = (sec: number, nsec: number) => BigInt(sec) * NSEC_PER_SEC + BigInt(nsec);
