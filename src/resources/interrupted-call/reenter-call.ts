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
import { TIMESPEC_BYTES } from '../../linux/abi/time.ts';
import { check } from '../../linux/kernel.ts';
import { ptrace, tgkill } from '../../linux/syscalls/process.ts';
import { writeMemory } from '../../tracee/memory.ts';
import { abiOf, type Registers, readRegisters, register, setRegister, writeRegisters } from '../../tracee/registers.ts';
import type { Steps } from '../../tracee/steps.ts';
import { resume, waitForStop } from '../../tracee/stop.ts';
import { registersFromImage } from '../registers/registers.ts';
import {
  argumentRegister,
  assembleTimespec,
  POLL_TIMEOUT_ARGUMENT,
  TIMESPEC_ARGUMENT,
  timedCall,
} from './timed-calls.ts';

const POLL_MS_MAX = 0x7fff_ffffn;

/** The registers that make the call for the rest of its time; `timespec` is where that will be. */
export function callAgain(own: Registers, { nr, rest_ns }: InterruptedCallExt, timespec: number): Registers {
  const registers = own.slice();
  setRegister(registers, 'rax', nr);
  setRegister(registers, 'orig_rax', -1);
  const abi = abiOf(own);
  const call = timedCall(abi, nr);
  assert(call !== undefined, `system call ${nr} has a timeout`);
  const argument = TIMESPEC_ARGUMENT[call.name];
  if (argument !== undefined) {
    setRegister(registers, argumentRegister(abi, argument), timespec);
    return registers;
  }
  const milliseconds = (rest_ns + 999_999n) / 1_000_000n;
  const register = argumentRegister(abi, POLL_TIMEOUT_ARGUMENT);
  setRegister(registers, register, milliseconds < POLL_MS_MAX ? milliseconds : POLL_MS_MAX);
  return registers;
}

/** The registers with which the thread goes on after `callAgain` has come to `result`. */
export function goOn(own: Registers, { nr }: InterruptedCallExt, result: bigint): Registers {
  const registers = own.slice();
  setRegister(registers, 'rax', result);
  if (result === BigInt(-ERESTART_RESTARTBLOCK)) setRegister(registers, 'orig_rax', nr);
  return registers;
}

/** Bytes of `scratch`. */
export const SCRATCH_BYTES = TIMESPEC_BYTES;

/**
 * Makes the call in a stopped thread, through an instruction for system calls at `syscallAt`; `scratch` is memory of the task for
 * a timespec. `goOn` is to be called when the thread has got its registers. Undefined when it is in no such call.
 */
export function reenterCall(
  { pid, tid, core }: { pid: number; tid: number; core: CoreEntry },
  syscallAt: number,
  scratch: number,
): { steps: Steps; goOn: () => void } | undefined {
  const call = core.thread_core?.interrupted_call_ext;
  const gpregs = core.thread_info?.gpregs;
  if (call === undefined || gpregs === undefined) return undefined;
  const own = registersFromImage(gpregs);
  const timed = timedCall(abiOf(own), call.nr);
  // An image that asks for another call is damaged.
  if (timed === undefined) return undefined;
  let result = 0n;
  const enter = () => {
    writeMemory(tid, scratch, assembleTimespec(call.rest_ns, timed));
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
