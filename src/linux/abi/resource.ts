/**
 * getrlimit(2), prlimit(2), getpriority(2). Values: asm-generic/resource.h.
 */

/* Resources. */
export const RLIMIT_CPU = 0;
export const RLIMIT_FSIZE = 1;
export const RLIMIT_DATA = 2;
export const RLIMIT_STACK = 3;
export const RLIMIT_CORE = 4;
export const RLIMIT_RSS = 5;
export const RLIMIT_NPROC = 6;
export const RLIMIT_NOFILE = 7;
export const RLIMIT_MEMLOCK = 8;
export const RLIMIT_AS = 9;
export const RLIMIT_LOCKS = 10;
export const RLIMIT_SIGPENDING = 11;
export const RLIMIT_MSGQUEUE = 12;
export const RLIMIT_NICE = 13;
export const RLIMIT_RTPRIO = 14;
export const RLIMIT_RTTIME = 15;

/* Number of resources. */
export const RLIM_NLIMITS = 16;

/* getpriority and getrusage. */
export const PRIO_PROCESS = 0;
export const PRIO_PGRP = 1;
export const PRIO_USER = 2;
export const RUSAGE_BOTH = -2;
export const RUSAGE_CHILDREN = -1;
export const RUSAGE_SELF = 0;
export const RUSAGE_THREAD = 1;

/** No limit. */
export const RLIM_INFINITY = 0xffff_ffff_ffff_ffffn;

/** Names of the resources by number, without `RLIMIT_`. */
export const RLIMIT_NAMES = [
  'CPU',
  'FSIZE',
  'DATA',
  'STACK',
  'CORE',
  'RSS',
  'NPROC',
  'NOFILE',
  'MEMLOCK',
  'AS',
  'LOCKS',
  'SIGPENDING',
  'MSGQUEUE',
  'NICE',
  'RTPRIO',
  'RTTIME',
] as const;
