/**
 * Single system calls in a stopped task that has no agent yet: a trampoline in the unused zeroed tail of the vdso's last
 * page does one system call, restores the signal mask and all registers, and jumps back. No byte that the task could
 * execute is changed.
 *
 * A call has three steps, `enter`, `cross` and `leave`; after the first two the task runs until its next stop. Whoever
 * has many tasks does each step in all of them before the next, and they run at the same time.
 */
import { ABI_64, type Abi, type AbiCall } from '../agent/abi.ts';
import { resumeCode } from '../agent/agent-code.ts';
import { CriuError } from '../base/errors.ts';
import { PTRACE_SYSCALL } from '../linux/abi/ptrace.ts';
import { SIGSTOP, SIGTRAP } from '../linux/abi/signal.ts';
import { check } from '../linux/kernel.ts';
import { ptrace, tgkill } from '../linux/syscalls/process.ts';
import { type GuestThread, threadDied, writeSignalMask } from './guest-thread.ts';
import { ForcedMemory, readMemory } from './memory.ts';
import { abiOf, readRegisters, register, restarted, setRegister, writeRegisters } from './registers.ts';
import { waitForStop } from './stop.ts';

const SIGSET_BYTES = 8;
const ALL_SIGNALS = 0xffff_ffff_ffff_ffffn;
const TAIL_BYTES = 288;

/** The registers with which a thread goes on by itself, as words of 32 bits. */
export function wayBack(thread: GuestThread): Uint32Array {
  return new Uint32Array(restarted(thread.registers).buffer);
}

export class Trampoline {
  readonly memory: ForcedMemory;
  readonly #leader: GuestThread;
  readonly #tail: number;
  /** The call is made as the task makes its own: where the kernel puts mappings depends on it. */
  readonly #abi: Abi;
  #isPlaced = false;
  readonly #putOff: PutOffStops;

  /** Throws CriuError when the task has no room for it in the mappings `executable`. */
  constructor(leader: GuestThread, executable: readonly Range[], putOff: PutOffStops) {
    this.#leader = leader;
    this.#abi = abiOf(leader.registers);
    this.#tail = findTail(leader.pid, executable, this.#abi);
    this.#putOff = putOff;
    this.memory = new ForcedMemory(leader.pid);
  }

  /** Sets out for a system call of the leader. */
  enter(name: AbiCall, ...args: number[]): void {
    const { tid, registers } = this.#leader;
    if (!this.#isPlaced) this.#place();
    const call = registers.slice();
    const { argumentRegisters, calls } = this.#abi;
    argumentRegisters.forEach((register, i) => {
      setRegister(call, register, args[i] ?? 0);
    });
    setRegister(call, 'rax', calls[name]);
    setRegister(call, 'cs', ABI_64.codeSegment);
    setRegister(call, 'rip', this.#tail + SIGSET_BYTES);
    setRegister(call, 'orig_rax', -1n);
    // Registers before the mask: see guest.ts.
    writeRegisters(tid, call);
    writeSignalMask(tid, ALL_SIGNALS);
    goToSystemCall(tid);
  }

  /** The task is at the entry of the call; lets it do it. */
  cross(): void {
    const { tid } = this.#leader;
    waitForSystemCall(this.#leader, this.#putOff);
    goToSystemCall(tid);
  }

  /** The call is done: returns its result. The thread has its own registers and mask again. */
  leave(): number {
    const { tid, registers, signalMask } = this.#leader;
    waitForSystemCall(this.#leader, this.#putOff);
    const result = Number(BigInt.asIntN(64, register(readRegisters(tid), 'rax')));
    writeSignalMask(tid, signalMask);
    writeRegisters(tid, registers);
    return result;
  }

  /** The tail is as it was. */
  clear(): void {
    if (this.#isPlaced) this.#clear(this.memory);
    this.#isPlaced = false;
  }

  /** The same in a copy of the task, forked while it was there. */
  clearIn(pid: number): void {
    using memory = new ForcedMemory(pid);
    this.#clear(memory);
  }

  #clear(memory: ForcedMemory): void {
    memory.write(this.#tail, new Uint8Array(TAIL_BYTES));
  }

  [Symbol.dispose](): void {
    this.memory[Symbol.dispose]();
  }

  #place(): void {
    const code = new Uint8Array(TAIL_BYTES);
    new DataView(code.buffer).setBigUint64(0, this.#leader.signalMask, true);
    const { callInstruction } = this.#abi;
    code.set(callInstruction, SIGSET_BYTES);
    const back = resumeCode(wayBack(this.#leader), { maskAddress: this.#tail });
    code.set(back, SIGSET_BYTES + callInstruction.length);
    this.memory.write(this.#tail, code);
    this.#isPlaced = true;
  }
}

/** Lets a thread run to the next entry or exit of a system call. */
export function goToSystemCall(tid: number): void {
  check('ptrace', ptrace(PTRACE_SYSCALL, tid), `SYSCALL, ${tid}`);
}

/** Waits until it is there. */
export function waitForSystemCall(thread: GuestThread, putOff: PutOffStops): void {
  for (;;) {
    const stop = waitForStop(thread.tid);
    if (stop === 'gone') throw threadDied(thread);
    // With PTRACE_O_TRACESYSGOOD, as a task that must survive us has it, or without, as a stub.
    if (stop.kind === 'signal' && (stop.signal & ~0x80) === SIGTRAP) return;
    if (stop.kind === 'signal') {
      // All others are blocked, but for faults of the thread itself, which would come again and again.
      if (stop.signal !== SIGSTOP) throw threadDied(thread, stop.signal);
      putOff.add(thread.tid);
    }
    goToSystemCall(thread.tid);
  }
}

/** Threads that got SIGSTOP, which can't be blocked, while they were visited. They get it again afterwards. */
export class PutOffStops {
  readonly #pid: number;
  readonly #tids = new Set<number>();

  constructor(pid: number) {
    this.#pid = pid;
  }

  add(tid: number): void {
    this.#tids.add(tid);
  }

  send(): void {
    for (const tid of this.#tids) tgkill(this.#pid, tid, SIGSTOP);
    this.#tids.clear();
  }
}

export interface Range {
  readonly start: number;
  readonly end: number;
}

/**
 * Unused zeroed bytes at the end of executable memory: in the vdso's last page, or, in a task that has unmapped its vdso,
 * behind the code of a file.
 */
function findTail(pid: number, executable: readonly Range[], abi: Abi): number {
  for (const { end } of executable) {
    if (isUnused(readMemory(pid, end - TAIL_BYTES, TAIL_BYTES), abi)) return end - TAIL_BYTES;
  }
  throw new CriuError({
    object: `task ${pid}`,
    action: 'cannot place the agent',
    why: 'it has no [vdso], and no unused bytes at the end of any executable mapping',
    remedy: 'boot without vdso=0, and let the program keep its vdso mapped',
  });
}

function isUnused(tail: Uint8Array, { callInstruction: [first, second] }: Abi): boolean {
  // A tail left by a criu that was killed begins with a mask and the instruction of a call; it may be used again.
  if (tail[SIGSET_BYTES] === first && tail[SIGSET_BYTES + 1] === second) return true;
  const words = new Uint32Array(tail.buffer);
  for (let i = 0; i < words.length; i++) if (words[i] !== 0) return false;
  return true;
}
