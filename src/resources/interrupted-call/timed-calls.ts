/**
 * The calls with a relative timeout that go on for the rest of it after a restore, for both kinds of task: their numbers,
 * and which of their arguments are times.
 */
import type { Abi } from '../../agent/abi.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { SYS_32 } from '../../linux/abi/syscall-numbers-32.ts';
import { type RegisterName, type Registers, register } from '../../tracee/registers.ts';

export type TimedCallName = 'nanosleep' | 'clock_nanosleep' | 'poll' | 'futex';

export interface TimedCall {
  readonly nr: number;
  readonly name: TimedCallName;
  /** The bytes of seconds, and of nanoseconds, in its timespec; 32-bit programs have calls of either kind. */
  readonly wordBytes: 8 | 4;
}

const CALLS_64: readonly TimedCall[] = [
  { nr: SYS.nanosleep, name: 'nanosleep', wordBytes: 8 },
  { nr: SYS.clock_nanosleep, name: 'clock_nanosleep', wordBytes: 8 },
  { nr: SYS.poll, name: 'poll', wordBytes: 8 },
  { nr: SYS.futex, name: 'futex', wordBytes: 8 },
];
const CALLS_32: readonly TimedCall[] = [
  { nr: SYS_32.nanosleep, name: 'nanosleep', wordBytes: 4 },
  { nr: SYS_32.clock_nanosleep, name: 'clock_nanosleep', wordBytes: 4 },
  { nr: SYS_32.clock_nanosleep_time64, name: 'clock_nanosleep', wordBytes: 8 },
  { nr: SYS_32.poll, name: 'poll', wordBytes: 4 },
  { nr: SYS_32.futex, name: 'futex', wordBytes: 4 },
  { nr: SYS_32.futex_time64, name: 'futex', wordBytes: 8 },
];

export const timedCalls = ({ bits }: Abi): readonly TimedCall[] => (bits === 32 ? CALLS_32 : CALLS_64);

/** Undefined when it is none of them. */
export const timedCall = (abi: Abi, nr: number): TimedCall | undefined =>
  timedCalls(abi).find((call) => call.nr === nr);

/** Which argument is the address of the relative timeout. */
export const TIMESPEC_ARGUMENT: Readonly<Record<TimedCallName, number | undefined>> = {
  nanosleep: 0,
  clock_nanosleep: 2,
  futex: 3,
  poll: undefined,
};
/** Which argument of poll(2) has its timeout, in milliseconds. */
export const POLL_TIMEOUT_ARGUMENT = 2;

export function argumentRegister({ argumentRegisters }: Abi, index: number): RegisterName {
  const name = argumentRegisters[index];
  if (name === undefined) throw new RangeError(`a system call has no argument ${index}`);
  return name;
}

/** An argument of the call in which a thread was interrupted. */
export function argumentOf(registers: Registers, abi: Abi, index: number): bigint {
  return BigInt.asUintN(abi.bits, register(registers, argumentRegister(abi, index)));
}

const NS = 1_000_000_000n;

/** The time in a timespec, in nanoseconds. */
export function parseTimespec(bytes: Uint8Array): bigint {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.byteLength === 8) return BigInt(view.getInt32(0, true)) * NS + BigInt(view.getInt32(4, true));
  return view.getBigInt64(0, true) * NS + view.getBigInt64(8, true);
}

const SECONDS_MAX_32 = 0x7fff_ffffn;

/** The other way round. */
export function assembleTimespec(ns: bigint, { wordBytes }: TimedCall): Uint8Array {
  const bytes = new Uint8Array(2 * wordBytes);
  const view = new DataView(bytes.buffer);
  const seconds = ns / NS;
  if (wordBytes === 8) {
    view.setBigInt64(0, seconds, true);
    view.setBigInt64(8, ns % NS, true);
  } else {
    view.setInt32(0, Number(seconds < SECONDS_MAX_32 ? seconds : SECONDS_MAX_32), true);
    view.setInt32(4, Number(ns % NS), true);
  }
  return bytes;
}
