/**
 * /proc/PID/timens_offsets: how far the clocks of the children's time namespace are ahead, man 7 time_namespaces.
 */
import { eachLine, malformed, type Place, toBigint, toInteger, words } from './text.ts';

/** Added to a clock; `nsec` is 0 to 999999999, also for negative offsets. */
export interface TimeOffset {
  readonly sec: bigint;
  readonly nsec: number;
}

/** Offsets of the two clocks that a time namespace shifts. */
export interface TimensOffsets {
  readonly monotonic: TimeOffset;
  readonly boottime: TimeOffset;
}

/** Parses /proc/PID/timens_offsets. Throws CriuError when a clock is missing. */
export function parseTimensOffsets(text: string, file = '/proc/PID/timens_offsets'): TimensOffsets {
  const offsets = new Map<string, TimeOffset>();
  eachLine(text, file, (line, place) => {
    const [clock = '', sec = '', nsec = ''] = words(line);
    offsets.set(clock, { sec: toBigint(sec, place, 'seconds'), nsec: toInteger(nsec, place, 'nanoseconds') });
  });
  const whole: Place = { file, line: 0, text };
  // Linux 5.6 printed the numbers CLOCK_MONOTONIC and CLOCK_BOOTTIME instead of names.
  const monotonic = offsets.get('monotonic') ?? offsets.get('1');
  const boottime = offsets.get('boottime') ?? offsets.get('7');
  if (monotonic === undefined) throw malformed(whole, 'a line "monotonic"');
  if (boottime === undefined) throw malformed(whole, 'a line "boottime"');
  return { monotonic, boottime };
}
