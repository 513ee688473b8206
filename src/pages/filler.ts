/**
 * The filler of a run-at-once restore: brings the memory of running tasks from the local images, first the pages that
 * threads wait for, and meanwhile all others. It ends when everything is there; the tasks are then as after any restore.
 * When it can't go on, the tree is killed (end-tree.ts); when it is killed itself, its guard does that (guard.ts).
 */

import { CriuError, errorText } from '../base/errors.ts';
import type { Logger, LogSink } from '../base/log.ts';
import { EPOLLIN as POLLIN } from '../linux/abi/event.ts';
import { F_SETFD } from '../linux/abi/fcntl.ts';
import { MAP_SHARED, PROT_READ } from '../linux/abi/mman.ts';
import { SIG_IGN, SIGHUP, SIGINT, SIGTERM } from '../linux/abi/signal.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { monotonicNs } from '../linux/clock.ts';
import { check, syscall } from '../linux/kernel.ts';
import { close, fcntl, fstat, pread } from '../linux/syscalls/fs.ts';
import { tryReceiveAgain, trySend } from '../linux/syscalls/messages.ts';
import { mmap, munmap } from '../linux/syscalls/mm.ts';
import { pidfd_open, tryPidfdGetfd } from '../linux/syscalls/process.ts';
import { AddressSpace } from './address-space.ts';
import { endTree, findDescriptors, hasEnded } from './end-tree.ts';
import { FillNotice } from './fill-notice.ts';
import { decodeOrder, type FillOrder } from './fill-order.ts';
import { FILLER_SOCKET } from './filler-link.ts';
import { FILLER_NAME, GUARD_NAME, Guard, setName } from './guard.ts';
import { PendingPages } from './pending-pages.ts';

/** Fills what the restore, process `restorePid`, asks for. Returns the exit status. */
export function runFiller(restorePid: number, sink: LogSink): number {
  setName(FILLER_NAME);
  ignoreSignals();
  return fillFor(restorePid, FILLER_SOCKET, sink);
}

/** The same for a restore at the other end of any socket, which both close in the end. */
export function fillFor(restorePid: number, socket: number, sink: LogSink): number {
  const restore = pidfd_open(restorePid);
  const guard = new Guard();
  const order = receiveOrder(socket, restore, sink);
  close(restore);
  if (order === undefined) {
    guard.end();
    return 0;
  }
  const log = sink.logger.child('fill');
  const filling = new Filling(order, guard, log);
  try {
    filling.announce(socket);
    filling.fill(socket);
    return 0;
  } catch (error) {
    log.error(
      `the memory of the tree cannot be completed: ${error instanceof CriuError ? error.message : errorText(error)}`,
    );
    endTree(findDescriptors(filling.guard.pidfdOfFiller), log);
    return 1;
  } finally {
    sink.flush();
    filling.end();
  }
}

/** The filler of the tree has been killed, and this is what its guard executes. Returns the exit status. */
export function runEndTree(pidfdOfFiller: number, sink: LogSink): number {
  setName(GUARD_NAME);
  const log = sink.logger.child('fill');
  const descriptors = findDescriptors(pidfdOfFiller);
  if (!hasEnded(pidfdOfFiller) || descriptors.uffds.length === 0) return 0;
  log.error('the memory of the tree cannot be completed: the process that fills it was killed');
  endTree(descriptors, log);
  sink.flush();
  return 1;
}

/** Who ends a session ends the tasks too, and each in good order needs its memory. */
function ignoreSignals(): void {
  const action = BigUint64Array.of(BigInt(SIG_IGN), 0n, 0n, 0n);
  for (const signal of [SIGHUP, SIGINT, SIGTERM]) syscall(SYS.rt_sigaction, signal, action, 0, 8);
}

/** The order with descriptors of our own; undefined when the restore has ended without one. */
function receiveOrder(socket: number, restore: number, sink: LogSink): FillOrder | undefined {
  const number = new Int32Array(1);
  if (tryReceiveAgain(socket, new Uint8Array(number.buffer)) !== 4) return undefined;
  /** Not close-on-exec: the guard executes criu, and has to hold them. */
  const fetch = (theirs: number) => {
    const fd = check('pidfd_getfd', tryPidfdGetfd(restore, theirs));
    fcntl(fd, F_SETFD, 0);
    return fd;
  };
  const memfd = fetch(number[0] ?? -1);
  const bytes = new Uint8Array(fstat(memfd).st_size);
  pread(memfd, bytes, 0);
  close(memfd);
  const order = decodeOrder(bytes);
  sink.setLevel(order.logLevel);
  const files = order.files.map(({ path, fd }) => ({ path, fd: fetch(fd) }));
  const tasks = order.tasks.map((task) => ({ ...task, uffd: fetch(task.uffd) }));
  return { ...order, files, tasks };
}

class Filling {
  guard: Guard;
  readonly #log: Logger;
  readonly #pids: readonly number[];
  readonly #pidfds: readonly number[];
  #spaces: AddressSpace[];
  readonly #files: readonly MappedFile[];
  #notice: FillNotice | undefined = undefined;

