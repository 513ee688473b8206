/**
 * The agent as a guest in running tasks: programs are executed in threads that are stopped for a dump, and afterwards
 * nothing of it is left.
 *
 * Crash safety: when criu is killed, its tracees run on from where they are. So at every moment the registers of a
 * visited thread lead back to its own code without any help from outside:
 *
 * 1. The first system calls (mmap of a home for the agent) need an executable `syscall`: see trampoline.ts.
 * 2. A program ends by sending its own thread a signal that the application ignores. While we trace, that is a stop; if
 *    nobody traces, it is nothing. After it the program restores mask and registers and jumps back.
 * 3. The registers are always set before signals are blocked, and signals unblocked before registers are restored.
 *
 * Neither stack nor FPU state is touched. The restart block of an interrupted system call stays intact, because no
 * system call that a program makes can itself be restarted.
 */

import { agentCode, OP_BYTES, OP_RESULT, putResumeCode, RESUME_BYTES } from '../agent/agent-code.ts';
import type { Place, Program, Result } from '../agent/program.ts';
import { relocate, setWord } from '../base/bytes.ts';
import { assert, CriuError, SyscallError } from '../base/errors.ts';
import { errnoName } from '../linux/abi/errno.ts';
import { MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, PROT_EXEC, PROT_READ, PROT_WRITE } from '../linux/abi/mman.ts';
import { SIG_SETMASK, SIGCHLD, SIGURG, SIGWINCH } from '../linux/abi/signal.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import type { GuestThread } from './guest-thread.ts';
import { readMemory, writeMemory } from './memory.ts';
import { register } from './registers.ts';
import type { Steps } from './steps.ts';
import { PutOffStops, type Range, Trampoline, wayBack } from './trampoline.ts';
import { type PlannedVisit, runVisits } from './visits.ts';

const PAGE = 4096;
const SIGSET_BYTES = 8;
const AGENT_BYTES = 512;

/** What a thread is to execute, and where its results are afterwards. Several threads, of any task, may share a program. */
export interface Visit {
  readonly thread: GuestThread;
  readonly program: Program;
}

/** The outcome of one visit. */
export class VisitResult {
  readonly #program: Program;
  readonly #block: Uint8Array;
  readonly #view: DataView;
  readonly #dataEnd: number;

  /** The last of the data, from `dataEnd` on, is the guest's own. */
  constructor(program: Program, block: Uint8Array, dataEnd: number) {
    this.#program = program;
    this.#block = block;
    this.#dataEnd = dataEnd;
    this.#view = new DataView(block.buffer, block.byteOffset);
  }

