/**
 * The memory of a run-at-once restore that comes after the tasks run: sorted out while the tasks are built, registered with
 * userfaultfds when all of them exist, and left to the filler (pages/filler.ts).
 */
import { Program } from '../agent/program.ts';
import { CriuError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { ERRNO, errnoName } from '../linux/abi/errno.ts';
import { O_CLOEXEC, O_NONBLOCK } from '../linux/abi/fcntl.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import {
  UFFD_FEATURE_EVENT_FORK,
  UFFD_FEATURE_EVENT_REMAP,
  UFFD_FEATURE_EVENT_REMOVE,
  UFFD_FEATURE_EVENT_UNMAP,
  UFFD_FEATURE_THREAD_ID,
  UFFDIO_REGISTER_MODE_MISSING,
} from '../linux/abi/userfaultfd.ts';
import { check } from '../linux/kernel.ts';
import { close, fstat } from '../linux/syscalls/fs.ts';
import { pidfd_open, tryPidfdGetfd } from '../linux/syscalls/process.ts';
import { tryUffdApi, tryUffdRegister, tryUserfaultfd } from '../linux/syscalls/userfaultfd.ts';
import type { FillFile, FillTask } from '../pages/fill-order.ts';
import type { Filler } from '../pages/filler-link.ts';
import { chooseLater, type LaterMemory, pagesWantedAtOnce } from '../pages/later.ts';
import { checkLength, openPages } from '../resources/mm/fill-memory.ts';
import type { PageRun } from '../resources/mm/pages-image.ts';
import type { Births } from './births.ts';
import type { BuiltTask } from './builder.ts';
import type { RestoreTask } from './restore-tree.ts';

/** What tells about the changes that a task makes, and who waits for a page. */
const FEATURES =
  UFFD_FEATURE_EVENT_FORK |
  UFFD_FEATURE_EVENT_REMAP |
  UFFD_FEATURE_EVENT_REMOVE |
  UFFD_FEATURE_EVENT_UNMAP |
  UFFD_FEATURE_THREAD_ID;

/** Throws CriuError when this kernel does not let us bring memory later. */
export function checkUserfaults(): void {
  const refuse = (call: string, result: number) =>
    new CriuError({
      object: '--run-at-once',
      action: `cannot be done here (${call}: ${errnoName(-result)})`,
      why: WHY[-result] ?? 'this kernel does not tell what a program does with its mappings meanwhile',
      remedy: 'restore without it: then the program runs when its memory is there',
      crErrno: ERRNO.EOPNOTSUPP,
    });
  const uffd = tryUserfaultfd(O_CLOEXEC | O_NONBLOCK);
  if (uffd < 0) throw refuse('userfaultfd', uffd);
  const result = tryUffdApi(uffd, FEATURES);
  close(uffd);
  if (result < 0) throw refuse('UFFDIO_API', result);
}

const WHY: Readonly<Record<number, string>> = {
  [ERRNO.EPERM]: 'it takes the capability CAP_SYS_PTRACE, and a seccomp filter (as containers have) may forbid it too',
  [ERRNO.ENOSYS]: 'this kernel has no userfaultfd (CONFIG_USERFAULTFD)',
};

export class LaterPages {
  readonly #filler: Filler;
  readonly #log: Logger;
  readonly #later = new Map<RestoreTask, LaterMemory>();
  readonly #files = new Map<string, FillFile & { readonly bytes: number }>();
  readonly #fds: number[] = [];

  constructor(filler: Filler, log: Logger) {
    this.#filler = filler;
    this.#log = log;
  }

