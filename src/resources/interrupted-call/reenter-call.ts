/**
 * Puts a restored thread back into a call that its dump interrupted, for the rest of the time: the thread makes the call
 * with its own arguments but for the time, and is interrupted at once. From then on the kernel knows in the thread's
 * restart block until when the call goes on, and restarts it when the thread runs with its own registers.
 */
import { assert } from '../../base/errors.ts';
import type { CoreEntry, InterruptedCallExt } from '../../image/gen/core.ts';
import { ERESTART_RESTARTBLOCK } from '../../linux/abi/errno.ts';
import { PTRACE_SYSCALL } from '../../linux/abi/ptrace.ts';
import { SIGSTOP, SIGTRAP } from '../../linux/abi/signal.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { TIMESPEC_BYTES } from '../../linux/abi/time.ts';
import { check } from '../../linux/kernel.ts';
import { ptrace, tgkill } from '../../linux/syscalls/process.ts';
import { writeMemory } from '../../tracee/memory.ts';
import {
  type RegisterName,
  type Registers,
  readRegisters,
  register,
  setRegister,
  writeRegisters,
} from '../../tracee/registers.ts';
import type { Steps } from '../../tracee/steps.ts';
import { resume, waitForStop } from '../../tracee/stop.ts';
import { registersFromImage } from '../registers/registers.ts';

/** Where a call has the address of its relative timeout. */
const TIMESPEC_ARGUMENT: Readonly<Record<number, RegisterName>> = {
  [SYS.nanosleep]: 'rdi',
  [SYS.clock_nanosleep]: 'rdx',
  [SYS.futex]: 'r10',
};
const POLL_MS_MAX = 0x7fff_ffffn;

/** The registers that make the call for the rest of its time; `timespec` is where that will be. */
export function callAgain(own: Registers, { nr, rest_ns }: InterruptedCallExt, timespec: number): Registers {
  const registers = own.slice();
  setRegister(registers, 'rax', nr);
  setRegister(registers, 'orig_rax', -1);
  const argument = TIMESPEC_ARGUMENT[nr];
  if (argument !== undefined) {
    setRegister(registers, argument, timespec);
    return registers;
  }
  assert(nr === SYS.poll, `system call ${nr} has a timeout`);
  const milliseconds = (rest_ns + 999_999n) / 1_000_000n;
  setRegister(registers, 'rdx', milliseconds < POLL_MS_MAX ? milliseconds : POLL_MS_MAX);
  return registers;
}

/** The registers with which the thread goes on after `callAgain` has come to `result`. */
export function goOn(own: Registers, { nr }: InterruptedCallExt, result: bigint): Registers {
  const registers = own.slice();
  setRegister(registers, 'rax', result);
  if (result === BigInt(-ERESTART_RESTARTBLOCK)) setRegister(registers, 'orig_rax', nr);
  return registers;
}

/** Calls that can be entered again: what an image asks for beyond that is damaged. */
export const isKnownCall = ({ nr }: InterruptedCallExt): boolean => nr === SYS.poll || nr in TIMESPEC_ARGUMENT;

/** Bytes of `scratch`. */
export const SCRATCH_BYTES = TIMESPEC_BYTES;

/**
 * Makes the call in a stopped thread, through a `syscall` instruction at `syscallAt`; `scratch` is memory of the task for
 * a timespec. `goOn` is to be called when the thread has got its registers. Undefined when it is in no such call.
 */
export function reenterCall(
  { pid, tid, core }: { pid: number; tid: number; core: CoreEntry },
  syscallAt: number,
  scratch: number,
): { steps: Steps; goOn: () => void } | undefined {
  const call = core.thread_core?.interrupted_call_ext;
  const gpregs = core.thread_info?.gpregs;
  if (call === undefined || gpregs === undefined || !isKnownCall(call)) return undefined;
  const own = registersFromImage(gpregs);
  let result = 0n;
  const enter = () => {
    const timespec = new BigInt64Array([call.rest_ns / 1_000_000_000n, call.rest_ns % 1_000_000_000n]);
    writeMemory(tid, scratch, new Uint8Array(timespec.buffer, 0, TIMESPEC_BYTES));
    const registers = callAgain(own, call, scratch);
    setRegister(registers, 'rip', syscallAt);
    writeRegisters(tid, registers);
    check('ptrace', ptrace(PTRACE_SYSCALL, tid), `SYSCALL, ${tid}`);
  };
  const interrupt = () => {
    const stop = waitForStop(tid);
    const isEntry = stop !== 'gone' && stop.kind === 'signal' && (stop.signal & ~0x80) === SIGTRAP;
    assert(isEntry, `thread ${tid} stops at its call`);
    // The signal is pending when the call begins, so it waits for nothing; and it is never delivered.
    tgkill(pid, tid, SIGSTOP);
    resume(tid);
  };
  const end = () => {
    const stop = waitForStop(tid);
    const isEnd = stop !== 'gone' && stop.kind === 'signal' && stop.signal === SIGSTOP;
    assert(isEnd, `the call of thread ${tid} is interrupted`);
    result = BigInt.asIntN(64, register(readRegisters(tid), 'rax'));
  };
  return { steps: [enter, interrupt, end], goOn: () => writeRegisters(tid, goOn(own, call, result)) };
}