  /** From here on the tree can't be without its memory. */
  constructor({ pids, tasks, files }: FillOrder, guard: Guard, log: Logger) {
    this.#log = log;
    this.#pids = pids;
    this.#pidfds = pids.map((pid) => {
      const pidfd = pidfd_open(pid);
      fcntl(pidfd, F_SETFD, 0);
      return pidfd;
    });
    this.guard = guard;
    guard.protect(this.#pidfds);
    this.#files = files.map(({ path, fd }) => mapFile(path, fd));
    const places = new Map(this.#files.map(({ path, address }) => [path, address]));
    this.#spaces = tasks.map(({ label, uffd, runs }) => {
      const pending = runs.map(({ address, bytes, file, offset }) => ({
        address,
        bytes,
        place: (places.get(file) ?? 0) + offset,
      }));
      return new AddressSpace(label, uffd, new PendingPages(pending));
    });
  }

  /** Tells the restore that its tasks may run. */
  announce(socket: number): void {
    this.#notice = new FillNotice(this.#pids);
    trySend(socket, new Uint8Array(1));
  }

  fill(socket: number): void {
    const started = monotonicNs();
    this.#waitForRestore(socket);
    const [root] = this.#pids;
    if (root !== undefined) this.guard.follow(root, this.#log);
    let [bytes, faults, isEnded] = [0, 0, false];
    for (let turn = 0; this.#spaces.length > 0; turn++) {
      this.#serve();
      this.#spaces[turn % this.#spaces.length]?.advance();
      for (const space of this.#spaces.filter(({ isDone }) => isDone)) {
        bytes += space.bytesCopied;
        faults += space.faults;
        isEnded ||= space.isGone && !space.isChild;
        this.#finish(space);
      }
      if (turn % GUARD_TURNS === 0) this.#keepGuard();
    }
    const ms = Math.round((monotonicNs() - started) / 1e6);
    const what = isEnded ? 'the tasks have ended before their memory was there' : 'the memory is complete';
    this.#log.info(`${what}: ${bytes / 1024} KiB in ${ms} ms, ${faults} faults`);
  }

  /** Nothing is missing any more. Whoever waits for that, as a dump does, finds nothing of ours in the tree's cgroup. */
  end(): void {
    this.guard.end();
    this.#notice?.[Symbol.dispose]();
    for (const { address, bytes } of this.#files) if (bytes > 0) munmap(address, bytes);
  }

  /**
   * Until the restore has ended only who waits is served: the restore and the tasks that it lets run need the cores more. It
   * closes its end of the socket then.
   */
  #waitForRestore(socket: number): void {
    const end = monotonicNs() + RESTORE_MS * 1e6;
    for (let isEnding = false; !isEnding; ) {
      const ms = Math.ceil((end - monotonicNs()) / 1e6);
      isEnding = ms <= 0 || this.#serve(ms, socket);
    }
    close(socket);
  }

  /** Whoever waits, in any address space. True when there is something to read at the socket. */
  #serve(timeoutMs = 0, socket = -1): boolean {
    // struct pollfd: a descriptor, which is left out when it is negative, then events and what there is of them.
    const pollfds = new Int32Array(this.#spaces.length * 2 + 2);
    this.#spaces.forEach(({ uffd }, i) => {
      pollfds[2 * i] = uffd;
      pollfds[2 * i + 1] = POLLIN;
    });
    const last = pollfds.length - 2;
    pollfds[last] = socket;
    pollfds[last + 1] = POLLIN;
    if (syscall(SYS.poll, pollfds, pollfds.length / 2, timeoutMs) <= 0) return false;
    const isReady = (index: number) => (pollfds[index + 1] ?? 0) >> 16 !== 0;
    const ready = this.#spaces.filter((_, i) => isReady(2 * i));
    for (const space of ready) this.#spaces.push(...space.serve());
    return isReady(last);
  }

  #finish(space: AddressSpace): void {
    space[Symbol.dispose]();
    this.#spaces = this.#spaces.filter((other) => other !== space);
    this.#log.debug(`${space.label}: ${space.bytesCopied / 1024} KiB, ${space.faults} faults`);
  }

  #keepGuard(): void {
    if (this.guard.isThere()) return;
    this.#log.warn('somebody has killed the guard of the memory that is being filled; there is a new one');
    this.guard = new Guard();
    this.guard.protect(this.#pidfds);
  }
}

/** So long the rest of a restore may take, which is a millisecond or two unless scripts run. */
const RESTORE_MS = 20;

/** How often it is looked whether the guard is there: every millisecond or so. */
const GUARD_TURNS = 16;

interface MappedFile {
  readonly path: string;
  readonly address: number;
  readonly bytes: number;
}

/** Maps a pages file. */
function mapFile(path: string, fd: number): MappedFile {
  const bytes = fstat(fd).st_size;
  const address = bytes === 0 ? 0 : mmap(0, bytes, PROT_READ, MAP_SHARED, fd, 0);
  close(fd);
  return { path, address, bytes };
}
