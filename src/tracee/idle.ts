/**
 * Processes of our own that do nothing: for the rehearsal of a dump, and to warm up with (start/). Like a stub, such a
 * process executes a program for the agent from a memfd, so it takes no file and no compiler to make one.
 */
import { ABI_64 } from '../agent/abi.ts';
import { Program } from '../agent/program.ts';
import { CriuError } from '../base/errors.ts';
import { errnoName } from '../linux/abi/errno.ts';
import { AT_FDCWD, O_CLOEXEC, O_RDWR } from '../linux/abi/fcntl.ts';
import { PR_SET_PDEATHSIG } from '../linux/abi/prctl.ts';
import { CLONE_CLEAR_SIGHAND, CLONE_VFORK, CLONE_VM } from '../linux/abi/sched.ts';
import { SIG_SETMASK, SIGCHLD, SIGKILL } from '../linux/abi/signal.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { check } from '../linux/kernel.ts';
import { close } from '../linux/syscalls/fs.ts';
import { pipe2, tryPoll } from '../linux/syscalls/pipe.ts';
import { kill, tryWait } from '../linux/syscalls/process.ts';
import { CLONE_ARGS_BYTES, type CloneArgs, cloneArgs, OwnProgram, THREAD_FLAGS } from './clone-agent.ts';
import { readMemory } from './memory.ts';
import { EXEC_FAILED, makeMemfd, stubArguments } from './stub.ts';
import { stubFile, stubProgramAddress } from './stub-file.ts';

/** Its copy of the pipe by which it tells us that it is ready, which it is when nobody has it open any more. */
const READY_FD = 1;
const FILE_FD = 2;
/** Descriptors from here on are free; below it has a file and a pipe. */
export const FIRST_IDLE_FD = 5;
const READY_MS = 20_000;

/**
 * Starts a process, a session of its own, that has a file and a pipe and sleeps until it is killed. It dies with us.
 * `prepare` adds what it does before: calls that have to succeed, and threads and children that sleep too (`addThread`, `addChild`).
 * All is done when this returns. Returns its pid. Throws CriuError, SyscallError.
 */
export function spawnIdle(prepare?: (program: Program) => void): number {
  const idle = new Program();
  idle.unchecked(() => {
    idle.call(SYS.dup, FILE_FD);
    prepare?.(idle);
    sleep(idle);
  });
  const memfd = makeMemfd(stubFile(idle, ABI_64));
  const [ready, theirs] = pipe2(O_CLOEXEC);
  let pid: number | undefined;
  try {
    pid = start(memfd, theirs);
    close(theirs);
    assertReady(pid, idle, tryPoll(ready, READY_MS));
    return pid;
  } catch (error) {
    if (pid === undefined) close(theirs);
    else end(pid);
    throw error;
  } finally {
    close(memfd);
    close(ready);
  }
}

function start(memfd: number, ready: number): number {
  const p = new Program();
  p.call(SYS.prctl, PR_SET_PDEATHSIG, SIGKILL);
  p.call(SYS.setsid);
  // The file is 0 (EINVAL: it is already), and goes when it is executed.
  p.call(SYS.dup3, memfd, 0, O_CLOEXEC);
  p.call(SYS.dup3, ready, READY_FD, 0);
  p.call(SYS.close_range, READY_FD + 1, 0xffff_ffff, 0);
  p.call(SYS.openat, AT_FDCWD, p.string('/dev/null'), O_RDWR);
  p.call(SYS.pipe2, p.reserve(8), 0);
  // As in most programs: with all signals blocked the agent would be stepped. There are no handlers of ours any more.
  p.call(SYS.rt_sigprocmask, SIG_SETMASK, p.words(0), 0, 8);
  p.call(SYS.execveat, ...stubArguments(p, 0));
  p.call(SYS.exit, EXEC_FAILED);
  const own = new OwnProgram(p);
  return check('clone3', own.clone({ flags: (CLONE_VM | CLONE_VFORK) + CLONE_CLEAR_SIGHAND, exitSignal: SIGCHLD }));
}

/** Nobody has the pipe any more, and all went well. */
function assertReady(pid: number, program: Program, polled: number): void {
  const object = `the idle process ${pid}`;
  if (polled === 0) throw new CriuError({ object, action: 'is not ready in time' });
  const block = readMemory(pid, stubProgramAddress(ABI_64), program.byteLength);
  const [failure] = program.failures(block);
  if (failure === undefined) return;
  throw new CriuError({ object, action: `cannot ${failure.because} (${errnoName(-failure.result)})` });
}

function end(pid: number): void {
  kill(pid, SIGKILL);
  tryWait(pid);
}

/** Sleeps for ever. */
function sleep(program: Program): void {
  program.call(SYS.close, READY_FD);
  pause(program);
}

function pause(program: Program): void {
  const again = program.label();
  program.place(again);
  program.call(SYS.pause);
  program.jump(again);
}

/** For `prepare`: a child that does what another `prepare` adds, and sleeps. It dies with its parent. */
export function addChild(program: Program, prepare?: (program: Program) => void): void {
  addClone(program, 'make a child', { flags: 0, exitSignal: SIGCHLD }, () => {
    program.call(SYS.prctl, PR_SET_PDEATHSIG, SIGKILL);
    prepare?.(program);
    sleep(program);
  });
}

/** For `prepare`: a thread that does the same. */
export function addThread(program: Program, stack: Stack, prepare: (program: Program) => void): void {
  addClone(program, 'make a thread', { flags: THREAD_FLAGS, exitSignal: 0, ...stack }, () => {
    prepare(program);
    pause(program);
  });
}

export type Stack = Required<Pick<CloneArgs, 'stack' | 'stackBytes'>>;

/** What the clone does stands between the ops of its parent, which jumps over it. */
function addClone(program: Program, what: string, args: CloneArgs, body: () => void): void {
  const [child, after] = [program.label(), program.label()];
  program.clone(what, SYS.clone3, program.words(...cloneArgs(args)), CLONE_ARGS_BYTES, child);
  program.jump(after);
  program.place(child);
  body();
  program.place(after);
}
