/**
 * The agent as a guest in a running task: programs are executed in threads that are stopped for a dump, and afterwards
 * nothing of it is left.
 *
 * Crash safety: when criu is killed, its tracees run on from where they are. So at every moment the registers of a
 * visited thread lead back to its own code without any help from outside:
 *
 * 1. The first system calls (mmap of a home for the agent) need an executable `syscall`. A trampoline in the unused
 *    zeroed tail of the vdso's last page does one system call, restores the signal mask and all registers, and jumps
 *    back. No byte that the task could execute is changed.
 * 2. A program ends by sending its own thread a signal that the application ignores. While we trace, that is a stop; if
 *    nobody traces, it is nothing. After it the program restores mask and registers and jumps back.
 * 3. The registers are always set before signals are blocked, and signals unblocked before registers are restored.
 *
 * Neither stack nor FPU state is touched. The restart block of an interrupted system call stays intact, because no
 * system call that a program makes can itself be restarted.
 */
import { agentCode, type GeneralRegisters, RESUME_BYTES, resumeCode } from '../agent/agent-code.ts';
import type { Program, Result } from '../agent/program.ts';
import { assert, CriuError } from '../base/errors.ts';
import { MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, PROT_EXEC, PROT_READ, PROT_WRITE } from '../linux/abi/mman.ts';
import { PTRACE_GETSIGMASK, PTRACE_SETSIGMASK, PTRACE_SYSCALL } from '../linux/abi/ptrace.ts';
import { SIG_SETMASK, SIGCHLD, SIGSTOP, SIGTRAP, SIGURG, SIGWINCH } from '../linux/abi/signal.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { check } from '../linux/kernel.ts';
import { ptrace, tgkill } from '../linux/syscalls/process.ts';
import { ForcedMemory, readMemory, writeMemory } from './memory.ts';
import { type Registers, readRegisters, register, restarted, setRegister, writeRegisters } from './registers.ts';
import { resume, waitForStop } from './stop.ts';

const PAGE = 4096;
const SIGSET_BYTES = 8;
const ALL_SIGNALS = 0xffff_ffff_ffff_ffffn;

/** A stopped thread that a guest may use. */
export interface GuestThread {
  readonly pid: number;
  readonly tid: number;
  /** As they were when the thread stopped; they are put back after each visit. */
  readonly registers: Registers;
  /** Blocked signals, as read from the kernel. */
  readonly signalMask: bigint;
}

/** What a thread is to execute, and where its results are afterwards. */
export interface Visit {
  readonly thread: GuestThread;
  readonly program: Program;
}

/** The outcome of one visit. */
export class VisitResult {
  readonly #program: Program;
  readonly #block: Uint8Array;
  readonly #view: DataView;

  constructor(program: Program, block: Uint8Array) {
    this.#program = program;
    this.#block = block;
    this.#view = new DataView(block.buffer, block.byteOffset);
  }

  /** What a system call returned: a number, or −errno. */
  result(of: Result): number {
    return Number(this.#view.getBigInt64(this.#program.resultOffset(of), true));
  }

  /** The bytes at a place after the run. */
  bytes(place: { kind: 'place'; offset: number; bytes: number }): Uint8Array {
    const at = this.#program.placeOffset(place);
    return this.#block.subarray(at, at + place.bytes);
  }
}

/** Blocked signals of a stopped thread. */
export function readSignalMask(tid: number): bigint {
  const mask = new BigUint64Array(1);
  check('ptrace', ptrace(PTRACE_GETSIGMASK, tid, SIGSET_BYTES, mask), `GETSIGMASK, ${tid}`);
  return mask[0] ?? 0n;
}

export function writeSignalMask(tid: number, mask: bigint): void {
  const words = BigUint64Array.of(mask);
  check('ptrace', ptrace(PTRACE_SETSIGMASK, tid, SIGSET_BYTES, words), `SETSIGMASK, ${tid}`);
}

/** Signals that do nothing by default; one that the thread neither catches nor blocks marks the end of a program. */
const MARKERS: readonly number[] = [SIGURG, SIGWINCH, SIGCHLD];

function markerFor(thread: GuestThread, caught: bigint): number | undefined {
  return MARKERS.find((signal) => ((caught | thread.signalMask) & (1n << BigInt(signal - 1))) === 0n);
}

/** The home of the agent in one task's memory. */
export class Guest {
  readonly #pid: number;
  readonly #memory: ForcedMemory;
  readonly #tail: { address: number; bytes: number };
  readonly #caught: bigint;
  #home = { address: 0, codeBytes: 0, bytes: 0 };
  #leader: GuestThread;

  /**
   * @param leader a stopped thread of the task
   * @param executable the task's [vdso] mapping, and then other executable and private ones
   * @param caughtSignals signals with a handler (SigCgt of /proc/PID/status)
   * @throws CriuError when the task gives the agent no place
   */
  constructor(leader: GuestThread, executable: readonly { start: number; end: number }[], caughtSignals: bigint) {
    this.#pid = leader.pid;
    this.#leader = leader;
    this.#caught = caughtSignals;
    this.#tail = findTail(leader.pid, executable);
    this.#memory = new ForcedMemory(leader.pid);
  }