  /** Whether all results and all data are those of another visit with the same program, but for the places `own`. */
  isLike(other: VisitResult, own: readonly Place[]): boolean {
    if (other === this) return true;
    if (other.#program !== this.#program) return false;
    const [view, others] = [this.#view, other.#view];
    for (let at = OP_RESULT; at < this.#program.opBytes; at += OP_BYTES) {
      if (view.getInt32(at, true) !== others.getInt32(at, true)) return false;
      if (view.getInt32(at + 4, true) !== others.getInt32(at + 4, true)) return false;
    }
    let from = this.#program.opBytes;
    for (let i = 0; i <= own.length; i++) {
      const place = own[i];
      const end = place === undefined ? this.#dataEnd : this.#program.placeOffset(place);
      if (Buffer.compare(this.#block.subarray(from, end), other.#block.subarray(from, end)) !== 0) return false;
      from = place === undefined ? end : end + place.bytes;
    }
    return true;
  }

  /** What a system call returned: a number, or −errno. */
  result(of: Result): number {
    return Number(this.#view.getBigInt64(this.#program.resultOffset(of), true));
  }

  /** What as many system calls returned, from that one on: numbers of 32 bits, or −errno. */
  results(from: Result, count: number): Int32Array {
    const start = this.#program.resultOffset(from);
    const results = new Int32Array(count);
    for (let i = 0; i < count; i++) results[i] = this.#view.getInt32(start + i * OP_BYTES, true);
    return results;
  }

  /** The 64-bit word at a place after the run, as two of 32 bits, the lower one first. */
  putWord(place: Place, target: Uint32Array, at: number): void {
    const from = this.#program.placeOffset(place);
    target[at] = this.#view.getUint32(from, true);
    target[at + 1] = this.#view.getUint32(from + 4, true);
  }

  /** The bytes at a place after the run. */
  bytes(place: Place): Uint8Array {
    const at = this.#program.placeOffset(place);
    return this.#block.subarray(at, at + place.bytes);
  }
}

/** Signals that do nothing by default; one that the thread neither catches nor blocks marks the end of a program. */
const MARKERS: readonly number[] = [SIGURG, SIGWINCH, SIGCHLD];

function markerFor(thread: GuestThread, caught: bigint): number | undefined {
  const closed = caught | thread.signalMask;
  return MARKERS.find((signal) => (closed & (1n << BigInt(signal - 1))) === 0n);
}

/** The agent in one task. */
export class Guest {
  readonly #pid: number;
  readonly #trampoline: Trampoline;
  readonly #caught: bigint;
  readonly #putOff: PutOffStops;
  #home = { address: 0, codeBytes: 0, bytes: 0 };
  #plans: Plan[] = [];
  /** Why its programs cannot run, or what they have done is not known. What is ours is taken out of the task all the same. */
  #problem: CriuError | SyscallError | undefined = undefined;

  /**
   * @param leader a stopped thread of the task
   * @param executable the task's [vdso] mapping, and then other executable and private ones
   * @param caughtSignals signals with a handler (SigCgt of /proc/PID/status)
   * @throws CriuError when the task gives the agent no place
   */
  constructor(leader: GuestThread, executable: readonly Range[], caughtSignals: bigint) {
    assert(agentCode().length <= AGENT_BYTES, 'the agent fits its room');
    this.#pid = leader.pid;
    this.#caught = caughtSignals;
    this.#putOff = new PutOffStops(leader.pid);
    this.#trampoline = new Trampoline(leader, executable, this.#putOff);
  }

  /**
   * Runs each visit's program in its thread, all at once; returns the results in the same order.
   * All threads belong to this task. Registers and masks are back to what they were afterwards.
   */
  run(visits: readonly Visit[]): readonly VisitResult[] {
    const { results, failure } = runGuests([{ guest: this, visits }]);
    if (failure !== undefined) throw failure;
    return results[0] ?? [];
  }

  /** Takes away what a child has of us in the memory of the task, one that a program of ours has forked. */
  clearIn(child: number): void {
    this.#trampoline.clearIn(child);
  }

  [Symbol.dispose](): void {
    this.#trampoline[Symbol.dispose]();
  }

  /** Moves the agent and its programs into the task. */
  begin(visits: readonly Visit[]): Steps {
    const trampoline = this.#trampoline;
    this.#layOut(visits);
    const { codeBytes, bytes } = this.#home;
    const flags = MAP_PRIVATE | MAP_ANONYMOUS;
    return [
      () => trampoline.enter('mmap', 0, bytes, PROT_READ | PROT_WRITE, flags, -1, 0),
      () => trampoline.cross(),
      () => {
        const result = trampoline.leave();
        // There is no home to be taken out again.
        if (result < 0) this.#leaveAsItWas();
        const address = this.#succeeded(result);
        this.#home = { address, codeBytes, bytes };
        // Code and data apart: a task with PR_SET_MDWE may not have memory that is both writable and executable.
        trampoline.enter('mmap', address, codeBytes, PROT_READ | PROT_EXEC, flags | MAP_FIXED, -1, 0);
      },
      () => trampoline.cross(),
      () => {
        const result = trampoline.leave();
        this.#attempt(() => {
          this.#succeeded(result);
          this.#moveIn();
        });
      },
    ];
  }

  #attempt(action: () => void): void {
    this.#problem = trying(action);
    if (this.#problem !== undefined) this.#plans = [];
  }

  /** The programs as they are to run now. */
  get planned(): PlannedVisit[] {
    const { address, codeBytes } = this.#home;
    return this.#plans.map(({ thread, layout, marker, offset }) => {
      const start = address + codeBytes + offset;
      return { thread, code: address, start, end: start + layout.endAt, marker, putOff: this.#putOff };
    });
  }

  /** Takes the results, and leaves the task as it was. */
  end(results: VisitResult[]): Steps {
    const trampoline = this.#trampoline;
    return [
      () => {
        const { address, codeBytes, bytes } = this.#home;
        if (this.#problem === undefined) {
          this.#attempt(() => {
            const data = readMemory(this.#pid, address + codeBytes, bytes - codeBytes);
            for (const { layout, offset } of this.#plans) {
              const block = data.subarray(offset, offset + layout.image.length);
              results.push(new VisitResult(layout.program, block, layout.maskAt));
            }
          });
        }
        trampoline.enter('munmap', address, bytes);
      },
      () => trampoline.cross(),
      () => {
        trampoline.leave();
        this.#leaveAsItWas();
        if (this.#problem !== undefined) throw this.#problem;
      },
    ];
  }

  #leaveAsItWas(): void {
    this.#trampoline.clear();
    this.#putOff.send();
  }

  #layOut(visits: readonly Visit[]): void {
    this.#plans = [];
    let offset = 0;
    for (const { thread, program } of visits) {
      const layout = layoutOf(program);
      const marker = markerFor(thread, this.#caught);
      const resumeOffset = AGENT_BYTES + this.#plans.length * RESUME_BYTES;
      this.#plans.push({ thread, layout, marker, offset, resumeOffset });
      offset += (layout.image.length + 63) & ~63;
    }
    const codeBytes = wholePages(AGENT_BYTES + this.#plans.length * RESUME_BYTES);
    this.#home = { address: 0, codeBytes, bytes: codeBytes + wholePages(offset) };
  }

  /** Passes the address of a mapping through. */
  #succeeded(result: number): number {
    if (result >= 0) return result;
    throw new CriuError({
      object: `task ${this.#pid}`,
      action: `cannot map memory for the agent (mmap: ${errnoName(-result)})`,
      why: 'the task is at its limit of address space or mappings',
      remedy: 'raise RLIMIT_AS or vm.max_map_count',
    });
  }

  /** Writes agent, programs and the ways back into the home. */
  #moveIn(): void {
    const { address, codeBytes, bytes } = this.#home;
    const image = new Uint8Array(codeBytes);
    const imageView = new DataView(image.buffer);
    image.set(agentCode());
    const data = new Uint8Array(bytes - codeBytes);
    const view = new DataView(data.buffer);
    for (const { thread, layout, marker, offset, resumeOffset } of this.#plans) {
      const at = address + codeBytes + offset;
      putResumeCode(image, imageView, resumeOffset, wayBack(thread), { scratch: at + layout.flagsAt });
      data.set(layout.image, offset);
      relocate(view, offset, at, layout.relocations);
      view.setBigUint64(offset + layout.maskAt, thread.signalMask, true);
      view.setBigUint64(offset + layout.flagsAt, register(thread.registers, 'eflags'), true);
      view.setUint32(offset + layout.pidAt, thread.pid, true);
      view.setUint32(offset + layout.tidAt, thread.tid, true);
      view.setUint32(offset + layout.markerAt, marker ?? 0, true);
      setWord(view, offset + layout.leaveAt, address + resumeOffset);
    }
    this.#trampoline.memory.write(address, image);
    writeMemory(this.#pid, address + codeBytes, data);
  }
}

/**
 * Visits several tasks at once: each step is done in all of them before the next, so that nobody is waited for while the
 * others stand still. A task where something fails takes no part in what follows; the first failure is returned with the
 * results of the others.
 */
export function runGuests(tasks: readonly { guest: Guest; visits: readonly Visit[] }[]) {
  const failures = new Map<Guest, CriuError | SyscallError>();
  const results = tasks.map((): VisitResult[] => []);
  const inAll = (lists: readonly { guest: Guest; steps: Steps }[]) => {
    for (let step = 0; lists.some(({ steps }) => step < steps.length); step++) {
      for (const { guest, steps } of lists) if (!failures.has(guest)) tryStep(guest, steps[step], failures);
    }
  };
  inAll(tasks.map(({ guest, visits }) => ({ guest, steps: guest.begin(visits) })));
  const planned = tasks.flatMap(({ guest }) =>
    failures.has(guest) ? [] : guest.planned.map((visit) => ({ ...visit, guest })),
  );
  runVisits(planned, ({ guest }, error) => failures.set(guest, failures.get(guest) ?? error));
  inAll(tasks.map(({ guest }, i) => ({ guest, steps: guest.end(results[i] ?? []) })));
  const [failure] = failures.values();
  return { results, failure };
}

function tryStep(guest: Guest, step: () => void = () => {}, failures: Map<Guest, CriuError | SyscallError>): void {
  const failure = trying(step);
  if (failure !== undefined) failures.set(guest, failure);
}

/** What goes wrong in a task or with the kernel. */
function trying(action: () => void): CriuError | SyscallError | undefined {
  try {
    action();
    return undefined;
  } catch (error) {
    if (error instanceof CriuError || error instanceof SyscallError) return error;
    throw error;
  }
}

/** A copy of a program with its end, as if it were at address 0, and the offsets of what differs from thread to thread. */
interface Layout {
  readonly program: Program;
  readonly image: Uint8Array;
  /** Words that hold addresses of the program itself. */
  readonly relocations: readonly number[];
  /** The signal that marks the end. */
  readonly endAt: number;
  readonly pidAt: number;
  readonly tidAt: number;
  readonly markerAt: number;
  readonly maskAt: number;
  readonly flagsAt: number;
  readonly leaveAt: number;
}

const layouts = new WeakMap<Program, Layout>();

/** The layout of a program, made when it is run for the first time. */
function layoutOf(program: Program): Layout {
  let layout = layouts.get(program);
  if (layout === undefined) {
    layout = addEnd(program);
    layouts.set(program, layout);
  }
  return layout;
}

function addEnd(asked: Program): Layout {
  const program = asked.copy();
  const mask = program.reserve(SIGSET_BYTES);
  const flags = program.reserve(8);
  const end = program.call(SYS.tgkill, 0, 0, 0);
  program.call(SYS.rt_sigprocmask, SIG_SETMASK, mask, 0, SIGSET_BYTES);
  const leave = program.leave(0);
  const relocations: number[] = [];
  return {
    program,
    image: program.assemble(0, relocations),
    relocations,
    endAt: end.op * OP_BYTES,
    pidAt: program.argumentOffset(end, 0),
    tidAt: program.argumentOffset(end, 1),
    markerAt: program.argumentOffset(end, 2),
    maskAt: program.placeOffset(mask),
    flagsAt: program.placeOffset(flags),
    leaveAt: program.argumentOffset(leave, 0),
  };
}

interface Plan {
  readonly thread: GuestThread;
  readonly layout: Layout;
  readonly marker: number | undefined;
  readonly offset: number;
  readonly resumeOffset: number;
}

const wholePages = (bytes: number) => (bytes + PAGE - 1) & ~(PAGE - 1);
