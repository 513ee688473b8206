/**
 * /proc/PID/stat: one line of numbers, man 5 proc_pid_stat; fs/proc/array.c do_task_stat().
 *
 * comm stands in brackets and is not escaped, so it may contain brackets, blanks and newlines: the last `)` ends it.
 * Addresses are 0 or 1 when the reader may not ptrace the task.
 */
import { malformed, type Place, toBigint, toInteger } from './text.ts';

/** /proc/PID/stat; names as in proc_pid_stat(5), times in clock ticks. */
export interface Stat {
  readonly pid: number;
  readonly comm: string;
  readonly state: string;
  readonly ppid: number;
  readonly pgrp: number;
  readonly session: number;
  /** Encoded device number of the controlling terminal, 0 when there is none. */
  readonly ttyNr: number;
  /** Foreground process group of that terminal, -1 when there is none. */
  readonly tpgid: number;
  /** PF_* of include/linux/sched.h. */
  readonly flags: number;
  readonly minflt: number;
  readonly cminflt: number;
  readonly majflt: number;
  readonly cmajflt: number;
  readonly utime: number;
  readonly stime: number;
  readonly cutime: number;
  readonly cstime: number;
  readonly priority: number;
  readonly nice: number;
  readonly numThreads: number;
  /** Ticks after boot, shifted by the reader's time namespace; with pid it identifies a task. */
  readonly starttime: bigint;
  readonly vsize: number;
  /** In pages. */
  readonly rss: number;
  /** In bytes; all ones mean no limit. */
  readonly rsslim: bigint;
  readonly startcode: number;
  readonly endcode: number;
  readonly startstack: number;
  /** The low 31 bits only; use status for masks. */
  readonly signal: number;
  readonly blocked: number;
  readonly sigignore: number;
  readonly sigcatch: number;
  /** Signal that the parent gets on exit. */
  readonly exitSignal: number;
  readonly processor: number;
  readonly rtPriority: number;
  /** SCHED_*. */
  readonly policy: number;
  readonly startData: number;
  readonly endData: number;
  readonly startBrk: number;
  readonly argStart: number;
  readonly argEnd: number;
  readonly envStart: number;
  readonly envEnd: number;
  /** Wait status of a zombie, otherwise 0; 0 as well when the reader may not ptrace the task. */
  readonly exitCode: number;
}

/** Parses /proc/PID/stat. Throws CriuError when it is shorter than Linux 3.5 prints it or holds no numbers. */
export function parseStat(text: string, file = '/proc/PID/stat'): Stat {
  const place: Place = { file, line: 1, text };
  const open = text.indexOf(' (');
  const close = text.lastIndexOf(') ');
  if (open < 0 || close < open) throw malformed(place, 'a name in brackets');
  const fields = text
    .slice(close + 2)
    .trimEnd()
    .split(' ');
  const number = (index: number) => numberAt(fields, index, place);
  const pid = toInteger(text.slice(0, open), place, 'a pid');
  return {
    pid,
    comm: text.slice(open + 2, close),
    ...identity(fields, number, place),
    ...usage(fields, number, place),
  };
}

/** Fields 3 to 20 of proc_pid_stat(5). */
function identity(fields: readonly string[], number: (index: number) => number, place: Place) {
  const state = fields[0];
  if (state === undefined || state.length !== 1) throw malformed(place, 'a state of one letter');
  return {
    state,
    ppid: number(4),
    pgrp: number(5),
    session: number(6),
    ttyNr: number(7),
    tpgid: number(8),
    flags: number(9),
    minflt: number(10),
    cminflt: number(11),
    majflt: number(12),
    cmajflt: number(13),
    utime: number(14),
    stime: number(15),
    cutime: number(16),
    cstime: number(17),
    priority: number(18),
    nice: number(19),
    numThreads: number(20),
  };
}

/** Fields 22 to 52; 21, 29, 30 and 35 to 37 are obsolete or zero, 42 to 44 count delays and guests. */
function usage(fields: readonly string[], number: (index: number) => number, place: Place) {
  return {
    starttime: toBigint(fieldAt(fields, 22, place), place, 'a number as field 22'),
    vsize: number(23),
    rss: number(24),
    rsslim: toBigint(fieldAt(fields, 25, place), place, 'a number as field 25'),
    startcode: number(26),
    endcode: number(27),
    startstack: number(28),
    signal: number(31),
    blocked: number(32),
    sigignore: number(33),
    sigcatch: number(34),
    exitSignal: number(38),
    processor: number(39),
    rtPriority: number(40),
    policy: number(41),
    startData: number(45),
    endData: number(46),
    startBrk: number(47),
    argStart: number(48),
    argEnd: number(49),
    envStart: number(50),
    envEnd: number(51),
    exitCode: number(52),
  };
}

/** `index` counts as proc_pid_stat(5) does: 3 is the state, the first field after the name. */
function fieldAt(fields: readonly string[], index: number, place: Place): string {
  const field = fields[index - 3];
  if (field === undefined) throw malformed(place, `a number as field ${index}`);
  return field;
}

function numberAt(fields: readonly string[], index: number, place: Place): number {
  return toInteger(fieldAt(fields, index, place), place, `a number as field ${index}`);
}
