/**
 * /proc/PID/stat: one line of numbers, man 5 proc_pid_stat; fs/proc/array.c do_task_stat().
 *
 * comm stands in brackets and is not escaped, so it may contain brackets, blanks and newlines: the last `)` ends it.
 * Addresses are 0 or 1 when the reader may not ptrace the task.
 */
import { malformed, type Place, tryInteger } from './text.ts';

/** What is used of /proc/PID/stat; names as in proc_pid_stat(5). */
export interface Stat {
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
  /** Dead ones that nobody has waited for count too. */
  readonly numThreads: number;
  /** Resident pages, about. */
  readonly rss: number;
  readonly startcode: number;
  readonly endcode: number;
  readonly startstack: number;
  /** What the parent gets when it ends; 0 for nothing. */
  readonly exitSignal: number;
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
  const state = fields[0];
  if (state === undefined || state.length !== 1) throw malformed(place, 'a state of one letter');
  // `index` counts as proc_pid_stat(5) does: 3 is the state, the first field after the name.
  const number = (index: number): number => {
    const value = tryInteger(fields[index - 3] ?? '');
    if (value === undefined) throw malformed(place, `a number as field ${index}`);
    return value;
  };
  return {
    comm: text.slice(open + 2, close),
    state,
    ppid: number(4),
    pgrp: number(5),
    session: number(6),
    ttyNr: number(7),
    tpgid: number(8),
    flags: number(9),
    numThreads: number(20),
    rss: number(24),
    startcode: number(26),
    endcode: number(27),
    startstack: number(28),
    exitSignal: number(38),
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
