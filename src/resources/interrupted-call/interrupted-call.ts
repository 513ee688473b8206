/**
 * Calls with a relative timeout that the freeze has interrupted: nanosleep, clock_nanosleep, poll, futex. They go on for
 * the rest of the time after a restore. The registers still have their arguments; the rest is known to the kernel only,
 * and comes from the thread's restart block (restart-blocks.ts). Where that can't be read, or CRIU restores the
 * images, the call returns EINTR.
 */
import type { InterruptedCallExt } from '../../image/gen/core.ts';
import { CLOCK_BOOTTIME, CLOCK_MONOTONIC, CLOCK_TAI } from '../../linux/abi/time.ts';
import { abiOf, type Registers, register } from '../../tracee/registers.ts';
import type { RestartBlock } from './restart-blocks.ts';
import {
  argumentOf,
  POLL_TIMEOUT_ARGUMENT,
  TIMESPEC_ARGUMENT,
  type TimedCall,
  type TimedCallName,
  timedCall,
  timedCalls,
} from './timed-calls.ts';

const FUTEX_CMD_MASK = 0x7fn;
const FUTEX_WAIT_BITSET = 9n;
/** Calls whose whole timeout is not longer are made again: that takes less time than a dump. */
const SHORT_NS = 10_000_000n;

/**
 * True when the interrupted call with its old arguments does what was left of it: the kernel has written the rest of the
 * time where the time is read from (sleep(3) passes one buffer for both), the time is absolute, there is none, or it is
 * short.
 */
export function canBeMadeAgain(registers: Registers, readTimespec: ReadTimespec): boolean {
  const abi = abiOf(registers);
  const call = timedCall(abi, Number(register(registers, 'orig_rax')));
  if (call === undefined) return false;
  const argument = (index: number) => argumentOf(registers, abi, index);
  const time = TIMESPEC_ARGUMENT[call.name];
  if (time === undefined) return BigInt.asIntN(32, argument(POLL_TIMEOUT_ARGUMENT)) <= SHORT_NS / 1_000_000n;
  // Behind the time is the address where the rest of it goes.
  const isDone =
    call.name === 'futex'
      ? (argument(1) & FUTEX_CMD_MASK) === FUTEX_WAIT_BITSET
      : argument(time) === argument(time + 1);
  return isDone || (readTimespec(argument(time), call) ?? SHORT_NS + 1n) <= SHORT_NS;
}

/** Reads the timespec of a call, in nanoseconds. */
export type ReadTimespec = (address: bigint, call: TimedCall) => bigint | undefined;

/** Pure but for `readClock` (ns). Undefined when it is a call of another kind, such as a sleep on a CPU clock. */
export function describeInterruptedCall(
  registers: Registers,
  block: RestartBlock,
  readClock: (clock: number) => bigint,
): InterruptedCallExt | undefined {
  const call = callOf(registers, block);
  const end = call === undefined ? undefined : endOf(call.name, block);
  if (call === undefined || end === undefined) return undefined;
  const rest = end.ns - readClock(end.clock);
  return { nr: call.nr, rest_ns: rest < 0n ? 0n : rest };
}

/** Fields of the union in struct restart_block (linux/restart_block.h), from its begin on. */
const futexOf = (block: RestartBlock) => ({
  uaddr: block.getBigUint64(0, true),
  val: block.getUint32(8, true),
  bitset: block.getUint32(16, true),
  ns: block.getBigInt64(24, true),
});
const pollOf = (block: RestartBlock) => ({
  fds: block.getBigUint64(0, true),
  nfds: block.getInt32(8, true),
  hasTimeout: block.getInt32(12, true) === 1,
  ns: block.getBigInt64(16, true) * 1_000_000_000n + block.getBigInt64(24, true),
});
const sleepOf = (block: RestartBlock) => ({
  clock: block.getInt32(0, true),
  type: block.getInt32(4, true),
  rmtp: block.getBigUint64(8, true),
  ns: block.getBigInt64(16, true),
});

const MATCH_ANY = 0xffff_ffff;
/** TT_COMPAT: the rest goes to a timespec of 32-bit words (linux/restart_block.h, enum timespec_type). */
const TT_COMPAT = 2;

/**
 * The call. One that was interrupted before has become restart_syscall(2); which one it was shows by which of its arguments
 * are in the restart block.
 */
function callOf(registers: Registers, block: RestartBlock): TimedCall | undefined {
  const abi = abiOf(registers);
  const nr = Number(register(registers, 'orig_rax'));
  if (nr !== abi.calls.restart_syscall) return timedCall(abi, nr);
  const name = nameOf((index) => argumentOf(registers, abi, index), block);
  const calls = timedCalls(abi).filter((call) => call.name === name);
  const wordBytes = sleepOf(block).type === TT_COMPAT ? 4 : 8;
  // What does not differ in the restart block may be any of them.
  return calls.find((call) => call.wordBytes === wordBytes) ?? calls[0];
}

function nameOf(argument: (index: number) => bigint, block: RestartBlock): TimedCallName | undefined {
  const low = (index: number) => Number(BigInt.asUintN(32, argument(index)));
  const [futex, poll, sleep] = [futexOf(block), pollOf(block), sleepOf(block)];
  if (futex.uaddr === argument(0)) {
    if (futex.bitset === MATCH_ANY && futex.val === low(2)) return 'futex';
    if (poll.hasTimeout && poll.nfds === low(1)) return 'poll';
  }
  // clock_nanosleep(2) has a clock where nanosleep(2) has an address.
  const isWithClock = argument(0) < 4096n;
  if (sleep.rmtp !== argument(isWithClock ? 3 : 1)) return undefined;
  return isWithClock ? 'clock_nanosleep' : 'nanosleep';
}

/** When the call ends, and by which clock. */
function endOf(name: TimedCallName, block: RestartBlock): { clock: number; ns: bigint } | undefined {
  switch (name) {
    case 'futex':
      return { clock: CLOCK_MONOTONIC, ns: futexOf(block).ns };
    case 'poll':
      return pollOf(block).hasTimeout ? { clock: CLOCK_MONOTONIC, ns: pollOf(block).ns } : undefined;
    case 'nanosleep':
    case 'clock_nanosleep': {
      const { clock, ns } = sleepOf(block);
      // A relative sleep on CLOCK_REALTIME is one on CLOCK_MONOTONIC (kernel/time/hrtimer.c, __hrtimer_setup).
      return [CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_TAI].includes(clock) ? { clock, ns } : undefined;
    }
  }
}
