/**
 * Programs of others, started without the runtime, which decodes paths and variables of the environment as UTF-8: bytes that
 * are not would be lost. A raw child that executes the agent becomes the program (clone-agent.ts).
 */
import { type Place, Program } from '../agent/program.ts';
import { assert } from '../base/errors.ts';
import { AT_FDCWD, O_RDWR } from '../linux/abi/fcntl.ts';
import { CLONE_VFORK, CLONE_VM } from '../linux/abi/sched.ts';
import { SIG_BLOCK, SIG_SETMASK, SIGCHLD, SIGSET_BYTES } from '../linux/abi/signal.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { check, syscall } from '../linux/kernel.ts';
import { tryWait } from '../linux/syscalls/process.ts';
import { OwnProgram } from './clone-agent.ts';

/** Strings are byte strings. */
export interface ProgramStart {
  readonly path: string;
  /** The name it is called by, and its arguments. */
  readonly words: readonly string[];
  /** `NAME=value`. */
  readonly environment: readonly string[];
  /** What it writes goes there; its standard input is empty, and it has no other descriptors. */
  readonly outputFd: number;
}

const SIGNALS = 64;

/**
 * Runs a program to its end; returns its status as wait(2) has it, or −errno when it cannot be executed. All signals have
 * their default actions in it. Throws SyscallError when there can be no child.
 */
export function tryRunProgram({ path, words, environment, outputFd }: ProgramStart): number {
  const p = new Program();
  p.call(SYS.dup2, outputFd, 2);
  p.call(SYS.dup2, 2, 1);
  const nowhere = p.call(SYS.openat, AT_FDCWD, p.string('/dev/null'), O_RDWR);
  p.call(SYS.dup2, nowhere, 0);
  p.call(SYS.close_range, 3, 0xffff_ffff, 0);
  // The runtime ignores some, and execve(2) would leave it so.
  const byDefault = p.words(0, 0, 0, 0);
  for (let signal = 1; signal <= SIGNALS; signal++) p.call(SYS.rt_sigaction, signal, byDefault, 0, SIGSET_BYTES);
  p.call(SYS.rt_sigprocmask, SIG_SETMASK, p.words(blockedSignals()), 0, SIGSET_BYTES);
  const execution = p.call(SYS.execve, p.string(path), addStrings(p, words), addStrings(p, environment));
  p.call(SYS.exit, 0);
  const own = new OwnProgram(p);
  const pid = check('clone3', own.clone({ flags: CLONE_VM | CLONE_VFORK, exitSignal: SIGCHLD }), path);
  const waited = tryWait(pid);
  assert(typeof waited === 'object', `the child ${pid} can be waited for`);
  const result = own.result(execution);
  return result < 0 ? result : waited.status;
}

/** They are blocked in a child of OwnProgram. */
function blockedSignals(): bigint {
  const mask = new BigUint64Array(1);
  check('rt_sigprocmask', syscall(SYS.rt_sigprocmask, SIG_BLOCK, 0, mask, SIGSET_BYTES));
  return mask[0] ?? 0n;
}

/** Adds addresses of strings, and the zero that ends them, as execve(2) takes them. */
export function addStrings(program: Program, strings: readonly string[]): Place {
  const list = program.words(...strings.map(() => 0), 0);
  strings.forEach((text, i) => {
    program.store64(program.at(list, 8 * i), program.string(text));
  });
  return list;
}