  /**
   * Runs each visit's program in its thread, all at once; returns the results in the same order.
   * All threads belong to this task. Registers and masks are back to what they were afterwards.
   */
  run(visits: readonly Visit[]): VisitResult[] {
    const plans = this.#layOut(visits);
    this.#moveIn(plans);
    const started = plans.map((plan) => this.#start(plan));
    plans.forEach((plan, i) => {
      this.#finish(plan, started[i] ?? false);
    });
    const { address, codeBytes, bytes } = this.#home;
    const data = readMemory(this.#pid, address + codeBytes, bytes - codeBytes);
    this.#moveOut();
    return plans.map(({ program, offset }) => {
      return new VisitResult(program, data.subarray(offset, offset + program.byteLength));
    });
  }

  [Symbol.dispose](): void {
    this.#memory[Symbol.dispose]();
  }

  #layOut(visits: readonly Visit[]): Plan[] {
    let bytes = 0;
    return visits.map(({ thread, program }, index) => {
      const mask = program.words(thread.signalMask);
      const scratch = program.words(register(thread.registers, 'eflags'));
      const marker = markerFor(thread, this.#caught);
      const end = program.call(SYS.tgkill, this.#pid, thread.tid, marker ?? 0);
      program.call(SYS.rt_sigprocmask, SIG_SETMASK, mask, 0, SIGSET_BYTES);
      const plan = {
        thread,
        program,
        marker,
        end,
        scratch,
        offset: bytes,
        resumeOffset: AGENT_BYTES + index * RESUME_BYTES,
      };
      program.leave();
      bytes += (program.byteLength + 63) & ~63;
      return plan;
    });
  }

  /** Maps the home and writes agent, programs and the ways back into it. */
  #moveIn(plans: readonly Plan[]): void {
    const roundUp = (n: number) => (n + PAGE - 1) & ~(PAGE - 1);
    const codeBytes = roundUp(AGENT_BYTES + plans.length * RESUME_BYTES);
    const dataBytes = roundUp(plans.reduce((sum, plan) => sum + plan.program.byteLength + 64, 0));
    const flags = MAP_PRIVATE | MAP_ANONYMOUS;
    const home = this.#syscall(SYS.mmap, 0, codeBytes + dataBytes, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (home < 0) this.#noRoom(home);
    this.#home = { address: home, codeBytes, bytes: codeBytes + dataBytes };
    // Code and data apart: a task with PR_SET_MDWE may not have memory that is both writable and executable.
    const code = this.#syscall(SYS.mmap, home, codeBytes, PROT_READ | PROT_EXEC, flags | MAP_FIXED, -1, 0);
    if (code < 0) this.#noRoom(code);
    const image = new Uint8Array(codeBytes);
    image.set(agentCode());
    const data = new Uint8Array(dataBytes);
    for (const plan of plans) {
      const at = home + codeBytes + plan.offset;
      const scratch = at + plan.program.placeOffset(plan.scratch);
      image.set(resumeCode(wayBack(plan.thread), { scratch }), plan.resumeOffset);
      plan.program.setLeave(home + plan.resumeOffset);
      data.set(plan.program.assemble(at), plan.offset);
    }
    this.#memory.write(home, image);
    writeMemory(this.#pid, home + codeBytes, data);
  }

  #noRoom(result: number): never {
    throw new CriuError({
      object: `task ${this.#pid}`,
      action: `cannot map memory for the agent (mmap: errno ${-result})`,
      why: 'the task is at its limit of address space or mappings',
      remedy: 'raise RLIMIT_AS or vm.max_map_count',
    });
  }

  /** True when the thread runs; false when it has no marker signal and is to be stepped. */
  #start(plan: Plan): boolean {
    const { thread, marker } = plan;
    const registers = thread.registers.slice();
    setRegister(registers, 'rip', this.#home.address);
    setRegister(registers, 'r15', this.#home.address + this.#home.codeBytes + plan.offset);
    setRegister(registers, 'orig_rax', -1n);
    writeRegisters(thread.tid, registers);
    const open = marker === undefined ? 0n : 1n << BigInt(marker - 1);
    writeSignalMask(thread.tid, ALL_SIGNALS & ~open);
    if (marker === undefined) return false;
    resume(thread.tid);
    return true;
  }

  #finish(plan: Plan, runs: boolean): void {
    const { thread } = plan;
    const block = this.#home.address + this.#home.codeBytes + plan.offset;
    if (runs) this.#waitForMarker(plan);
    else this.#stepTo(thread, block + plan.end.op * 64);
    writeSignalMask(thread.tid, thread.signalMask);
    writeRegisters(thread.tid, thread.registers);
  }

  #waitForMarker(plan: Plan): void {
    const { tid } = plan.thread;
    for (;;) {
      const stop = waitForStop(tid);
      if (stop === 'gone') this.#died(tid);
      if (stop.kind === 'signal' && stop.signal === plan.marker) return;
      if (stop.kind === 'signal' && stop.signal !== SIGSTOP) this.#died(tid, stop.signal);
      // SIGSTOP can't be blocked. It is put off until the thread is itself again.
      resume(tid);
      if (stop.kind === 'signal') this.#putOff.add(tid);
    }
  }

  readonly #putOff = new Set<number>();

  /** Runs system call by system call until the program counter reaches `end`: for a thread that catches every marker. */
  #stepTo(thread: GuestThread, end: number): void {
    for (;;) {
      this.#step(thread.tid);
      if (Number(register(readRegisters(thread.tid), 'r15')) >= end) return;
    }
  }

