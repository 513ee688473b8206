/**
 * Calls with a relative timeout that the freeze has interrupted: nanosleep, clock_nanosleep, poll, futex. They go on for
 * the rest of the time after a restore. The registers still have their arguments; the rest is known to the kernel only,
 * and comes from the thread's restart block (restart-blocks.ts). Where that can't be read, or CRIU restores the
 * images, the call returns EINTR.
 */
import type { InterruptedCallExt } from '../../image/gen/core.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { CLOCK_BOOTTIME, CLOCK_MONOTONIC, CLOCK_TAI } from '../../linux/abi/time.ts';
import { type RegisterName, type Registers, register } from '../../tracee/registers.ts';
import type { RestartBlock } from './restart-blocks.ts';

const FUTEX_CMD_MASK = 0x7fn;
const FUTEX_WAIT_BITSET = 9n;
/** Calls whose whole timeout is not longer are made again: that takes less time than a dump. */
const SHORT_NS = 10_000_000n;

/**
 * True when the interrupted call with its old arguments does what was left of it: the kernel has written the rest of the
 * time where the time is read from (sleep(3) passes one buffer for both), the time is absolute, there is none, or it is
 * short. `readTimespec` reads memory of the task, in nanoseconds.
 */
export function canBeMadeAgain(registers: Registers, readTimespec: (address: bigint) => bigint | undefined): boolean {
  const value = (name: RegisterName) => register(registers, name);
  const isShort = (address: bigint) => (readTimespec(address) ?? SHORT_NS + 1n) <= SHORT_NS;
  switch (Number(value('orig_rax'))) {
    case SYS.nanosleep:
      return value('rdi') === value('rsi') || isShort(value('rdi'));
    case SYS.clock_nanosleep:
      return value('rdx') === value('r10') || isShort(value('rdx'));
    case SYS.poll:
      return BigInt.asIntN(32, value('rdx')) <= SHORT_NS / 1_000_000n;
    case SYS.futex:
      return (value('rsi') & FUTEX_CMD_MASK) === FUTEX_WAIT_BITSET || isShort(value('r10'));
    default:
      return false;
  }
}

/** Pure but for `readClock` (ns). Undefined when it is a call of another kind, such as a sleep on a CPU clock. */
export function describeInterruptedCall(
  registers: Registers,
  block: RestartBlock,
  readClock: (clock: number) => bigint,
): InterruptedCallExt | undefined {
  const nr = callOf(registers, block);
  const end = endOf(nr, block);
  if (end === undefined) return undefined;
  const rest = end.ns - readClock(end.clock);
  return { nr, rest_ns: rest < 0n ? 0n : rest };
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
  rmtp: block.getBigUint64(8, true),
  ns: block.getBigInt64(16, true),
});

const MATCH_ANY = 0xffff_ffff;

/**
 * The number of the call. One that was interrupted before has become restart_syscall(2); which one it was shows by which
 * of its arguments are in the restart block.
 */
function callOf(registers: Registers, block: RestartBlock): number {
  const nr = Number(register(registers, 'orig_rax'));
  if (nr !== SYS.restart_syscall) return nr;
  const low = (name: RegisterName) => Number(BigInt.asUintN(32, register(registers, name)));
  const [futex, poll, sleep] = [futexOf(block), pollOf(block), sleepOf(block)];
  if (futex.uaddr === register(registers, 'rdi')) {
    if (futex.bitset === MATCH_ANY && futex.val === low('rdx')) return SYS.futex;
    if (poll.hasTimeout && poll.nfds === low('rsi')) return SYS.poll;
  }
  // clock_nanosleep(2) has a clock where nanosleep(2) has an address.
  const isWithClock = register(registers, 'rdi') < 4096n;
  if (sleep.rmtp !== register(registers, isWithClock ? 'r10' : 'rsi')) return nr;
  return isWithClock ? SYS.clock_nanosleep : SYS.nanosleep;
}

/** When the call ends, and by which clock. */
function endOf(nr: number, block: RestartBlock): { clock: number; ns: bigint } | undefined {
  switch (nr) {
    case SYS.futex:
      return { clock: CLOCK_MONOTONIC, ns: futexOf(block).ns };
    case SYS.poll:
      return pollOf(block).hasTimeout ? { clock: CLOCK_MONOTONIC, ns: pollOf(block).ns } : undefined;
    case SYS.nanosleep:
    case SYS.clock_nanosleep: {
      const { clock, ns } = sleepOf(block);
      // A relative sleep on CLOCK_REALTIME is one on CLOCK_MONOTONIC (kernel/time/hrtimer.c, __hrtimer_setup).
      return [CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_TAI].includes(clock) ? { clock, ns } : undefined;
    }
    default:
      return undefined;
  }
}
