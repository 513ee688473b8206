/**
 * The end of a tree whose memory can't be completed. A task that went on would find zeros where its data were, so all of
 * the tree is killed, with everybody it has forked. Of a descendant that cannot be found any more, since its parents are
 * gone, there is still the userfaultfd: it is killed as soon as it misses a page, until then it may live.
 */
import { assert, errorText } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { PAGE_BYTES } from '../image/pagemap.ts';
import { ERRNO } from '../linux/abi/errno.ts';
import { EPOLLIN as POLLIN } from '../linux/abi/event.ts';
import { SIGKILL } from '../linux/abi/signal.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { UFFD_EVENT_FORK, UFFD_EVENT_PAGEFAULT } from '../linux/abi/userfaultfd.ts';
import { syscall } from '../linux/kernel.ts';
import { close, tryListDirectory, tryReadlink, tryReadProc } from '../linux/syscalls/fs.ts';
import { kill } from '../linux/syscalls/process.ts';
import { tryReadMessages, tryUffdCopy } from '../linux/syscalls/userfaultfd.ts';
import { parseFdinfo } from '../proc/fdinfo.ts';
import { parseChildren } from '../proc/small.ts';

/** Our descriptors that belong to the tree: its address spaces, and its tasks. */
export interface TreeDescriptors {
  readonly uffds: readonly number[];
  readonly pidfds: readonly number[];
}

/** Finds them: the filler has no others of these kinds, but for one of itself. */
export function findDescriptors(pidfdOfFiller: number): TreeDescriptors {
  const names = tryListDirectory('/proc/self/fd');
  assert(typeof names !== 'number', '/proc is mounted');
  const fds = names.map(Number).filter((fd) => fd !== pidfdOfFiller);
  const ofKind = (link: string) => fds.filter((fd) => tryReadlink(`/proc/self/fd/${fd}`) === link);
  return { uffds: ofKind('anon_inode:[userfaultfd]'), pidfds: ofKind('anon_inode:[pidfd]') };
}

/** Whether the process of a pidfd has ended; also when that can't be known, for only its end executes us. */
export function hasEnded(pidfd: number): boolean {
  return syscall(SYS.poll, Int32Array.of(pidfd, POLLIN), 1, 0) !== 0;
}

/** Returns when no address space of the tree is left. */
export function endTree({ uffds, pidfds }: TreeDescriptors, log: Logger): void {
  const { pids, descendants } = findProcesses(pidfds, log);
  for (const pidfd of pidfds) syscall(SYS.pidfd_send_signal, pidfd, SIGKILL, 0, 0);
  for (const pid of descendants) kill(pid, SIGKILL);
  log.error(`killed ${pids.length + descendants.length} process(es): ${[...pids, ...descendants].join(' ')}`);
  let left = [...uffds];
  while (left.length > 0) {
    left = left.flatMap((uffd) => killWaiting(uffd, log));
    if (left.length > 0) syscall(SYS.poll, pollfds(left), left.length, POLL_MS);
  }
}

const POLL_MS = 100;
const pollfds = (fds: readonly number[]) => Int32Array.from(fds.flatMap((fd) => [fd, POLLIN]));

/** Whatever is wrong with /proc, the end of the tree must not fail. */
function findProcesses(pidfds: readonly number[], log: Logger): { pids: number[]; descendants: number[] } {
  try {
    const pids = pidfds.map(pidOf).filter((pid) => pid > 1);
    const all = new Set(pids);
    for (const pid of all) for (const child of childrenOf(pid)) if (child > 1) all.add(child);
    return { pids, descendants: [...all].slice(pids.length) };
  } catch (error) {
    log.error(errorText(error));
    return { pids: [], descendants: [] };
  }
}

/** −1 when it has ended. */
function pidOf(pidfd: number): number {
  const text = tryReadProc(`/proc/self/fdinfo/${pidfd}`);
  return typeof text === 'number' ? -1 : (parseFdinfo(text).pidfd?.pid ?? -1);
}

function childrenOf(pid: number): number[] {
  const tids = tryListDirectory(`/proc/${pid}/task`);
  if (typeof tids === 'number') return [];
  return tids.flatMap((tid) => {
    const text = tryReadProc(`/proc/${pid}/task/${tid}/children`);
    return typeof text === 'number' ? [] : parseChildren(text);
  });
}

/** Kills who waits for a page; lets others go on. Returns the descriptors that are left: none when the tree is gone. */
function killWaiting(uffd: number, log: Logger): number[] {
  if (!hasAddressSpace(uffd)) {
    close(uffd);
    return [];
  }
  const messages = tryReadMessages(uffd);
  const left = [uffd];
  for (const message of typeof messages === 'number' ? [] : messages) {
    if (message.event === UFFD_EVENT_FORK) left.push(message.uffd);
    if (message.event !== UFFD_EVENT_PAGEFAULT || message.tid <= 1) continue;
    kill(message.tid, SIGKILL);
    log.error(`killed thread ${message.tid}, which needs a page that is missing`);
  }
  return left;
}

/** A copy from nowhere can't succeed, but the kernel looks first whether the address space is still there. */
function hasAddressSpace(uffd: number): boolean {
  return tryUffdCopy(uffd, PROBE_ADDRESS, 0, PAGE_BYTES) !== -ERRNO.ESRCH;
}

/** Any address that a program may use. */
const PROBE_ADDRESS = 0x10_0000;
