/**
 * clock_gettime(2), timer_create(2), setitimer(2), timerfd_create(2), time_namespaces(7).
 * Values: linux/time.h, linux/timerfd.h.
 */

/* Clocks. */
export const CLOCK_REALTIME = 0;
export const CLOCK_MONOTONIC = 1;
export const CLOCK_PROCESS_CPUTIME_ID = 2;
export const CLOCK_THREAD_CPUTIME_ID = 3;
export const CLOCK_MONOTONIC_RAW = 4;
export const CLOCK_REALTIME_COARSE = 5;
export const CLOCK_MONOTONIC_COARSE = 6;
export const CLOCK_BOOTTIME = 7;
export const CLOCK_REALTIME_ALARM = 8;
export const CLOCK_BOOTTIME_ALARM = 9;
export const CLOCK_TAI = 11;

/* Interval timers. */
export const ITIMER_REAL = 0;
export const ITIMER_VIRTUAL = 1;
export const ITIMER_PROF = 2;

/* timer_settime flag. */
export const TIMER_ABSTIME = 1;

/* timerfd flags. */
export const TFD_TIMER_ABSTIME = 0o1;
export const TFD_TIMER_CANCEL_ON_SET = 0o2;
export const TFD_CLOEXEC = 0o2000000;
export const TFD_NONBLOCK = 0o4000;

/* Sets the number of expirations, as a restore needs. */
export const TFD_IOC_SET_TICKS = 0x40085400;

/** Sizes of struct timespec, struct itimerspec, struct itimerval, bytes. */
export const TIMESPEC_BYTES = 16;
export const ITIMERSPEC_BYTES = 32;
export const ITIMERVAL_BYTES = 32;
