/**
 * Freezes a process tree: every thread of every task is seized and stopped, until a whole pass finds nobody new.
 *
 * While a pass goes on, threads that are not stopped yet may make threads and children; stopped ones can't. So the last
 * pass, which finds nothing, sees the tree as it is.
 */

import { byteString } from '../base/bytes.ts';
import { CriuError, SyscallError } from '../base/errors.ts';
import { expectMany } from '../base/hot-code.ts';
import type { Logger } from '../base/log.ts';
import { ERRNO, errnoName } from '../linux/abi/errno.ts';
import { monotonicNs } from '../linux/clock.ts';
import { stopIfInterrupted } from '../linux/interrupts.ts';
import { close, tryListDirectory, tryReadProc } from '../linux/syscalls/fs.ts';
import { getpid, pidfd_open } from '../linux/syscalls/process.ts';
import type { ThreadRecords } from '../linux/task-threads.ts';
import { parseChildren } from '../proc/small.ts';
import { parseStat, type Stat } from '../proc/stat.ts';
import { parseStatus } from '../proc/status.ts';
import { tryListThreads } from '../resources/task/listed-threads.ts';
import { readThreads, type StoppedTask } from '../resources/task/thread-probe.ts';
import { SmallFiles } from '../tracee/file-column.ts';
import { detachAll, seizeAll, waitForAll } from '../tracee/many-threads.ts';
import { passOn } from '../tracee/stop.ts';
import type { FreezerCgroup } from './freezer-cgroup.ts';
import { type FrozenTask, type FrozenThread, type FrozenTree, type FrozenZombie, TWIN_NAME } from './frozen-tree.ts';

/** A task while the tree is being frozen. */
interface Seized {
  readonly pid: number;
  readonly tids: Set<number>;
  /** When it was stopped: since then it makes neither threads nor children. */
  stat: Stat | undefined;
  stopSignal: number | undefined;
  /** Twins of dumps that were killed: children, but no tasks of the tree. */
  deadTwins: number[];
  /** Of all threads when they had stopped, at the last pass. */
  records: ThreadRecords | undefined;
}

interface SeizedThread {
  readonly task: Seized;
  readonly tid: number;
}

export class Freezer {
  readonly #log: Logger;
  readonly #timeoutMs: number;
  #deadline = Number.POSITIVE_INFINITY;
  readonly #seized = new Map<number, Seized>();
  readonly #zombies = new Set<number>();
  readonly #deadTwins = new Set<number>();
  readonly #pidfds: number[] = [];
  readonly #cgroup: FreezerCgroup | undefined;
  /** Interrupted while their cgroup is frozen: they stop when it is thawed. */
  readonly #expected: SeizedThread[] = [];

  /** `timeoutMs`: how long it may take to find and stop everybody. `cgroup`: where they are frozen before that. */
  constructor(log: Logger, timeoutMs: number, cgroup?: FreezerCgroup) {
    this.#log = log;
    this.#cgroup = cgroup;
    this.#timeoutMs = timeoutMs;
  }

