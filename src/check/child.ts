/**
 * Children for probes: an agent program in a process of its own that shares our memory. What it does to namespaces,
 * credentials, descriptors and signals is gone with it; the Bun process is never forked.
 *
 * The child is traced and stops at the first call that fails: a probe that could not make its mount namespace must not
 * go on and mount in ours. No child outlives its deadline. One that cannot even be killed (stuck in the kernel) is left
 * behind, and its program stays in memory, because it might still execute it.
 */

import { Program, type ProgramArg, type Result } from '../agent/program.ts';
import { PTRACE_O_EXITKILL, PTRACE_SETOPTIONS, PTRACE_TRACEME } from '../linux/abi/ptrace.ts';
import { CLONE_VM } from '../linux/abi/sched.ts';
import { SIGKILL, SIGSTOP } from '../linux/abi/signal.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { WNOHANG } from '../linux/abi/wait.ts';
import { sinceStartMs } from '../linux/clock.ts';
import { memoryAt } from '../linux/kernel.ts';
import { kill, ptrace, tryWait, type Waited } from '../linux/syscalls/process.ts';
import { OwnProgram } from '../tracee/clone-agent.ts';
import { classify, resume, type Stop } from '../tracee/stop.ts';
import { failed, type Missing } from './probe.ts';

/** Far above what any probe takes (milliseconds), below the patience of whoever waits for `criu check`. */
const DEADLINE_MS = 3000;
const KILL_DEADLINE_MS = 1000;
const NO_ANSWER = `the kernel did not answer within ${DEADLINE_MS / 1000} s`;

/** Keeps the memory of programs whose child could not be killed. */
const abandoned: OwnProgram[] = [];

type Place = ReturnType<Program['reserve']>;

/** System calls to be made by a child, which stops at the first that fails. */
export class Child {
  readonly program = new Program();
  readonly #steps: { what: string; result: Result }[] = [];
  #own: OwnProgram | undefined = undefined;

  constructor() {
    addStart(this.program);
  }

  /** A call that has to succeed; `what` names it in the report. */
  step(what: string, nr: number, ...args: ProgramArg[]): Result {
    const result = this.program.must(what, nr, ...args);
    this.#steps.push({ what, result });
    return result;
  }

  /** Runs the calls in a child made with `flags` (new namespaces); says which call failed, if any. */
  run(flags = 0): Missing {
    this.program.call(SYS.exit, 0);
    return withChild(this.program, flags, (tracee) => {
      this.#own = tracee.own;
      resume(tracee.pid);
      const stop = tracee.wait();
      if (stop === 'late') return NO_ANSWER;
      return this.#firstFailure(tracee.own) ?? (stop === 'gone' ? undefined : 'the child did not finish');
    });
  }

  /** A call of the program that was added in another way than by `step`, but has to succeed too. */
  watch(what: string, result: Result): void {
    this.#steps.push({ what, result });
  }

  /** Runs the calls; the child then stops, and `probe` looks at it. */
  runToStop(probe: (tracee: Tracee) => Missing): Missing {
    const pid = this.program.call(SYS.getpid);
    this.program.call(SYS.kill, pid, SIGSTOP);
    return withChild(this.program, 0, (tracee) => {
      resume(tracee.pid);
      const stop = tracee.wait();
      if (stop === 'late') return NO_ANSWER;
      return this.#firstFailure(tracee.own) ?? (stop === 'gone' ? 'the child died' : probe(tracee));
    });
  }

  #firstFailure(own: OwnProgram): Missing {
    for (const { what, result } of this.#steps) {
      const value = own.result(result);
      if (value < 0) return failed(what, value);
    }
    return undefined;
  }

  /** What a step returned, after `run`. */
  result(of: Result): number {
    return this.#own?.result(of) ?? -1;
  }

  /** The bytes at a place of the program, after `run`. Not a copy. */
  bytes(place: Place): Uint8Array {
    return this.#own === undefined ? new Uint8Array() : memoryAt(this.#own.addressOf(place), place.bytes);
  }
}

/** A child in a ptrace stop. */
export interface Tracee {
  readonly pid: number;
  readonly own: OwnProgram;
  /** Its next stop, 'gone', or 'late' when the time is over. */
  wait(): Stop | 'late';
}

/** Calls `probe` with a child that we trace and that has stopped; kills it afterwards. */
export function withTracee(probe: (tracee: Tracee) => Missing): Missing {
  const program = new Program();
  addStart(program);
  program.call(SYS.exit, 0);
  return withChild(program, 0, probe);
}

/** The child lets us trace it and stops. */
function addStart(program: Program): void {
  program.call(SYS.ptrace, PTRACE_TRACEME);
  const pid = program.call(SYS.getpid);
  program.call(SYS.kill, pid, SIGSTOP);
}

function withChild(program: Program, flags: number, probe: (tracee: Tracee) => Missing): Missing {
  const own = new OwnProgram(program);
  const pid = own.clone({ flags: CLONE_VM | flags, exitSignal: 0 });
  if (pid < 0) return failed('clone3', pid);
  try {
    const tracee = { pid, own, wait: () => nextStop(pid) };
    const stop = tracee.wait();
    if (typeof stop === 'string' || stop.kind !== 'signal') return 'a child cannot be traced (ptrace)';
    ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_EXITKILL);
    return probe(tracee);
  } finally {
    end(pid, own);
  }
}

/** Kills a child and reaps it. */
function end(pid: number, own: OwnProgram): void {
  kill(pid, SIGKILL);
  for (;;) {
    const waited = nextStatus(pid, KILL_DEADLINE_MS);
    if (waited === undefined) abandoned.push(own);
    if (waited === undefined || waited === 'none' || classify(waited.status) === 'gone') return;
  }
}

function nextStop(pid: number): Stop | 'late' {
  const waited = nextStatus(pid, DEADLINE_MS);
  if (waited === undefined) return 'late';
  return waited === 'none' ? 'gone' : classify(waited.status);
}

/** Most children stop within microseconds, less than the shortest sleep of the runtime. */
const SPINS = 500;

/** The next wait status of a child; undefined when the time is over, 'none' when there is no such child. */
function nextStatus(pid: number, milliseconds: number): Waited | 'none' | undefined {
  const start = sinceStartMs();
  for (let spins = 0; ; spins++) {
    const waited = tryWait(pid, WNOHANG);
    if (typeof waited === 'number') return 'none';
    if (waited !== undefined) return waited;
    if (sinceStartMs() - start > milliseconds) return undefined;
    if (spins > SPINS) Bun.sleepSync(0.1);
  }
}