  /** Keeps back what may come later; returns what is to be written now. */
  choose(task: RestoreTask, runs: readonly PageRun[], births: Births | undefined): readonly PageRun[] {
    // UFFDIO_COPY takes no page from an address that the task could not have itself (mm/userfaultfd.c, validate_range).
    if (task.abi.bits === 32) {
      this.#log.info(`${task.label} has 32 bits: its memory is there from the start`);
      return runs;
    }
    const children = births === undefined ? [] : forkedFrom(births).map(({ mm }) => mm.vmas);
    const wanted = pagesWantedAtOnce(task.threads.map(({ core }) => core));
    const { now, later } = chooseLater(task.mm.vmas, children, runs, wanted);
    if (later.runs.length === 0) return runs;
    for (const run of later.runs) checkLength(this.#file(run.file), run.offset + run.bytes);
    this.#later.set(task, later);
    return now;
  }

  /** All tasks exist, and no more are forked: from now on the filler serves what is missing in them. */
  begin(built: readonly BuiltTask[]): void {
    const waiting = built.filter(({ task }) => this.#later.has(task));
    if (waiting.length === 0) {
      this.#log.info('--run-at-once: there is not enough memory that could come later');
      return;
    }
    const uffds = this.#makeUserfaultfds(waiting);
    const tasks = waiting.map(({ task }, i): FillTask => {
      const { ranges = [], runs = [] } = this.#later.get(task) ?? {};
      return { pid: task.pid, label: task.label, uffd: uffds[i] ?? -1, ranges, runs };
    });
    for (const task of tasks) register(task);
    const bytes = tasks.reduce((sum, { runs }) => sum + runs.reduce((part, run) => part + run.bytes, 0), 0);
    this.#log.info(`${bytes / 1024} KiB of ${tasks.length} task(s) come later`);
    const files = [...this.#files.values()].map(({ path, fd }) => ({ path, fd }));
    const pids = built.map(({ task }) => task.pid);
    this.#filler.give({ pids, files, tasks });
    this.#isGiven = true;
  }

  #isGiven = false;

  /** Throws CriuError when the filler has ended. */
  waitUntilReady(): void {
    if (this.#isGiven) this.#filler.waitUntilReady();
  }

  /** The filler has its own descriptors by now; the kernel must not wait for ours. */
  [Symbol.dispose](): void {
    for (const fd of this.#fds) close(fd);
    for (const { fd } of this.#files.values()) close(fd);
  }

  #file(path: string) {
    let file = this.#files.get(path);
    if (file === undefined) {
      const fd = openPages(path);
      file = { path, fd, bytes: fstat(fd).st_size };
      this.#files.set(path, file);
    }
    return file;
  }

  /** Each task makes its own, since a userfaultfd belongs to the address space of who made it, and keeps no descriptor. */
  #makeUserfaultfds(built: readonly BuiltTask[]): number[] {
    const made = built.map(({ host }) => {
      const program = new Program();
      const uffd = program.must('make a userfaultfd', SYS.userfaultfd, O_NONBLOCK);
      program.stop();
      host.start(program);
      return uffd;
    });
    const uffds = built.map(({ host }, i) => {
      host.finish();
      const theirs = made[i] === undefined ? -1 : host.result(made[i]);
      const pidfd = pidfd_open(host.pid);
      const uffd = check('pidfd_getfd', tryPidfdGetfd(pidfd, theirs), `userfaultfd of task ${host.pid}`);
      close(pidfd);
      this.#fds.push(uffd);
      const program = new Program();
      program.must('close the userfaultfd', SYS.close, theirs);
      program.stop();
      // The next program of the task waits for its end; meanwhile the filler is told.
      host.start(program);
      return uffd;
    });
    return uffds;
  }
}

function register({ label, uffd, ranges }: FillTask): void {
  check('UFFDIO_API', tryUffdApi(uffd, FEATURES), label);
  for (const { start, end } of ranges) {
    const result = tryUffdRegister(uffd, start, end - start, UFFDIO_REGISTER_MODE_MISSING);
    check('UFFDIO_REGISTER', result, `${label}, ${start.toString(16)}-${end.toString(16)}`);
  }
}

/** The tasks that get a copy of the memory, some of them through a helper. */
function forkedFrom({ early, late, sessions }: Births): RestoreTask[] {
  const members = [...early, ...late, ...sessions.flatMap(({ members: orphans }) => orphans)];
  return members.filter((member) => member.kind === 'task');
}
