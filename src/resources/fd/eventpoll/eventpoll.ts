/**
 * epoll (man 7 epoll): a set of watched files, each with the descriptor number it was added by, events and data.
 *
 * Files are watched, not descriptors: the number may mean another file by now, or none, while the watched file is still
 * open somewhere (a duplicate, another task). The kernel tells with kcmp(KCMP_EPOLL_TFD) which one it is.
 *
 * Lost: which files are ready. Watched files that are ready report so after the restore, also edge-triggered ones.
 */
import type { FrozenTask } from '../../../dump/frozen-tree.ts';
import type { EventpollFileEntry, EventpollTfdEntry } from '../../../image/gen/eventpoll.ts';
import { FdTypes } from '../../../image/gen/fdinfo.ts';
import { EPOLL_CTL_ADD, EPOLL_EVENT_BYTES } from '../../../linux/abi/event.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { isEpollTarget } from '../../../linux/syscalls/kcmp-epoll.ts';
import type { EpollTarget } from '../../../proc/fdinfo.ts';
import type { FileKind, KindDump } from '../file-kind.ts';

export const eventpoll: FileKind = {
  type: FdTypes.EVENTPOLL,

  recognise: (file) => file.link === 'anon_inode:[eventpoll]',

  dump(file, id) {
    const tfd = file.fdinfo.epoll.map(describeTarget);
    return { type: FdTypes.EVENTPOLL, id, epfd: { id, flags: file.flags, fown: file.fown, tfd } };
  },

  complete(entry, { fd }, task, dump) {
    if (entry.epfd !== undefined) resolveTargets(entry.epfd, fd, task, dump);
  },

  create([entry], home) {
    if (entry?.epfd === undefined) return;
    const { id } = entry.epfd;
    const cloexec = home.cloexec(id);
    home.made(id, home.table.open('make an epoll', SYS.epoll_create1, cloexec), cloexec !== 0);
  },

  finish(entry, fd, { table }) {
    for (const { tfd, events, data } of entry.epfd?.tfd ?? []) {
      const bytes = new Uint8Array(EPOLL_EVENT_BYTES);
      const view = new DataView(bytes.buffer);
      view.setUint32(0, events, true);
      view.setBigUint64(4, data, true);
      table.do(`watch descriptor ${tfd} by epoll`, SYS.epoll_ctl, fd, EPOLL_CTL_ADD, tfd, { bytes });
    }
  },

  fown: (entry) => entry.epfd?.fown,
};

/** CRIU writes 0 for the id here (it was needed when targets had an image of their own). */
function describeTarget({ tfd, events, data, pos, ino, sdev }: EpollTarget): EventpollTfdEntry {
  const entry: EventpollTfdEntry = { id: 0, tfd, events, data };
  if (sdev !== undefined) entry.dev = sdev;
  if (ino !== undefined) entry.inode = ino;
  if (pos !== undefined) entry.pos = BigInt.asUintN(64, pos);
  return entry;
}

/** Makes sure that every number means the watched file; takes another descriptor of it where that is not so. */
function resolveTargets(entry: EventpollFileEntry, epollFd: number, task: FrozenTask, dump: KindDump): void {
  const offsets = new Map<number, number>();
  for (const target of entry.tfd) {
    // Several files can have been added by the same number; the kernel counts them in the order it shows them.
    const number = target.tfd;
    const offset = offsets.get(number) ?? 0;
    offsets.set(number, offset + 1);
    const slot = { efd: epollFd, tfd: number, toff: offset };
    if (isEpollTarget(task.pid, number, slot)) continue;
    const other = dump.fdsOf(task).find((fd) => isEpollTarget(task.pid, fd, slot));
    if (other !== undefined) target.tfd = other;
    else dump.addProblem(lostTarget(epollFd, number, task));
  }
}

function lostTarget(epollFd: number, tfd: number, task: FrozenTask) {
  return {
    object: `fd ${epollFd} of ${task.label} (anon_inode:[eventpoll])`,
    action: 'cannot be dumped',
    why: `it watches a file that was added as fd ${tfd}, and the task has no descriptor of that file any more`,
    remedy: 'remove the file from the epoll set (EPOLL_CTL_DEL) before closing it',
  };
}
