/**
 * A stub: a process with a chosen pid that holds nothing but the agent. Restored tasks are stubs that turn into the task.
 *
 * The stub is a tiny static ELF file in a memfd, started by a child that shares our memory and executes an agent program:
 * PTRACE_TRACEME and execveat. The Bun process itself is never forked. Until it is complete a stub is under
 * PTRACE_O_EXITKILL, so a restore that fails, or is killed, leaves no process behind.
 */

import { ABI_64, type Abi } from '../agent/abi.ts';
import { Program, type ProgramArg, type Result } from '../agent/program.ts';
import { bytesOf } from '../base/bytes.ts';
import { assert, CriuError, SyscallError } from '../base/errors.ts';
import { CAP_SYS_ADMIN, CAP_SYS_TIME } from '../linux/abi/capability.ts';
import { ERRNO } from '../linux/abi/errno.ts';
import { AT_EMPTY_PATH, AT_FDCWD, O_CLOEXEC, O_RDONLY, O_WRONLY } from '../linux/abi/fcntl.ts';
import {
  MAP_ANONYMOUS,
  MAP_FIXED_NOREPLACE,
  MAP_PRIVATE,
  MFD_CLOEXEC,
  MFD_EXEC,
  PROT_EXEC,
  PROT_READ,
  PROT_WRITE,
} from '../linux/abi/mman.ts';
import { PR_SET_PDEATHSIG } from '../linux/abi/prctl.ts';
import { PTRACE_O_EXITKILL, PTRACE_O_SUSPEND_SECCOMP, PTRACE_SETOPTIONS, PTRACE_TRACEME } from '../linux/abi/ptrace.ts';
import { CLONE_NEWTIME, CLONE_PARENT, CLONE_VFORK, CLONE_VM } from '../linux/abi/sched.ts';
import { SIGCHLD, SIGKILL } from '../linux/abi/signal.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { check, cString, syscall } from '../linux/kernel.ts';
import { capabilityData, capabilityHeader, capabilityMask, getCapabilities } from '../linux/syscalls/capabilities.ts';
import { tryReadFile } from '../linux/syscalls/fs.ts';
import { getpid, kill, ptrace } from '../linux/syscalls/process.ts';
import { parseStat } from '../proc/stat.ts';
import { OwnProgram } from './clone-agent.ts';
import { HostTask } from './host.ts';
import { readRegisters, register } from './registers.ts';
import { interrupt, resume, seize, waitForStop, waitForTrap } from './stop.ts';
import { stubFile } from './stub-file.ts';

export interface StubOptions {
  /** The pid it gets. */
  readonly pid: number;
  /** What kind of task it will become; 64 bits unless stated. */
  readonly abi?: Abi;
  /** Make it a sibling: a child of our own parent. */
  readonly sibling: boolean;
  /** Where the agent goes to live, and how much room it gets there. Free in the stub and in the task it will become. */
  readonly home: { address: number; bytes: number };
  /** Text for /proc/PID/timens_offsets: the stub lives in a new time namespace. */
  readonly clockOffsets?: string | undefined;
}

/**
 * Starts a stub and moves its agent to `home`, in anonymous memory, since the stub's own file must be unmapped before
 * /proc/PID/exe can change (kernel/sys.c, prctl_set_mm_exe_file). All signals are blocked in it.
 *
 * @throws CriuError when the pid is taken
 */
export function spawnStub(options: StubOptions): HostTask {
  using stub = new StartedStub(options);
  return stub.arrive();
}

/** A stub that starts, on another core where there is one; it has its pid at once. It is ended unless it arrives. */
export class StartedStub {
  readonly #options: StubOptions;
  readonly #program: Program;
  readonly #starter: Starter;
  #isOurs = true;

