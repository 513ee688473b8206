/**
 * Events that nobody has read. They cannot be put back, so a dump warns that they are lost, as CRIU does. What criu
 * itself causes while it restores (files are opened, mapped and closed) is taken out before the tree runs.
 */

import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { FIONREAD } from '../../../linux/abi/tty.ts';
import { syscall } from '../../../linux/kernel.ts';
import { close, ioctl } from '../../../linux/syscalls/fs.ts';
import { tryPidfdGetfd } from '../../../linux/syscalls/process.ts';
import type { KindDump, OpenFile, RestoreContext, RestoreHome } from '../file-kind.ts';

const EVENTS_BYTES = 64 * 1024;
const count = new Int32Array(1);

/** Whether there are events; FIONREAD does not take any. */
const hasEvents = (fd: number) => ioctl(fd, FIONREAD, count) === 0 && (count[0] ?? 0) > 0;

/** Warns when events get lost. */
export function warnOfEvents(file: OpenFile, dump: KindDump): void {
  if (hasEvents(file.localFd)) dump.warn(`${file.object}: events that it has not read yet are not saved`);
}

/** A queue of a task that is restored. */
interface Queue {
  readonly pid: number;
  readonly fd: number;
}

const queuesOf = (kind: string, { state }: RestoreContext): Queue[] => state(`queues of ${kind}`, () => []);

/** Notes a queue, to be emptied. One that only other tables have in the end cannot be found. */
export function noteQueue(kind: string, fd: number, { task, table, context }: RestoreHome): void {
  if (fd < table.parkingStart) queuesOf(kind, context).push({ pid: task.pid, fd });
}

/** Takes out all events of a kind's queues; no task runs. `fdsIn` finds descriptors in what was read, which are closed. */
export function emptyQueues(kind: string, context: RestoreContext, fdsIn: (events: Uint8Array) => number[]): void {
  for (const { pid, fd } of queuesOf(kind, context).splice(0)) {
    const pidfd = syscall(SYS.pidfd_open, pid, 0);
    if (pidfd < 0) continue;
    const queue = tryPidfdGetfd(pidfd, fd);
    close(pidfd);
    if (queue < 0) continue;
    empty(queue, fdsIn);
    close(queue);
  }
}

function empty(queue: number, fdsIn: (events: Uint8Array) => number[]): void {
  const events = new Uint8Array(EVENTS_BYTES);
  while (hasEvents(queue)) {
    const got = syscall(SYS.read, queue, events, events.length);
    if (got <= 0) return;
    for (const fd of fdsIn(events.subarray(0, got))) close(fd);
  }
}