  /** Stops the tree. Throws CriuError; the caller calls `release` in any case. */
  freeze(root: number): FrozenTree {
    this.#deadline = monotonicNs() + this.#timeoutMs * 1e6;
    if (root === getpid()) throw new CriuError({ action: `criu cannot dump itself (pid ${root})` });
    this.#cgroup?.freeze();
    this.#add([root]);
    this.#seizeThreads();
    if (!this.#seized.has(root)) {
      throw new CriuError({
        object: `task ${root}`,
        action: isZombie(root) ? 'is dead already, a zombie' : 'no such task',
        remedy: 'give the pid of a running process with --tree',
        crErrno: ERRNO.ESRCH,
      });
    }
    while (this.#add(this.#findChildren(root))) this.#seizeThreads();
    this.#cgroup?.thaw();
    this.#awaitStops(this.#expected.splice(0));
    return this.#describe(root);
  }

  /** Lets all tasks go on as they were. */
  release(): void {
    detachAll(this.tids);
    this.forget();
  }

  /** Every thread that we hold. */
  get tids(): number[] {
    const tids: number[] = [];
    for (const task of this.#seized.values()) for (const tid of task.tids) tids.push(tid);
    return tids;
  }

  /** The tasks are not ours any more. */
  forget(areDead = false): void {
    this.#cgroup?.restore(areDead);
    this.#seized.clear();
    for (const fd of this.#pidfds.splice(0)) close(fd);
  }

  #checkDeadline(): void {
    stopIfInterrupted();
    if (monotonicNs() >= this.#deadline) throw notInTime();
  }

  /** Takes note of tasks; true when there are any. */
  #add(pids: readonly number[]): boolean {
    for (const pid of pids) {
      const nothingYet = { stat: undefined, stopSignal: undefined, records: undefined };
      this.#seized.set(pid, { pid, tids: new Set(), deadTwins: [], ...nothingYet });
    }
    return pids.length > 0;
  }

  /** Seizes and stops all threads of the tasks that are not yet. */
  #seizeThreads(): void {
    const added = [...this.#seized.values()].filter(({ stat }) => stat === undefined);
    let tasks = added;
    while (tasks.length > 0) {
      this.#checkDeadline();
      const seized = this.#seize(tasks.flatMap(listThreads));
      if (this.#cgroup === undefined) this.#awaitStops(seized);
      else this.#expected.push(...seized);
      const changed = new Set(seized.map(({ task }) => task));
      readStats(tasks);
      // Threads that are not stopped may have made others meanwhile.
      tasks = [...changed].filter(({ stat, tids }) => stat !== undefined && stat.numThreads !== tids.size);
    }
    for (const { pid, tids, stat } of added) {
      if (tids.size > 0) continue;
      this.#seized.delete(pid);
      if (stat === undefined) continue;
      if (isDeadTwin(stat)) this.#deadTwins.add(pid);
      else if (isDead(stat)) this.#zombies.add(pid);
    }
  }

  /** Returns those that are ours now; the others have ended. */
  #seize(threads: readonly SeizedThread[]): SeizedThread[] {
    const seized: SeizedThread[] = [];
    const refused: (SeizedThread & { readonly errno: number })[] = [];
    const tids = threads.map(({ tid }) => tid);
    expectMany(tids.length);
    seizeAll(tids, (i, result) => {
      const thread = threads[i] as SeizedThread;
      if (result === 0) {
        thread.task.tids.add(thread.tid);
        seized.push(thread);
      } else if (result !== -ERRNO.ESRCH) refused.push({ ...thread, errno: -result });
    });
    for (const { task, tid, errno } of refused) {
      // A dead thread group leader whose threads live is not supported.
      if (!isZombie(tid)) throw seizeError(task.pid, tid, errno);
    }
    return seized;
  }

  #awaitStops(threads: readonly SeizedThread[]): void {
    const tids = threads.map(({ tid }) => tid);
    waitForAll(tids, (i, status) => {
      const { task, tid } = threads[i] as SeizedThread;
      const stop = passOn(tid, status);
      if (stop === undefined) return false;
      if (stop === 'gone') task.tids.delete(tid);
      else if (stop.kind === 'group-stop') task.stopSignal ??= stop.signal;
      return true;
    });
  }

  /** Children of all tasks, as far as nobody knows them yet. */
  #findChildren(root: number): number[] {
    const threads: SeizedThread[] = [];
    for (const task of this.#seized.values()) {
      task.deadTwins = [];
      const { pid, tids } = task;
      // A cgroup that is frozen does not stand still yet.
      task.records = this.#cgroup === undefined ? tryListThreads(pid, tids.size) : undefined;
      for (const tid of tids) if (mayHaveChildren(task, tid)) threads.push({ task, tid });
    }
    const found: number[] = [];
    const own = getpid();
    const paths = threads.map(({ task, tid }) => `/proc/${task.pid}/task/${tid}/children`);
    procFiles.read(paths, (content, i) => {
      if (typeof content === 'number' || content.length === 0) return;
      for (const child of parseChildren(byteString(content))) {
        if (child === own) throw ownTree(root);
        if (this.#deadTwins.has(child)) threads[i]?.task.deadTwins.push(child);
        else if (!this.#seized.has(child) && !this.#zombies.has(child)) found.push(child);
      }
    });
    return found;
  }

  #describe(root: number): FrozenTree {
    const threads = readThreads([...this.#seized.values()].map(inOrder));
    let first = 0;
    const members = new Map<number, FrozenTask | FrozenZombie>();
    for (const task of this.#seized.values()) {
      members.set(task.pid, this.#describeTask(task, threads.slice(first, first + task.tids.size)));
      first += task.tids.size;
    }
    for (const pid of this.#zombies) {
      const zombie = describeZombie(pid);
      if (zombie !== undefined) members.set(pid, zombie);
    }
    const ordered = inTreeOrder(members, root);
    const tasks = ordered.filter((member) => member.kind === 'task');
    const [rootTask] = tasks;
    if (rootTask === undefined) throw new CriuError({ object: `task ${root}`, action: 'died while it was frozen' });
    return { root: rootTask, members: ordered, tasks };
  }

  #describeTask({ pid, stat, stopSignal, deadTwins }: Seized, seized: readonly FrozenThread[]): FrozenTask {
    const threads = seized.filter((thread) => !isWorker(thread));
    const [leader] = threads;
    if (leader === undefined || leader.tid !== pid || stat === undefined) {
      throw new CriuError({
        object: `task ${pid}`,
        action: 'cannot be dumped: its first thread has ended while others run',
        why: 'such a task cannot be made again',
      });
    }
    const pidfd = pidfd_open(pid);
    this.#pidfds.push(pidfd);
    const { ppid, pgrp: pgid, session: sid, comm } = stat;
    this.#log.debug(`froze task ${pid} '${comm}' with ${threads.length} thread(s)`);
    const label = `task ${pid} '${comm}'`;
    return { kind: 'task', pid, ppid, pgid, sid, threads, leader, stat, pidfd, stopSignal, deadTwins, label };
  }
}

/**
 * Threads of the kernel in a task, which do requests of io_uring. They are stopped too, but there is nothing to be dumped:
 * the kernel makes others when it has something for them to do (io_uring/io-wq.c).
 */
function isWorker({ tid, status }: FrozenThread): boolean {
  // Any thread may call itself so, but asking each would take long.
  return status.name.startsWith('iou-') && ((tryStat(tid)?.flags ?? 0) & PF_IO_WORKER) !== 0;
}

/** include/linux/sched.h. */
const PF_IO_WORKER = 0x10;

/** stat and children are mostly shorter. */
const procFiles = new SmallFiles(1024);

function readStats(tasks: readonly Seized[]): void {
  const paths = tasks.map(({ pid }) => `/proc/${pid}/stat`);
  procFiles.read(paths, (content, i) => {
    const task = tasks[i] as Seized;
    task.stat = typeof content === 'number' ? undefined : parseStat(byteString(content), paths[i]);
  });
}

/** Threads of a task that are not seized yet. */
function listThreads(task: Seized): SeizedThread[] {
  const names = tryListDirectory(`/proc/${task.pid}/task`);
  if (typeof names === 'number') return [];
  const fresh: SeizedThread[] = [];
  for (const name of names) {
    const tid = Number(name);
    if (!task.tids.has(tid)) fresh.push({ task, tid });
  }
  return fresh;
}

/** The thread group leader first. */
function inOrder({ pid, tids, records }: Seized): StoppedTask {
  return { pid, tids: [...tids].sort((a, b) => (a === pid ? -1 : b === pid ? 1 : a - b)), records };
}

function mayHaveChildren({ records }: Seized, tid: number): boolean {
  const start = records?.start(tid);
  return records === undefined || start === undefined || records.hasChildren(start);
}

function ownTree(root: number): CriuError {
  return new CriuError({
    object: `task ${root}`,
    action: 'cannot be dumped: The criu itself is within dumped tree',
    remedy: 'start criu from outside of the tree',
  });
}

/** The error of a freeze that takes longer than --timeout. */
export function notInTime(): CriuError {
  return new CriuError({
    action: 'cannot freeze the process tree in time',
    why: 'it makes new tasks or threads faster than they can be stopped, or one of them does not stop',
    remedy: 'give it more time with --timeout, or freeze it with --freeze-cgroup',
  });
}

function describeZombie(pid: number): FrozenZombie | undefined {
  const stat = tryStat(pid);
  if (stat === undefined) return undefined;
  const { ppid, pgrp: pgid, session: sid, exitCode, comm } = stat;
  return { kind: 'zombie', pid, ppid, pgid, sid, exitCode, comm, label: `zombie ${pid} '${comm}'` };
}

/** Parents before children, children in the order of their pids. */
function inTreeOrder(members: ReadonlyMap<number, FrozenTask | FrozenZombie>, root: number) {
  const ordered: (FrozenTask | FrozenZombie)[] = [];
  const children = new Map<number, (FrozenTask | FrozenZombie)[]>();
  for (const member of [...members.values()].sort((a, b) => a.pid - b.pid)) {
    if (member.pid === root) ordered.push(member);
    else children.set(member.ppid, [...(children.get(member.ppid) ?? []), member]);
  }
  for (let i = 0; i < ordered.length; i++) ordered.push(...(children.get(ordered[i]?.pid ?? 0) ?? []));
  return ordered;
}

function tryStat(pid: number): Stat | undefined {
  const path = `/proc/${pid}/stat`;
  const text = tryReadProc(path);
  return typeof text === 'string' ? parseStat(text, path) : undefined;
}

function isZombie(pid: number): boolean {
  return isDead(tryStat(pid));
}

const isDead = (stat: Stat | undefined) => stat?.state === 'Z' || stat?.state === 'X';

/** A copy-on-write twin that nobody reaped, because criu was killed: see twins.ts. */
function isDeadTwin(stat: Stat): boolean {
  return isDead(stat) && stat.exitSignal === 0 && stat.comm === TWIN_NAME;
}

function seizeError(pid: number, tid: number, errno: number): CriuError {
  const path = `/proc/${pid}/status`;
  const text = tryReadProc(path);
  const status = typeof text === 'string' ? parseStatus(text, path) : undefined;
  const tracer = status?.tracerPid ?? 0;
  const object = `thread ${tid} of task ${pid} '${status?.name ?? ''}'`;
  if (tracer !== 0) {
    const comm = tryReadProc(`/proc/${tracer}/comm`);
    const name = typeof comm === 'string' ? ` '${comm.trimEnd()}'` : '';
    return new CriuError({
      object,
      action: 'cannot be stopped',
      why: `process ${tracer}${name} traces it already`,
      remedy: 'end the debugger or strace first',
    });
  }
  return new CriuError({
    object,
    action: 'cannot be stopped',
    cause: new SyscallError('ptrace', errno, errnoName(errno), `SEIZE, ${tid}`),
    why: status?.isKernelThread === true ? 'it is a kernel thread' : 'criu needs the capability CAP_SYS_PTRACE for it',
  });
}
