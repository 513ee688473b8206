/**
 * /proc/PID/limits: resource limits, man 5 proc_pid_limits; fs/proc/base.c proc_pid_limits().
 *
 * prlimit(2) on a task of another user needs CAP_SYS_RESOURCE; this file can be read by whoever may ptrace.
 */
import { eachLine, malformed, type Place, toBigint, words } from './text.ts';

/** No limit, as the kernel keeps it and as the images do. */
export const RLIM_INFINITY = 0xffff_ffff_ffff_ffffn;

/** One resource limit; RLIM_INFINITY for none. */
export interface Limit {
  readonly soft: bigint;
  readonly hard: bigint;
}

/** The kernel's texts in the order of RLIMIT_CPU (0) to RLIMIT_RTTIME (15). */
const LIMIT_NAMES = [
  'Max cpu time',
  'Max file size',
  'Max data size',
  'Max stack size',
  'Max core file size',
  'Max resident set',
  'Max processes',
  'Max open files',
  'Max locked memory',
  'Max address space',
  'Max file locks',
  'Max pending signals',
  'Max msgqueue size',
  'Max nice priority',
  'Max realtime priority',
  'Max realtime timeout',
] as const;

/** Parses /proc/PID/limits to 16 limits, indexed by RLIMIT_*. Throws CriuError when one is missing. */
export function parseLimits(text: string, file = '/proc/PID/limits'): Limit[] {
  const found = new Map<string, Limit>();
  eachLine(text, file, (line, place) => {
    for (const name of LIMIT_NAMES) {
      if (line.startsWith(`${name} `)) found.set(name, parseLimit(line.slice(name.length), place));
    }
  });
  return LIMIT_NAMES.map((name) => {
    const limit = found.get(name);
    if (limit === undefined) throw malformed({ file, line: 0, text }, `a line "${name}"`);
    return limit;
  });
}

function parseLimit(columns: string, place: Place): Limit {
  const [soft = '', hard = ''] = words(columns);
  return { soft: parseValue(soft, place), hard: parseValue(hard, place) };
}

function parseValue(text: string, place: Place): bigint {
  return text === 'unlimited' ? RLIM_INFINITY : toBigint(text, place, 'a number or "unlimited"');
}
