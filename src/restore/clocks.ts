/**
 * The clocks of restored tasks: CLOCK_MONOTONIC and CLOCK_BOOTTIME go on where they were at the dump, by a time
 * namespace with offsets (man 7 time_namespaces).
 */
import { CriuError } from '../base/errors.ts';
import type { TimensEntry } from '../image/gen/timens.ts';
import { CLOCK_BOOTTIME, CLOCK_MONOTONIC } from '../linux/abi/time.ts';
import { readClock } from '../linux/clock.ts';

const NS = 1_000_000_000n;
/** The kernel lets no clock of a time namespace go further: half of what it can count (kernel/time/namespace.c). */
const CLOCK_SECONDS_MAX = 4_611_686_018;

/** Offsets of a time namespace, in nanoseconds. */
export interface ClockOffsets {
  readonly monotonic: bigint;
  readonly boottime: bigint;
}

/**
 * The text for /proc/PID/timens_offsets that makes the clocks go on from the image's values. Offsets count from the
 * initial time namespace, so those of our own are taken off.
 */
export function clockOffsets(entry: TimensEntry, own: ClockOffsets): string {
  const line = (clock: number, { tv_sec, tv_nsec }: TimensEntry['monotonic'], ownOffset: bigint) => {
    if (tv_sec < 0 || tv_sec > CLOCK_SECONDS_MAX || tv_nsec < 0 || tv_nsec >= NS)
      throw impossible(clock, tv_sec, tv_nsec);
    const wanted = BigInt(tv_sec) * NS + BigInt(tv_nsec);
    const offset = wanted - (readClock(clock) - ownOffset);
    const seconds = offset / NS - (offset % NS < 0n ? 1n : 0n);
    return `${clock} ${seconds} ${offset - seconds * NS}\n`;
  };
  return line(CLOCK_MONOTONIC, entry.monotonic, own.monotonic) + line(CLOCK_BOOTTIME, entry.boottime, own.boottime);
}

function impossible(clock: number, tv_sec: number | bigint, tv_nsec: number | bigint): CriuError {
  const name = clock === CLOCK_MONOTONIC ? 'monotonic' : 'boottime';
  return new CriuError({
    object: `timens image: entry 0: ${name}`,
    action: `no clock can stand at ${tv_sec} s and ${tv_nsec} ns`,
    why: 'the image is damaged',
  });
}
