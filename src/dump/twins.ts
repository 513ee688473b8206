/**
 * Copy-on-write twins: with --leave-running a big task is frozen only for as long as it takes to fork. Its memory is
 * copied from the twin, which shares all pages with it, while the task itself runs on.
 *
 * A twin is a child that its parent does not notice. Exit signal 0 keeps it from SIGCHLD and from wait(2) (but not from
 * __WALL, man 2 wait), setsid keeps signals to groups away, and it lets go of all descriptors and of shared mappings, so
 * that pipes, sockets and seals behave as if it were not there. When it has served, it is killed, and the task is stopped
 * once more, for about a millisecond, to reap it: nobody else can.
 *
 * It stands still in the middle of its exit. So when criu is killed, the twin ends too. Its zombie stays until the task ends
 * or is dumped the next time; it is recognised by its name.
 *
 * What a fork does not copy as it is comes from the frozen task itself: see `isInTwin` in resources/mm/dump-pages.ts.
 */
import type { Program, Result } from '../agent/program.ts';
import { CriuError, SyscallError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { errnoName } from '../linux/abi/errno.ts';
import { CLOSE_RANGE_UNSHARE } from '../linux/abi/fcntl.ts';
import { PR_SET_NAME } from '../linux/abi/prctl.ts';
import { PTRACE_EVENT_EXIT, PTRACE_O_TRACEEXIT } from '../linux/abi/ptrace.ts';
import { CLONE_FILES, CLONE_PTRACE } from '../linux/abi/sched.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { __WALL, WNOHANG } from '../linux/abi/wait.ts';
import { tryReadFile } from '../linux/syscalls/fs.ts';
import { getpid } from '../linux/syscalls/process.ts';
import { parseChildren } from '../proc/small.ts';
import { parseStatus, type Status } from '../proc/status.ts';
import type { Range } from '../resources/mm/address-space.ts';
import { CLONE_ARGS_BYTES, cloneArgs } from '../tracee/clone-agent.ts';
import type { Guest, VisitResult } from '../tracee/guest.ts';
import { killTracee, resume, setOptions, waitForStop } from '../tracee/stop.ts';
import { type FrozenTask, type FrozenTree, TWIN_NAME } from './frozen-tree.ts';
import { runInTask } from './run-in-task.ts';

interface Twin {
  readonly task: FrozenTask;
  readonly pid: number;
  /** Its pid in the namespace of the task. */
  readonly ownPid: number;
}

export class Twins {
  readonly #log: Logger;
  readonly #twins = new Map<number, Twin>();
  /** Tasks that may have forked a twin of which nothing is known yet. */
  readonly #asked = new Set<FrozenTask>();
  #tree: ReadonlySet<number> = new Set();

  constructor(log: Logger) {
    this.#log = log;
  }

  /** Whose memory is to be read instead of that of task `pid`; undefined when it has no twin. */
  of(pid: number): number | undefined {
    return this.#twins.get(pid)?.pid;
  }

  get size(): number {
    return this.#twins.size;
  }

  /** To be called before any task is asked: what belongs to the tree is no twin. */
  expect(tree: FrozenTree): void {
    this.#tree = new Set(tree.members.map(({ pid }) => pid));
  }

  /**
   * Adds the fork to the program of a task's first thread. Call the result after the program has run: it makes the twin
   * ready, or says in the log why there is none.
   */
  ask(program: Program, task: FrozenTask, sharedMappings: readonly Range[]) {
    const made = planTwin(program, sharedMappings);
    this.#asked.add(task);
    return (result: VisitResult, guest: Guest): void => {
      this.#asked.delete(task);
      const ownPid = result.result(made);
      if (ownPid <= 0) {
        this.#log.info(`${task.label}: no copy-on-write twin (clone3: ${errnoName(-ownPid)}), it stays frozen longer`);
        return;
      }
      const pid = findChild(task, ownPid);
      if (pid === undefined) throw new CriuError({ object: task.label, action: `has no child ${ownPid}` });
      const twin = { task, pid, ownPid };
      this.#twins.set(task.pid, twin);
      if (arm(twin)) {
        guest.clearIn(pid);
        return;
      }
      this.#twins.delete(task.pid);
      this.#end(twin);
      this.#log.info(`${task.label}: its copy-on-write twin cannot let go of descriptors, it stays frozen longer`);
    };
  }

  /** Ends all twins. The tasks run, and are stopped once more for a moment. Never throws. */
  [Symbol.dispose](): void {
    for (const twin of this.#twins.values()) this.#end(twin);
    this.#twins.clear();
    for (const task of this.#asked) for (const twin of findTracedChildren(task, this.#tree)) this.#end(twin);
    this.#asked.clear();
  }

  #end({ pid, ownPid, task }: Twin): void {
    killTracee(pid);
    // A signal does nothing to a process that exits (kernel/signal.c, prepare_signal()): it has to be let go.
    do resume(pid);
    while (waitForStop(pid) !== 'gone');
    try {
      runInTask(task.pid, (program) => addReap(program, ownPid));
    } catch (error) {
      if (!(error instanceof CriuError) && !(error instanceof SyscallError)) throw error;
      this.#log.warn(`${task.label}: a zombie '${TWIN_NAME}' (pid ${pid}) is left until it ends: ${error.message}`);
    }
  }
}

/** Adds what a task does to take leave of its dead twin. */
export function addReap(program: Program, ownPid: number): void {
  program.call(SYS.wait4, ownPid, 0, __WALL | WNOHANG, 0);
}

/**
 * Descriptors are shared for a moment, which costs less than a copy, and then let go of all at once. The twin is on its way
 * to its end from the start, with its name first, so that one whose tracer has died leaves nothing but a zombie of that name.
 */
function planTwin(program: Program, sharedMappings: readonly Range[]): Result {
  const args = program.words(...cloneArgs({ flags: CLONE_PTRACE | CLONE_FILES, exitSignal: 0 }));
  const [start, after] = [program.label(), program.label()];
  const made = program.fork(SYS.clone3, args, CLONE_ARGS_BYTES, start);
  program.jump(after);
  program.place(start);
  program.call(SYS.prctl, PR_SET_NAME, program.string(TWIN_NAME));
  program.must('leave the session', SYS.setsid);
  program.must('let go of all descriptors', SYS.close_range, 0, 0xffff_ffff, CLOSE_RANGE_UNSHARE);
  for (const { start: from, end } of sharedMappings) program.call(SYS.munmap, from, end - from);
  program.call(SYS.exit_group, 0);
  program.place(after);
  return made;
}

/**
 * Lets the twin go on to its exit, where it stands still with its memory (PTRACE_EVENT_EXIT comes before exit_mm,
 * kernel/exit.c, do_exit()). False when it did not do all of its program.
 */
function arm({ pid, task }: Twin): boolean {
  const stop = waitForStop(pid);
  if (stop === 'gone' || stop.kind !== 'trap') return false;
  setOptions(pid, PTRACE_O_TRACEEXIT, task.leader.status.seccomp !== 0);
  resume(pid);
  const stopped = waitForStop(pid);
  return stopped !== 'gone' && stopped.kind === 'event' && stopped.event === PTRACE_EVENT_EXIT;
}

/** The pid, for us, of the child that is `ownPid` for the task. */
function findChild(task: FrozenTask, ownPid: number): number | undefined {
  return readChildren(task).find(({ status }) => status.nsPid.at(-1) === ownPid)?.pid;
}

/** The twins of a task: children that are traced by us and not of the tree. */
function findTracedChildren(task: FrozenTask, tree: ReadonlySet<number>): Twin[] {
  const own = getpid();
  const traced = readChildren(task).filter(({ pid, status }) => status.tracerPid === own && !tree.has(pid));
  return traced.map(({ pid, status }) => ({ task, pid, ownPid: status.nsPid.at(-1) ?? pid }));
}

function readChildren({ pid: parent, leader }: FrozenTask): { readonly pid: number; readonly status: Status }[] {
  const text = tryReadFile(`/proc/${parent}/task/${leader.tid}/children`);
  return (typeof text === 'string' ? parseChildren(text) : []).flatMap((pid) => {
    const status = tryReadFile(`/proc/${pid}/status`);
    return typeof status === 'string' ? [{ pid, status: parseStatus(status) }] : [];
  });
}
