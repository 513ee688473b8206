/**
 * The filler as a restore sees it: a process of its own that brings the memory which comes later (filler.ts). It is criu
 * once more, started anew, since the runtime cannot be forked; a raw child that executes the agent starts it
 * (tracee/clone-agent.ts). It is started early, so that it is ready when the tasks are.
 */
import { Program } from '../agent/program.ts';
import { CriuError } from '../base/errors.ts';
import { invocation, PLAIN_START } from '../base/invocation.ts';
import { AT_FDCWD, F_DUPFD_CLOEXEC, O_RDWR } from '../linux/abi/fcntl.ts';
import { MFD_CLOEXEC } from '../linux/abi/mman.ts';
import { CLONE_VM } from '../linux/abi/sched.ts';
import { SIG_SETMASK, SIGCHLD } from '../linux/abi/signal.ts';
import { SOCK_SEQPACKET } from '../linux/abi/socket.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { check, cString, syscall } from '../linux/kernel.ts';
import { close, fcntl } from '../linux/syscalls/fs.ts';
import { tryReceiveAgain, trySend, unixSocketPair } from '../linux/syscalls/messages.ts';
import { getpid } from '../linux/syscalls/process.ts';
import { OwnProgram } from '../tracee/clone-agent.ts';
import { addStrings } from '../tracee/start-program.ts';
import { encodeOrder, type FillOrder } from './fill-order.ts';

/** The word for the program of the filler; not a command for people. */
export const FILL_COMMAND = 'fill-memory';
/** The descriptor at which the filler finds the restore. */
export const FILLER_SOCKET = 3;
/** Numbers from here on are out of the way of those that the filler gets. */
const OUT_OF_THE_WAY = 10;

export class Filler {
  readonly #socket: number;
  readonly #logLevel: number;
  /** The child executes it in our memory until it has become the filler. */
  readonly starter: OwnProgram;
  #memfd: number | undefined = undefined;

  private constructor(socket: number, logLevel: number, program: OwnProgram) {
    this.#socket = socket;
    this.#logLevel = logLevel;
    this.starter = program;
  }

  /** Starts it; its log goes to `logFd`. Throws SyscallError. It ends when this object is disposed of without an order. */
  static start(logFd: number, logLevel: number): Filler {
    const [ours, low] = unixSocketPair(SOCK_SEQPACKET);
    const theirs = check('fcntl', fcntl(low, F_DUPFD_CLOEXEC, OUT_OF_THE_WAY), 'F_DUPFD_CLOEXEC');
    close(low);
    const program = spawnProgram(theirs, logFd);
    const pid = program.clone({ flags: CLONE_VM, exitSignal: SIGCHLD });
    close(theirs);
    if (pid < 0) close(ours);
    check('clone3', pid, 'the filler');
    return new Filler(ours, logLevel, program);
  }

  /** Says what is to be done. The descriptors must stay open until it is ready. Throws CriuError when it is gone. */
  give(order: Omit<FillOrder, 'logLevel'>): void {
    this.#memfd = sendOrder(this.#socket, { ...order, logLevel: this.#logLevel });
  }

  /** Waits until it serves page faults, and the tasks can't be without it. Throws CriuError when it is gone. */
  waitUntilReady(): void {
    if (tryReceiveAgain(this.#socket, new Uint8Array(1)) !== 1) throw gone();
  }

  [Symbol.dispose](): void {
    close(this.#socket);
    if (this.#memfd !== undefined) close(this.#memfd);
  }
}

/** Returns a memfd that must stay open until there is an answer. Throws CriuError when nobody is at the other end. */
export function sendOrder(socket: number, order: FillOrder): number {
  const bytes = encodeOrder(order);
  const memfd = check('memfd_create', syscall(SYS.memfd_create, cString('criu-fill-order'), MFD_CLOEXEC));
  check('write', syscall(SYS.write, memfd, bytes, bytes.length), 'memfd');
  const number = Int32Array.of(memfd);
  if (trySend(socket, new Uint8Array(number.buffer)) >= 0) return memfd;
  close(memfd);
  throw gone();
}

const gone = () =>
  new CriuError({
    object: 'the process that fills the memory (--run-at-once)',
    action: 'has ended too early',
    why: 'its last lines in the log say more',
  });

/** Whether the execution succeeds shows when the filler answers or does not; nothing waits for it here. */
function spawnProgram(socket: number, logFd: number): OwnProgram {
  const p = new Program();
  p.call(SYS.dup2, logFd, 2);
  p.call(SYS.dup2, 2, 1);
  const nowhere = p.call(SYS.openat, AT_FDCWD, p.string('/dev/null'), O_RDWR);
  p.call(SYS.dup2, nowhere, 0);
  p.call(SYS.dup2, socket, FILLER_SOCKET);
  p.call(SYS.close_range, FILLER_SOCKET + 1, 0xffff_ffff, 0);
  // Signals are blocked in a child of OwnProgram; the runtime needs them.
  p.call(SYS.rt_sigprocmask, SIG_SETMASK, p.words(0), 0, 8);
  p.call(SYS.setsid);
  addExec(p, [String(getpid())]);
  p.call(SYS.exit, EXEC_FAILED);
  return new OwnProgram(p);
}

const EXEC_FAILED = 127;

/** Adds the execve of criu as the filler, with these arguments after its word; of the environment it gets how to start. */
export function addExec(program: Program, args: readonly string[]): void {
  const words = ['criu', FILL_COMMAND, ...args];
  const isPlain = invocation().variable(PLAIN_START) !== undefined;
  const environment = isPlain ? [`${PLAIN_START}=1`] : [];
  program.call(
    SYS.execve,
    program.string('/proc/self/exe'),
    addStrings(program, words),
    addStrings(program, environment),
  );
}
