/**
 * The guard of a filler. When the last descriptor of a userfaultfd is closed, the kernel gives zeros for all pages that are
 * still missing: a filler that is killed must not take its descriptors along. So there is a second process with the same
 * table of descriptors (CLONE_FILES), also for those that a fork of a task adds. It is a fork of the filler in which only
 * the agent runs, waits for the end of the filler, and executes criu, which ends the tree (end-tree.ts); threads that miss a
 * page sleep until then. A filler that has done its work kills the guard. It is made before the tree is there, since a fork
 * takes a millisecond; memory that both share tells it what is left to do when criu can't be executed.
 *
 * Both can only be killed one after the other, since the filler makes a new guard when the old one is gone. The guard has
 * a name and a session of its own, and the cgroup of the tree, so nobody hits both by accident; what ends the whole cgroup
 * of the tree ends the tree too.
 */

import { Program } from '../agent/program.ts';
import { assert } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { errnoName } from '../linux/abi/errno.ts';
import { EPOLLIN as POLLIN } from '../linux/abi/event.ts';
import { F_SETFD, O_WRONLY } from '../linux/abi/fcntl.ts';
import { MAP_ANONYMOUS, MAP_NORESERVE, MAP_SHARED, PROT_READ, PROT_WRITE } from '../linux/abi/mman.ts';
import { PR_SET_NAME } from '../linux/abi/prctl.ts';
import { CLONE_FILES } from '../linux/abi/sched.ts';
import { SIG_SETMASK, SIGKILL } from '../linux/abi/signal.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { WNOHANG } from '../linux/abi/wait.ts';
import { addressOf, check, cString, memoryAt, syscall } from '../linux/kernel.ts';
import { close, fcntl, tryReadFile, tryWriteFile } from '../linux/syscalls/fs.ts';
import { mmap, munmap } from '../linux/syscalls/mm.ts';
import { getpid, kill, pidfd_open, tryWait } from '../linux/syscalls/process.ts';
import { Hierarchy } from '../resources/cgroup/hierarchy.ts';
import { OwnProgram } from '../tracee/clone-agent.ts';
import { addExec } from './filler-link.ts';

export const FILLER_NAME = 'criu-fill';
export const GUARD_NAME = 'page-guard';

/** Names this process. */
export function setName(name: string): void {
  syscall(SYS.prctl, PR_SET_NAME, cString(name));
}

/** The argument that makes criu end the tree instead of filling it; the number of a pidfd follows. */
export const END_TREE = 'end-tree';

/** Memory that filler and guard share: the guard's program, and what it does when criu can't be executed. */
const SHARED_BYTES = 16 << 20;
const LAST_RESORT_AT = 0x1000;

export class Guard {
  readonly pidfdOfFiller: number;
  readonly #pid: number;
  readonly #shared: Uint8Array;

  /** It exists before the tree does. Throws SyscallError. */
  constructor() {
    this.pidfdOfFiller = pidfd_open(getpid());
    fcntl(this.pidfdOfFiller, F_SETFD, 0);
    const flags = MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE;
    const address = mmap(0, SHARED_BYTES, PROT_READ | PROT_WRITE, flags, -1, 0);
    this.#shared = memoryAt(address, SHARED_BYTES);
    this.protect([]);
    const own = new OwnProgram(guardProgram(this.pidfdOfFiller, address + LAST_RESORT_AT), this.#shared);
    // It has a name of its own from its first moment on: whoever kills by name must not hit both.
    setName(GUARD_NAME);
    const pid = own.clone({ flags: CLONE_FILES, exitSignal: 0 });
    setName(FILLER_NAME);
    this.#pid = check('clone3', pid, 'the guard');
  }

  /** The tree has these pidfds: if criu can't be executed it is killed without it. */
  protect(pidfds: readonly number[]): void {
    const p = new Program();
    for (const pidfd of pidfds) p.call(SYS.pidfd_send_signal, pidfd, SIGKILL, 0, 0);
    const forever = p.label();
    p.place(forever);
    p.call(SYS.pause);
    p.jump(forever);
    this.#shared.set(p.assemble(addressOf(this.#shared) + LAST_RESORT_AT), LAST_RESORT_AT);
  }

  /** False when somebody has killed it. */
  isThere(): boolean {
    if (tryWait(this.#pid, WNOHANG) === undefined) return true;
    this.#letGo();
    return false;
  }

  /** Puts it into the cgroup of a task (version 2), where that is not our own. */
  follow(pid: number, log: Logger): void {
    const path = unifiedPath(pid);
    if (path === undefined || path === unifiedPath(getpid())) return;
    using hierarchy = new Hierarchy([''], undefined);
    const result = tryWriteFile(`${hierarchy.root}${path}/cgroup.procs`, String(this.#pid), O_WRONLY);
    if (result < 0) log.debug(`the guard stays in the cgroup of criu (${errnoName(-result)})`);
  }

  /** It is not needed any more. */
  end(): void {
    kill(this.#pid, SIGKILL);
    tryWait(this.#pid);
    this.#letGo();
  }

  #letGo(): void {
    close(this.pidfdOfFiller);
    munmap(addressOf(this.#shared), SHARED_BYTES);
  }
}

function guardProgram(filler: number, lastResort: number): Program {
  const p = new Program();
  p.call(SYS.setsid);
  // struct pollfd: fd, then events in the lower half of a word.
  p.call(SYS.poll, p.data(new Uint8Array(Int32Array.of(filler, POLLIN).buffer)), 1, -1);
  p.call(SYS.rt_sigprocmask, SIG_SETMASK, p.words(0), 0, 8);
  addExec(p, [END_TREE, String(filler)]);
  p.jump(lastResort);
  assert(p.byteLength <= LAST_RESORT_AT, 'the program of the guard has room');
  return p;
}

function unifiedPath(pid: number): string | undefined {
  const text = tryReadFile(`/proc/${pid}/cgroup`);
  return typeof text === 'string' ? /^0::(.*)$/m.exec(text)?.[1] : undefined;
}
