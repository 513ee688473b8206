/**
 * What a dump holds in its hands: the frozen tree, as seen from outside. Everything here was read while the tasks stood
 * still; nothing in it changes afterwards.
 */

import type { SyscallDispatchExt } from '../image/gen/core.ts';
import type { RseqEntry } from '../image/gen/rseq.ts';
import type { Stat } from '../proc/stat.ts';
import type { Status } from '../proc/status.ts';
import type { GuestThread } from '../tracee/guest-thread.ts';

/** A stopped thread. Its registers are as they were at the stop (before any restart of an interrupted system call). */
export interface FrozenThread extends GuestThread {
  /** As parsed from /proc/PID/task/TID/status. */
  readonly status: Status;
  /** The XSAVE area, as PTRACE_GETREGSET gives it. Threads in which it is the same have the same array. */
  readonly xstate: Uint8Array;
  /** Undefined when the kernel can't tell. */
  readonly rseq: RseqEntry | undefined;
  /** When it is there, it must be off while an agent runs in the thread: see `writeSyscallDispatch`. */
  readonly dispatch: SyscallDispatchExt | undefined;
  /** The text of /proc/PID/task/TID/cgroup. */
  readonly cgroup: string;
  /** Undefined when the thread has to be asked for all. */
  readonly alike: AlikeThread | undefined;
}

/** What is known of a thread without asking it: see listed-threads.ts. */
export interface AlikeThread {
  /** It would give the same answers, but for what follows. */
  readonly example: FrozenThread;
  /** What the thread has of its own, in the places THREAD_AT from `start` on. */
  readonly words: Uint32Array;
  readonly start: number;
}

/** A task that lives: its threads are all stopped by us. */
export interface FrozenTask {
  readonly kind: 'task';
  readonly pid: number;
  readonly ppid: number;
  readonly pgid: number;
  readonly sid: number;
  /** The thread group leader first. */
  readonly threads: readonly FrozenThread[];
  readonly leader: FrozenThread;
  /** As parsed from /proc/PID/stat. */
  readonly stat: Stat;
  /** A descriptor of ours for the task (pidfd_open). */
  readonly pidfd: number;
  /** Signal of the job-control stop it was in when we came; undefined when it was running. */
  readonly stopSignal: number | undefined;
  /** Zombies that dumps which were killed have left (see twins.ts): children, but not of the tree. */
  readonly deadTwins: readonly number[];
  /** "task 1234 'nginx'", for messages. */
  readonly label: string;
}

/** A task that has died and waits for its parent. */
export interface FrozenZombie {
  readonly kind: 'zombie';
  readonly pid: number;
  readonly ppid: number;
  readonly pgid: number;
  readonly sid: number;
  /** Wait status, as /proc/PID/stat field 52 has it. */
  readonly exitCode: number;
  readonly comm: string;
  readonly label: string;
}

/** Parents before children; the root first. */
export interface FrozenTree {
  readonly root: FrozenTask;
  readonly members: readonly (FrozenTask | FrozenZombie)[];
  /** Only the living ones. */
  readonly tasks: readonly FrozenTask[];
}

/** The name (comm) of copy-on-write twins. */
export const TWIN_NAME = 'criu-twin';
