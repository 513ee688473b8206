/**
 * timerfd (man 2 timerfd_create): clock, time left, interval, expirations that were not read.
 *
 * A timer goes on with the time that was left at the dump, also one that was set to an absolute time: the kernel shows
 * only the rest (fs/timerfd.c timerfd_show()), and so does CRIU. Timers are armed last.
 *
 * A periodic timer that has expired, and was not read since, is shown without a time left: the kernel starts it again
 * when it is read. Such a timer is started again at once, with its whole interval.
 */
import type { CriuErrorFields } from '../../../base/errors.ts';
import { FdTypes } from '../../../image/gen/fdinfo.ts';
import type { TimerfdEntry } from '../../../image/gen/timerfd.ts';
import { O_NONBLOCK } from '../../../linux/abi/fcntl.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { CLOCK_REALTIME, CLOCK_REALTIME_ALARM, TFD_IOC_SET_TICKS, TFD_TIMER_ABSTIME } from '../../../linux/abi/time.ts';
import type { FileKind, RestoreContext, RestoreHome } from '../file-kind.ts';

const NSEC_PER_SEC = 1_000_000_000;

export const timerfd: FileKind = {
  type: FdTypes.TIMERFD,

  recognise: (file) => file.link === 'anon_inode:[timerfd]',

  dump(file, id) {
    const info = file.fdinfo.timerfd;
    if (info === undefined) return { unsupported: 'the kernel does not show its state' };
    const { clockId, ticks, settimeFlags, value, interval } = info;
    const tfd: TimerfdEntry = {
      id,
      flags: file.flags,
      fown: file.fown,
      clockid: clockId,
      ticks: Number(ticks),
      settime_flags: settimeFlags,
      vsec: Number(value.sec),
      vnsec: value.nsec,
      isec: Number(interval.sec),
      insec: interval.nsec,
    };
    return { type: FdTypes.TIMERFD, id, tfd };
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

function checkTimes({ id, vnsec, insec }: TimerfdEntry): CriuErrorFields[] {
  if (vnsec < NSEC_PER_SEC && insec < NSEC_PER_SEC) return [];
  const why = `${Math.max(vnsec, insec)} nanoseconds are more than a second`;
  return [{ object: `timerfd (file ${id})`, action: 'cannot be restored', why }];
}

function arm(seen: TimerfdEntry, fd: number, { table, context }: RestoreHome): void {
  const entry = seen.ticks > 0 ? startedAgain(seen) : seen;
  const { ticks, vsec, vnsec, isec, insec } = entry;
  const isSet = vsec !== 0 || vnsec !== 0;
  if (isSet || isec !== 0 || insec !== 0) {
    const { flags, sec, nsec } = expiry(entry, context);
    const bytes = new Uint8Array(BigInt64Array.of(BigInt(isec), BigInt(insec), BigInt(sec), BigInt(nsec)).buffer);
    table.do('arm a timerfd', SYS.timerfd_settime, fd, flags, { bytes }, 0);
  }
  if (ticks > 0) {
    const bytes = new Uint8Array(BigUint64Array.of(BigInt(ticks)).buffer);
    table.do('set the expirations of a timerfd', SYS.ioctl, fd, TFD_IOC_SET_TICKS, { bytes });
  }
}

/** Settime flags are dropped: the interval is a time from now on. */
function startedAgain(entry: TimerfdEntry): TimerfdEntry {
  const { vsec, vnsec, isec, insec } = entry;
  return vsec !== 0 || vnsec !== 0 ? entry : { ...entry, vsec: isec, vnsec: insec, settime_flags: 0 };
}

/** Wall clock timers stay absolute, so that TFD_TIMER_CANCEL_ON_SET goes on working; all others are set relative. */
function expiry(entry: TimerfdEntry, { system }: RestoreContext): { flags: number; sec: number; nsec: number } {
  const { clockid, settime_flags, vsec, vnsec } = entry;
  const isWallClock = clockid === CLOCK_REALTIME || clockid === CLOCK_REALTIME_ALARM;
  const isSet = vsec !== 0 || vnsec !== 0;
  if (!isSet || !isWallClock || (settime_flags & TFD_TIMER_ABSTIME) === 0) return { flags: 0, sec: vsec, nsec: vnsec };
  const now = system.wallClockNs();
  const nsec = Number(now % BigInt(NSEC_PER_SEC)) + vnsec;
  const carry = nsec >= NSEC_PER_SEC ? 1 : 0;
  const sec = Number(now / BigInt(NSEC_PER_SEC)) + vsec + carry;
  return { flags: settime_flags, sec, nsec: nsec - carry * NSEC_PER_SEC };
}