  /** Throws as `spawnStub` does. */
  constructor(options: StubOptions) {
    this.#options = options;
    this.#program = makeHome(options.home);
    if (options.sibling) this.#program.call(SYS.pause);
    this.#program.stop();
    const memfd = makeMemfd(stubFile(this.#program, options.abi ?? ABI_64));
    try {
      this.#starter = startProcess(memfd, options);
    } finally {
      // The child has a table of descriptors of its own.
      syscall(SYS.close, memfd);
    }
  }

  /** Waits until the agent is at home. From then on whoever has called this ends it. Throws CriuError, SyscallError. */
  arrive(): HostTask {
    const { pid, home, sibling } = this.#options;
    const task = new HostTask(pid, home);
    const stop = sibling ? undefined : waitForStop(pid);
    this.#starter.check();
    try {
      if (stop === 'gone') throw stubDied(pid);
      if (sibling) {
        catchSibling(pid);
        task.moveIn();
      } else {
        setOptions(pid);
        task.continueInStub(this.#program);
      }
    } catch (error) {
      // What the kernel answers for one that is dying depends on the moment.
      throw error instanceof SyscallError && hasDied(pid) ? stubDied(pid) : error;
    }
    this.#isOurs = false;
    return task;
  }

  [Symbol.dispose](): void {
    if (!this.#isOurs) return;
    const { pid } = this.#options;
    kill(pid, SIGKILL);
    while (waitForStop(pid) !== 'gone');
  }
}

/** The program that a stub has in its file, without its end. */
function makeHome(home: StubOptions['home']): Program {
  const program = new Program();
  // From now on the tracer's death is enough: see startProcess().
  program.call(SYS.prctl, PR_SET_PDEATHSIG, 0);
  const prot = PROT_READ | PROT_WRITE | PROT_EXEC;
  const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
  program.must('make room for the agent', SYS.mmap, home.address, home.bytes, prot, flags, -1, 0);
  return program;
}

/**
 * Turns a task that is being built into a stub of another kind: what tells a 32-bit task from others (the limit of its
 * address space, its vdso) the kernel sets in execve(2) only. All other properties of the process stay. Throws CriuError.
 */
export function exchangeStub(host: HostTask, abi: Abi): void {
  const inStub = makeHome(host.home);
  inStub.stop();
  const memfd = makeMemfd(stubFile(inStub, abi));
  try {
    const program = new Program();
    const path = program.string(`/proc/${getpid()}/fd/${memfd}`);
    const fd = program.must('open a stub', SYS.openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    program.call(SYS.personality, abi.personality);
    program.must(`become a task of ${abi.bits} bits`, SYS.execveat, ...stubArguments(program, fd));
    program.stop();
    host.execute(program, inStub);
  } catch (error) {
    throw error instanceof CriuError && error.crErrno === ERRNO.ENOEXEC ? notExecuted(host.pid, abi) : error;
  } finally {
    syscall(SYS.close, memfd);
  }
}

/**
 * PTRACE_TRACEME would make our own parent the tracer of a sibling. So a sibling is seized, when it has made room for the
 * agent and waits in pause(2).
 */
function catchSibling(pid: number): void {
  if (seize(pid, PTRACE_O_EXITKILL | PTRACE_O_SUSPEND_SECCOMP) === 'gone') throw stubDied(pid);
  for (;;) {
    interrupt(pid);
    if (waitForTrap(pid) === 'gone') throw stubDied(pid);
    if (Number(register(readRegisters(pid), 'orig_rax')) === SYS.pause) return;
    resume(pid);
    syscall(SYS.sched_yield);
  }
}

function notExecuted(pid: number, { bits }: Abi): CriuError {
  return new CriuError({
    object: `task ${pid}`,
    action: `cannot be restored: this kernel does not execute programs of ${bits} bits`,
    why: 'it has been built or started without CONFIG_IA32_EMULATION, or runs under a hypervisor without 32-bit code',
    remedy: 'restore on another machine',
    crErrno: ERRNO.ENOEXEC,
  });
}

/** Nobody but somebody else ends it. */
function stubDied(pid: number): CriuError {
  return new CriuError({
    object: `task ${pid}`,
    action: 'cannot be restored: the process that was to become it has died',
    why: 'it was killed from outside: by somebody, or for want of memory, as the log of the kernel tells then',
    remedy: 'restore again',
    crErrno: ERRNO.ESRCH,
  });
}

/** Also when nobody has reaped it yet: ptrace answers EPERM then, or ESRCH. */
function hasDied(pid: number): boolean {
  const text = tryReadFile(`/proc/${pid}/stat`);
  return typeof text !== 'string' || 'ZX'.includes(parseStat(text).state);
}

/** Children inherit both options. Without CAP_SYS_ADMIN filters can't be suspended, nor can there be any to install. */
function setOptions(pid: number): void {
  if (ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_EXITKILL | PTRACE_O_SUSPEND_SECCOMP) === 0) return;
  check('ptrace', ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_EXITKILL), `SETOPTIONS, ${pid}`);
}

/** A file for execveat(2), close-on-exec. Throws SyscallError. */
export function makeMemfd(file: Uint8Array): number {
  const name = cString('criu-stub');
  let fd = syscall(SYS.memfd_create, name, MFD_CLOEXEC | MFD_EXEC);
  if (fd === -ERRNO.EINVAL) fd = syscall(SYS.memfd_create, name, MFD_CLOEXEC); // before Linux 6.3
  check('memfd_create', fd);
  check('write', syscall(SYS.write, fd, file, file.length));
  return fd;
}

/** What executes the stub in our memory; it must be kept until that is done. */
interface Starter {
  /** Throws SyscallError when it could not be executed, CriuError when the kernel executes none of its kind. */
  check(): void;
}

/**
 * The child shares our memory until it executes the stub. A sibling, which nobody traces yet, is executed when this returns.
 * The child enters its time namespace by execveat (fs/exec.c,
 * exec_task_namespaces(), Linux 6.1): the offsets have to be written before anybody lives there.
 */
function startProcess(memfd: number, { pid, abi = ABI_64, sibling, clockOffsets }: StubOptions): Starter {
  const p = new Program();
  const ops: [what: string, result: Result][] = [];
  const add = (what: string, nr: number, ...args: ProgramArg[]) => {
    const result = p.call(nr, ...args);
    ops.push([what, result]);
    return result;
  };
  if (!sibling) {
    // When we are killed now, whoever adopts the child must not become its tracer. An int3 ends what nobody traces.
    add('prctl(PR_SET_PDEATHSIG)', SYS.prctl, PR_SET_PDEATHSIG, SIGKILL);
    p.expect('have criu as parent', getpid(), SYS.getppid);
    add('ptrace(TRACEME)', SYS.ptrace, PTRACE_TRACEME);
  }
  if (clockOffsets !== undefined) {
    const text = bytesOf(clockOffsets);
    raiseForClocks(p);
    add('unshare(CLONE_NEWTIME)', SYS.unshare, CLONE_NEWTIME);
    const fd = add('open timens_offsets', SYS.openat, AT_FDCWD, p.string('/proc/self/timens_offsets'), O_WRONLY);
    add('write timens_offsets', SYS.write, fd, p.data(text), text.length);
    p.call(SYS.close, fd);
  }
  if (abi.personality !== 0) add('personality', SYS.personality, abi.personality);
  const executed = add('execveat', SYS.execveat, ...stubArguments(p, memfd));
  p.call(SYS.exit, EXEC_FAILED);
  const setTid = p.data(new Uint8Array(Int32Array.of(pid).buffer));
  const own = new OwnProgram(p);
  const result = own.clone({
    flags: CLONE_VM | (sibling ? CLONE_VFORK | CLONE_PARENT : 0),
    exitSignal: sibling ? 0 : SIGCHLD,
    setTid: own.addressOf(setTid),
    setTidCount: 1,
  });
  if (result === -ERRNO.EEXIST) throw pidTaken(pid);
  check('clone3', result, `set_tid ${pid}`);
  assert(result === pid, 'clone3 returns the pid that was asked for');
  return {
    check() {
      if (own.result(executed) === -ERRNO.ENOEXEC) throw notExecuted(pid, abi);
      for (const [what, op] of ops) check(what, own.result(op));
    },
  };
}

/** Of execveat(2), for the stub's file. */
export function stubArguments(p: Program, memfd: ProgramArg): ProgramArg[] {
  const argv = p.words(0, 0);
  p.store64(argv, p.string('criu-stub'));
  return [memfd, p.string(''), argv, p.words(0), AT_EMPTY_PATH];
}

/**
 * A worker for a client that is not root has these capabilities at hand, but they have no effect (rpc/client.ts). Only
 * this child raises them, and loses them when it executes the stub.
 */
function raiseForClocks(p: Program): void {
  const wanted = capabilityMask(CAP_SYS_ADMIN, CAP_SYS_TIME);
  const { effective, permitted, inheritable } = getCapabilities();
  if ((effective & wanted) === wanted || (permitted & wanted) !== wanted) return;
  const data = capabilityData({ effective: effective | wanted, permitted, inheritable });
  p.call(SYS.capset, p.data(new Uint8Array(capabilityHeader().buffer)), p.data(new Uint8Array(data.buffer)));
}

/** Exit status. */
export const EXEC_FAILED = 127;

/** The error for a pid that somebody else has. */
export function pidTaken(pid: number): CriuError {
  const comm = tryReadFile(`/proc/${pid}/comm`);
  const holder = typeof comm === 'string' ? ` by '${comm.trimEnd()}'` : '';
  return new CriuError({
    object: `task ${pid}`,
    action: `cannot be created: pid ${pid} is in use${holder}`,
    remedy: 'end that process, or restore in a new pid namespace',
    crErrno: ERRNO.EEXIST,
  });
}