  #step(tid: number): void {
    for (;;) {
      check('ptrace', ptrace(PTRACE_SYSCALL, tid), `SYSCALL, ${tid}`);
      const stop = waitForStop(tid);
      if (stop === 'gone') this.#died(tid);
      // With PTRACE_O_TRACESYSGOOD, as a task that must survive us has it, or without, as a stub.
      if (stop.kind === 'signal' && (stop.signal & ~0x80) === SIGTRAP) return;
      if (stop.kind === 'signal' && stop.signal === SIGSTOP) this.#putOff.add(tid);
    }
  }

  #died(tid: number, signal?: number): never {
    const how = signal === undefined ? 'died' : `got signal ${signal}`;
    throw new CriuError({ object: `thread ${tid} of task ${this.#pid}`, action: `${how} while the agent ran in it` });
  }

  #moveOut(): void {
    this.#syscall(SYS.munmap, this.#home.address, this.#home.bytes);
    this.#memory.write(this.#tail.address, new Uint8Array(this.#tail.bytes));
    for (const tid of this.#putOff) tgkill(this.#pid, tid, SIGSTOP);
    this.#putOff.clear();
  }

  /** One system call by the leader, through the trampoline. */
  #syscall(nr: number, ...args: number[]): number {
    const { tid, registers, signalMask } = this.#leader;
    const maskAddress = this.#tail.address;
    const entry = maskAddress + SIGSET_BYTES;
    const code = new Uint8Array(this.#tail.bytes);
    new DataView(code.buffer).setBigUint64(0, signalMask, true);
    code.set([0x0f, 0x05], SIGSET_BYTES);
    code.set(resumeCode(wayBack(this.#leader), { maskAddress }), SIGSET_BYTES + 2);
    this.#memory.write(maskAddress, code);

    const call = registers.slice();
    const names = ['rdi', 'rsi', 'rdx', 'r10', 'r8', 'r9'] as const;
    names.forEach((name, i) => {
      setRegister(call, name, args[i] ?? 0);
    });
    setRegister(call, 'rax', nr);
    setRegister(call, 'rip', entry);
    setRegister(call, 'orig_rax', -1n);
    writeRegisters(tid, call);
    writeSignalMask(tid, ALL_SIGNALS);
    this.#step(tid);
    this.#step(tid);
    const result = Number(BigInt.asIntN(64, register(readRegisters(tid), 'rax')));
    writeSignalMask(tid, signalMask);
    writeRegisters(tid, registers);
    return result;
  }
}

/** The registers with which a thread goes on by itself. */
function wayBack(thread: GuestThread): GeneralRegisters {
  const registers = restarted(thread.registers);
  return (name) => register(registers, name);
}

interface Plan {
  readonly thread: GuestThread;
  readonly program: Program;
  readonly marker: number | undefined;
  readonly end: Result;
  readonly scratch: { kind: 'place'; offset: number; bytes: number };
  readonly offset: number;
  readonly resumeOffset: number;
}

const AGENT_BYTES = 512;
const TAIL_BYTES = 288;

/**
 * Unused zeroed bytes at the end of executable memory: in the vdso's last page, or, in a task that has unmapped its vdso,
 * behind the code of a file.
 */
function findTail(pid: number, executable: readonly { start: number; end: number }[]): Tail {
  assert(agentCode().length <= AGENT_BYTES, 'the agent fits its room');
  const ends = executable.map(({ end }) => end - TAIL_BYTES);
  const address = ends.find((start) => isUnused(pid, start));
  if (address !== undefined) return { address, bytes: TAIL_BYTES };
  throw new CriuError({
    object: `task ${pid}`,
    action: 'cannot place the agent',
    why: 'it has no [vdso], and no unused bytes at the end of any executable mapping',
    remedy: 'boot without vdso=0, and let the program keep its vdso mapped',
  });
}

interface Tail {
  readonly address: number;
  readonly bytes: number;
}

function isUnused(pid: number, address: number): boolean {
  const tail = readMemory(pid, address, TAIL_BYTES);
  // A tail left by a criu that was killed begins with a mask and a syscall instruction; it may be used again.
  const ours = tail[SIGSET_BYTES] === 0x0f && tail[SIGSET_BYTES + 1] === 0x05;
  return ours || tail.every((byte) => byte === 0);
}
