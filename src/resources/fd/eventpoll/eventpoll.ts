/**
 * epoll (man 7 epoll): a set of watched files, each with the descriptor number it was added by, events and data.
 *
 * Files are watched, not descriptors: the number may mean another file by now, or none, while the watched file is still
 * open somewhere (a duplicate, another task, in flight). The kernel tells with kcmp(KCMP_EPOLL_TFD) which one it is.
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
import type { DescriptorOf, FileKind, KindDump, RestoreHome } from '../file-kind.ts';

export const eventpoll: FileKind = {
  type: FdTypes.EVENTPOLL,

  recognise: (file) => file.link === 'anon_inode:[eventpoll]',

  dump(file, id) {
    const tfd = file.fdinfo.epoll.map(describeTarget);
    return { type: FdTypes.EVENTPOLL, id, epfd: { id, flags: file.flags, fown: file.fown, tfd } };
  },

  complete(entry, holder, task, dump) {
    if (entry.epfd !== undefined) resolveTargets(entry.epfd, holder, task, dump);
  },

  create([entry], home) {
    if (entry?.epfd === undefined) return;
    const { id } = entry.epfd;
    const cloexec = home.cloexec(id);
    home.made(id, home.table.open('make an epoll', SYS.epoll_create1, cloexec), cloexec !== 0);
  },

  needsAtLast: ({ epfd }) => epfd?.tfd.flatMap(({ file_id_ext }) => file_id_ext ?? []) ?? [],

  finish(entry, fd, home) {
    for (const target of entry.epfd?.tfd ?? []) planTarget(target, fd, home);
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

/** Makes sure that every number means the watched file; says which file it is where that is not so. */
function resolveTargets(entry: EventpollFileEntry, holder: DescriptorOf, task: FrozenTask, dump: KindDump): void {
  const offsets = new Map<number, number>();
  for (const target of entry.tfd) {
    // Several files can have been added by the same number; the kernel counts them in the order it shows them.
    const number = target.tfd;
    const toff = offsets.get(number) ?? 0;
    offsets.set(number, toff + 1);
    const isIt = ({ pid, fd }: DescriptorOf) =>
      isEpollTarget(pid, fd, holder.pid, { efd: holder.fd, tfd: number, toff });
    const isOfTask = (fd: number) => isIt({ pid: task.pid, fd });
    const isInFlight = holder.pid !== task.pid;
    if (!isInFlight && dump.idOf(task, number) !== undefined && isOfTask(number)) continue;
    const other = [number, ...dump.fdsOf(task)].find(isOfTask);
    const id = other === undefined ? dump.findId(isIt) : dump.idOf(task, other);
    if (id === undefined) {
      dump.addProblem(lostTarget(holder.fd, number, task));
      continue;
    }
    if (other !== undefined && other !== number) {
      target.tfd = other;
      target.added_as_ext = number;
    }
    // Who makes an epoll in flight may have other numbers than its receiver.
    if (other === undefined || isInFlight) target.file_id_ext = id;
  }
}

function lostTarget(epollFd: number, tfd: number, task: FrozenTask) {
  return {
    object: `fd ${epollFd} of ${task.label} (anon_inode:[eventpoll])`,
    action: 'cannot be dumped',
    why: `it watches a file that was added as fd ${tfd}, and no task of the tree has a descriptor of that file any more`,
    remedy: 'remove the file from the epoll set (EPOLL_CTL_DEL) before closing it',
  };
}

/** Plans watching a file again, by the number it was added by when that is free: epoll tells files by it as well. */
function planTarget(entry: EventpollTfdEntry, epoll: number, { table, fdOf }: RestoreHome): void {
  const { tfd, events, data, file_id_ext, added_as_ext } = entry;
  const bytes = new Uint8Array(EPOLL_EVENT_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, events, true);
  view.setBigUint64(4, data, true);
  const add = (fd: number) =>
    table.do(`watch descriptor ${fd} by epoll`, SYS.epoll_ctl, epoll, EPOLL_CTL_ADD, fd, { bytes });
  const fd = file_id_ext === undefined ? tfd : fdOf(file_id_ext);
  const number = added_as_ext ?? tfd;
  if (number === fd || table.has(number)) {
    add(fd);
    return;
  }
  table.dup(fd, { fd: number, isCloexec: true });
  add(number);
  table.close(number);
}
