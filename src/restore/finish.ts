/**
 * The last steps of a restore: every thread gets the registers it had, the agent disappears, and the tasks run.
 *
 * Until here all tasks are under PTRACE_O_EXITKILL: if criu dies, nothing is left of them.
 */
import type { Abi } from '../agent/abi.ts';
import { assert, CriuError } from '../base/errors.ts';
import type { CoreEntry } from '../image/gen/core.ts';
import { NT_X86_XSTATE, PTRACE_GETREGSET, PTRACE_SYSCALL } from '../linux/abi/ptrace.ts';
import { SIGTRAP } from '../linux/abi/signal.ts';
import { check } from '../linux/kernel.ts';
import { ptrace, ptraceRegset } from '../linux/syscalls/process.ts';
import { registersFromImage } from '../resources/registers/registers.ts';
import { writeTls } from '../resources/registers/tls.ts';
import { assembleXstate } from '../resources/registers/xstate.ts';
import { writeSignalMask } from '../tracee/guest-thread.ts';
import { readMemory } from '../tracee/memory.ts';
import { readRegisters, register, setRegister, writeRegisters, writeXstate } from '../tracee/registers.ts';
import type { Steps } from '../tracee/steps.ts';
import { waitForStop } from '../tracee/stop.ts';

const probe = new Uint8Array(64 * 1024);
let xstateBytes: number | undefined;

/** Size of the XSAVE area that PTRACE_SETREGSET of this kernel takes. */
function xstateSize(tid: number): number {
  xstateBytes ??= check('ptrace', ptraceRegset(PTRACE_GETREGSET, tid, NT_X86_XSTATE, probe), `GETREGSET, ${tid}`);
  return xstateBytes;
}

/** Gives a stopped thread the registers, FPU state and signal mask of its image. */
export function writeThreadState(tid: number, core: CoreEntry): void {
  const info = core.thread_info;
  if (info === undefined) {
    throw new CriuError({ object: `core-${tid}.img`, action: 'has no registers', why: 'thread_info is missing' });
  }
  const extended = new Map(info.xstate_ext.map(({ bit, content }) => [bit, content]));
  writeXstate(tid, assembleXstate(info.fpregs, extended, xstateSize(tid)));
  writeRegisters(tid, registersFromImage(info.gpregs));
  writeTls(tid, info.tls);
  writeSignalMask(tid, core.thread_core?.blk_sigset ?? core.tc?.blk_sigset ?? 0n);
}

/** So much of a mapping is searched. */
const SEARCH_BYTES_MAX = 1 << 20;

/** An instruction for system calls in executable memory of the task: in the first of the ranges that has one. */
export function findSyscall(
  pid: number,
  executable: readonly { start: number; end: number }[],
  { callInstruction }: Abi,
): number | undefined {
  for (const { start, end } of executable) {
    const code = Buffer.from(readMemory(pid, start, Math.min(end - start, SEARCH_BYTES_MAX)));
    const at = code.indexOf(Buffer.from(callInstruction));
    if (at >= 0) return start + at;
  }
  return undefined;
}

/** Removes the agent's home from a task: munmap by its leader, through an instruction outside of it. */
export function unmapHome(
  pid: number,
  syscallAt: number,
  home: { address: number; bytes: number },
  { calls, argumentRegisters: [first, second] }: Abi,
): Steps {
  const go = () => check('ptrace', ptrace(PTRACE_SYSCALL, pid), `SYSCALL, ${pid}`);
  const arrive = () => {
    const stop = waitForStop(pid);
    const isThere = stop !== 'gone' && stop.kind === 'signal' && (stop.signal & ~0x80) === SIGTRAP;
    assert(isThere, `task ${pid} stops at munmap`);
  };
  return [
    () => {
      const registers = readRegisters(pid);
      setRegister(registers, 'rip', syscallAt);
      setRegister(registers, 'rax', calls.munmap);
      setRegister(registers, first, home.address);
      setRegister(registers, second, home.bytes);
      setRegister(registers, 'orig_rax', -1n);
      writeRegisters(pid, registers);
      go();
    },
    () => {
      arrive();
      go();
    },
    () => {
      arrive();
      check('munmap', Number(BigInt.asIntN(64, register(readRegisters(pid), 'rax'))), `the agent of task ${pid}`);
    },
  ];
}
