/**
 * Freezes a process tree: every thread of every task is seized and stopped, until a whole pass finds nobody new.
 *
 * While a pass goes on, threads that are not stopped yet may make threads and children; stopped ones can't. So the last
 * pass, which finds nothing, sees the tree as it is.
 */
import { CriuError, SyscallError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { ERRNO } from '../linux/abi/errno.ts';
import { stopIfInterrupted } from '../linux/interrupts.ts';
import { close, tryListDirectory, tryReadProc } from '../linux/syscalls/fs.ts';
import { getpid, pidfd_open } from '../linux/syscalls/process.ts';
import { parseChildren } from '../proc/small.ts';
import { parseStat, type Stat } from '../proc/stat.ts';
import { parseStatus } from '../proc/status.ts';
import { readSignalMask } from '../tracee/guest-thread.ts';
import { readRegisters } from '../tracee/registers.ts';
import { detach, interrupt, seize, suspendSeccomp, waitForTrap } from '../tracee/stop.ts';
import type { FreezerCgroup } from './freezer-cgroup.ts';
import { type FrozenTask, type FrozenThread, type FrozenTree, type FrozenZombie, TWIN_NAME } from './frozen-tree.ts';

/** A task while the tree is being frozen. */
interface Seized {
  readonly pid: number;
  readonly tids: number[];
  stopSignal: number | undefined;
}

export class Freezer {
  readonly #log: Logger;
  readonly #timeoutMs: number;
  #deadline = Number.POSITIVE_INFINITY;
  readonly #seized = new Map<number, Seized>();
  readonly #zombies = new Set<number>();
  /** Twins of dumps that were killed: no tasks of the tree. */
  readonly #deadTwins = new Set<number>();
  readonly #pidfds: number[] = [];
  readonly #cgroup: FreezerCgroup | undefined;
  /** Interrupted while their cgroup is frozen: they stop when it is thawed. */
  readonly #expected: { task: Seized; tid: number }[] = [];

  /** `timeoutMs`: how long it may take to find and stop everybody. `cgroup`: where they are frozen before that. */
  constructor(log: Logger, timeoutMs: number, cgroup?: FreezerCgroup) {
    this.#log = log;
    this.#cgroup = cgroup;
    this.#timeoutMs = timeoutMs;
  }

  /** Stops the tree. Throws CriuError; the caller calls `release` in any case. */
  freeze(root: number): FrozenTree {
    this.#deadline = Bun.nanoseconds() + this.#timeoutMs * 1e6;
    if (root === getpid()) throw new CriuError({ action: `criu cannot dump itself (pid ${root})` });
    this.#cgroup?.freeze();
    if (!this.#seizeTask(root)) {
      throw new CriuError({
        object: `task ${root}`,
        action: this.#zombies.has(root) ? 'is dead already, a zombie' : 'no such task',
        remedy: 'give the pid of a running process with --tree',
        crErrno: ERRNO.ESRCH,
      });
    }
    let isNew = true;
    while (isNew) {
      isNew = false;
      for (const task of [...this.#seized.values()]) {
        this.#checkDeadline();
        if (this.#seizeThreads(task)) isNew = true;
        for (const child of this.#children(task)) {
          if (this.#seized.has(child) || this.#zombies.has(child) || this.#deadTwins.has(child)) continue;
          if (child === getpid()) {
            throw new CriuError({
              object: `task ${root}`,
              action: 'cannot be dumped: The criu itself is within dumped tree',
              remedy: 'start criu from outside of the tree',
            });
          }
          if (isDeadTwin(tryStat(child))) this.#deadTwins.add(child);
          else if (this.#seizeTask(child) || this.#zombies.has(child)) isNew = true;
        }
      }
    }
    this.#cgroup?.thaw();
    for (const { task, tid } of this.#expected.splice(0)) this.#awaitStop(task, tid);
    return this.#describe(root);
  }

  /** Lets all tasks go on as they were. */
  release(): void {
    for (const { tids } of this.#seized.values()) for (const tid of tids) detach(tid);
    this.forget();
  }

  /** Every thread that we hold. */
  get tids(): number[] {
    return [...this.#seized.values()].flatMap(({ tids }) => tids);
  }

  /** The tasks are not ours any more. */
  forget(areDead = false): void {
    this.#cgroup?.restore(areDead);
    this.#seized.clear();
    for (const fd of this.#pidfds.splice(0)) close(fd);
  }

  #checkDeadline(): void {
    stopIfInterrupted();
    if (Bun.nanoseconds() >= this.#deadline) throw notInTime();
  }

  /** False when the task is gone or a zombie. */
  #seizeTask(pid: number): boolean {
    if (isZombie(pid)) {
      this.#zombies.add(pid);
      return false;
    }
    const task: Seized = { pid, tids: [], stopSignal: undefined };
    this.#seized.set(pid, task);
    if (this.#seizeThreads(task) && task.tids.length > 0) return true;
    this.#seized.delete(pid);
    if (isZombie(pid)) this.#zombies.add(pid);
    return false;
  }

  /** Seizes and stops all threads that are not yet; true when there were any. */
  #seizeThreads(task: Seized): boolean {
    let found = false;
    for (;;) {
      const names = tryListDirectory(`/proc/${task.pid}/task`);
      if (typeof names === 'number') return found;
      const tids = names.map(Number).filter((tid) => !task.tids.includes(tid));
      const fresh = tids.filter((tid) => this.#seizeThread(task.pid, tid));
      if (fresh.length === 0) return found;
      found = true;
      for (const tid of fresh) interrupt(tid);
      task.tids.push(...fresh);
      if (this.#cgroup === undefined) for (const tid of fresh) this.#awaitStop(task, tid);
      else this.#expected.push(...fresh.map((tid) => ({ task, tid })));
    }
  }

  #awaitStop(task: Seized, tid: number): void {
    const stop = waitForTrap(tid);
    if (stop === 'gone') task.tids.splice(task.tids.indexOf(tid), 1);
    else if (stop.kind === 'group-stop') task.stopSignal ??= stop.signal;
  }

  #seizeThread(pid: number, tid: number): boolean {
    try {
      return seize(tid) === 'seized';
    } catch (error) {
      if (!(error instanceof SyscallError)) throw error;
      if (isZombie(tid)) return false; // a dead thread group leader whose threads live is not supported
      throw seizeError(pid, tid, error);
    }
  }

  #children(task: Seized): number[] {
    const children: number[] = [];
    for (const tid of task.tids) {
      const text = tryReadProc(`/proc/${task.pid}/task/${tid}/children`);
      if (typeof text === 'string' && text !== '') children.push(...parseChildren(text));
    }
    return children;
  }

  #describe(root: number): FrozenTree {
    const members = new Map<number, FrozenTask | FrozenZombie>();
    for (const task of this.#seized.values()) members.set(task.pid, this.#describeTask(task));
    for (const pid of this.#zombies) {
      const zombie = describeZombie(pid);
      if (zombie !== undefined) members.set(pid, zombie);
    }
    const ordered = inTreeOrder(members, root);
    const tasks = ordered.filter((member) => member.kind === 'task');
    const [first] = tasks;
    if (first === undefined) throw new CriuError({ object: `task ${root}`, action: 'died while it was frozen' });
    return { root: first, members: ordered, tasks };
  }

  #describeTask({ pid, tids, stopSignal }: Seized): FrozenTask {
    const sorted = [...tids].sort((a, b) => (a === pid ? -1 : b === pid ? 1 : a - b));
    const threads = sorted.map((tid) => describeThread(pid, tid));
    const [leader] = threads;
    if (leader === undefined || leader.tid !== pid) {
      throw new CriuError({
        object: `task ${pid}`,
        action: 'cannot be dumped: its first thread has ended while others run',
        why: 'such a task cannot be made again',
      });
    }
    const pidfd = pidfd_open(pid);
    this.#pidfds.push(pidfd);
    const path = `/proc/${pid}/stat`;
    const stat = parseStat(mustRead(path), path);
    const { ppid, pgrp: pgid, session: sid, comm } = stat;
    this.#log.debug(`froze task ${pid} '${comm}' with ${threads.length} thread(s)`);
    const deadTwins = this.#children({ pid, tids, stopSignal }).filter((child) => this.#deadTwins.has(child));
    const label = `task ${pid} '${comm}'`;
    return { kind: 'task', pid, ppid, pgid, sid, threads, leader, stat, pidfd, stopSignal, deadTwins, label };
  }
}

/** The error of a freeze that takes longer than --timeout. */
export function notInTime(): CriuError {
  return new CriuError({
    action: 'cannot freeze the process tree in time',
    why: 'it makes new tasks or threads faster than they can be stopped, or one of them does not stop',
    remedy: 'give it more time with --timeout, or freeze it with --freeze-cgroup',
  });
}

/** A stopped thread of ours; its seccomp filters are out of the way. */
export function describeThread(pid: number, tid: number): FrozenThread {
  const path = `/proc/${pid}/task/${tid}/status`;
  const status = parseStatus(mustRead(path), path);
  if (status.seccomp !== 0) suspendSeccomp(tid);
  return { pid, tid, registers: readRegisters(tid), signalMask: readSignalMask(tid), status };
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

function mustRead(path: string): string {
  const text = tryReadProc(path);
  if (typeof text === 'string') return text;
  throw new CriuError({ object: path, action: `cannot be read (errno ${-text})`, why: 'the task has gone' });
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
function isDeadTwin(stat: Stat | undefined): boolean {
  return stat !== undefined && isDead(stat) && stat.exitSignal === 0 && stat.comm === TWIN_NAME;
}

function seizeError(pid: number, tid: number, error: SyscallError): CriuError {
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
    cause: error,
    why: status?.isKernelThread === true ? 'it is a kernel thread' : 'criu needs the capability CAP_SYS_PTRACE for it',
  });
}
