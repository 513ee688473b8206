/**
 * fanotify (man 7 fanotify): marks on inodes and mounts.
 *
 * Marks on whole file systems and mount namespaces are not in the image format, and groups that have to be asked for
 * permission would stop criu itself: both are refused. Lost: events that nobody has read (the dump warns).
 */
import type { CriuErrorFields } from '../../../base/errors.ts';
import { FdTypes } from '../../../image/gen/fdinfo.ts';
import { type FanotifyFileEntry, type FanotifyMarkEntry, MarkType } from '../../../image/gen/fsnotify.ts';
import {
  FAN_ACCESS_PERM,
  FAN_CLOEXEC,
  FAN_MARK_ADD,
  FAN_MARK_DONT_FOLLOW,
  FAN_MARK_EVICTABLE,
  FAN_MARK_IGNORE,
  FAN_MARK_IGNORED_MASK,
  FAN_MARK_IGNORED_SURV_MODIFY,
  FAN_MARK_MOUNT,
  FAN_NONBLOCK,
  FAN_OPEN_EXEC_PERM,
  FAN_OPEN_PERM,
  FAN_PRE_ACCESS,
} from '../../../linux/abi/event.ts';
import { AT_FDCWD, O_NONBLOCK } from '../../../linux/abi/fcntl.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { readFile } from '../../../linux/syscalls/fs.ts';
import type { FanotifyMark } from '../../../proc/fdinfo-types.ts';
import { parseMountinfo } from '../../../proc/mountinfo.ts';
import type {
  DumpResult,
  FileKind,
  KindDump,
  OpenFile,
  RestoreContext,
  RestoreHome,
  Unsupported,
} from '../file-kind.ts';
import { filesOfType } from '../files-of-type.ts';
import { describeWatched, finishWatched } from '../watched/describe.ts';
import { deviceOf } from '../watched/mount-anchors.ts';
import { emptyQueues, noteQueue, warnOfEvents } from '../watched/queues.ts';
import { checkWatched, holdWatched, nameOf, releaseWatched, type WatchedEntry } from '../watched/restore.ts';

export const fanotify: FileKind = {
  type: FdTypes.FANOTIFY,

  recognise: (file) => file.link === 'anon_inode:[fanotify]',

  dump: (file, id, dump) => dumpFanotify(file, id, dump),

  afterAll: (dump) => finishWatched(dump),

  check: (entry, context) => (entry.ffy === undefined ? [] : checkMarks(entry.ffy, context)),

  prepare(context) {
    const marks = filesOfType(context.tree.files, FdTypes.FANOTIFY).flatMap(({ ffy }) => ffy?.mark ?? []);
    holdWatched(marks.flatMap(watchedBy), context);
  },

  settle: (context) => emptyQueues('fanotify', context, fdsInEvents),

  release: (context) => releaseWatched(context),

  create([entry], home) {
    if (entry?.ffy !== undefined) createGroup(entry.ffy, home);
  },

  finish(entry, fd, home) {
    const marks = entry.ffy?.mark ?? [];
    // The kernel shows the last one first.
    for (const mark of [...marks].reverse()) addMark(mark, fd, home);
    if (marks.length > 0) noteQueue('fanotify', fd, home);
  },

  fown: (entry) => entry.ffy?.fown,
};

const PERMISSION_EVENTS = FAN_OPEN_PERM | FAN_ACCESS_PERM | FAN_OPEN_EXEC_PERM | FAN_PRE_ACCESS;

function dumpFanotify(file: OpenFile, id: number, dump: KindDump): DumpResult {
  const info = file.fdinfo.fanotify;
  if (info === undefined) return { unsupported: 'the kernel does not show its marks' };
  warnOfEvents(file, dump);
  const mark: FanotifyMarkEntry[] = [];
  for (const seen of info.marks) {
    const entry = describeMark(seen, file, dump);
    if ('unsupported' in entry) return entry;
    mark.push(entry);
  }
  const { flags, fown } = file;
  const ffy = { id, flags, fown, faflags: info.flags, evflags: info.eventFlags, mark };
  return { type: FdTypes.FANOTIFY, id, ffy };
}

function describeMark(mark: FanotifyMark, file: OpenFile, dump: KindDump): FanotifyMarkEntry | Unsupported {
  if ((mark.mask & PERMISSION_EVENTS) !== 0) {
    return { unsupported: 'it is asked for permission to open or read files, and would stop criu itself' };
  }
  // The id is what CRIU writes: it was needed when marks had an image of their own.
  const base = { id: 0, mflags: mark.flags, mask: mark.mask, ignored_mask: mark.ignoredMask };
  switch (mark.on) {
    case 'inode': {
      const f_handle = describeWatched(mark, file, dump);
      if ('unsupported' in f_handle) return f_handle;
      return { ...base, type: MarkType.INODE, s_dev: mark.sdev, ie: { i_ino: mark.ino, f_handle } };
    }
    case 'mount':
      return describeMountMark(mark.mntId, base, file, dump);
    case 'filesystem':
      return { unsupported: 'it has a mark on a whole file system, which the images cannot say' };
    case 'mount-namespace':
      return { unsupported: 'it has a mark on a mount namespace, which the images cannot say' };
  }
}

type MarkBase = Pick<FanotifyMarkEntry, 'id' | 'mflags' | 'mask' | 'ignored_mask'>;

function describeMountMark(
  mntId: number,
  base: MarkBase,
  { task }: OpenFile,
  { options }: KindDump,
): FanotifyMarkEntry | Unsupported {
  const path = `/proc/${task.pid}/mountinfo`;
  const mount = parseMountinfo(readFile(path), path).find(({ id }) => id === mntId);
  if (mount === undefined) return { unsupported: `it has a mark on mount ${mntId}, which the task does not see` };
  const me = options.hasOwnMounts ? { mnt_id: mntId } : { mnt_id: mntId, path: mount.mountPoint };
  return { ...base, type: MarkType.MOUNT, s_dev: deviceOf(mount), me };
}

function watchedBy({ s_dev, ie }: FanotifyMarkEntry): WatchedEntry[] {
  return ie === undefined ? [] : [{ device: s_dev, ino: ie.i_ino, handle: ie.f_handle }];
}

function checkMarks({ id, mark }: FanotifyFileEntry, context: RestoreContext): CriuErrorFields[] {
  const object = `fanotify (file ${id})`;
  return mark.flatMap((one) => {
    const [watched] = watchedBy(one);
    if (one.type === MarkType.INODE && watched !== undefined) return checkWatched(watched, object, context);
    const path = mountPath(one);
    if (path === undefined)
      return [{ object, action: 'cannot be restored', why: 'the image does not say what it marks' }];
    if (typeof context.system.stat(path, true) !== 'number') return [];
    return [{ object, action: 'cannot be restored', why: `it marks the mount at ${path}, which does not exist` }];
  });
}

const mountPath = ({ me }: FanotifyMarkEntry) =>
  me?.path === undefined ? undefined : `/${me.path.replace(/^\//, '')}`;

function createGroup({ id, flags, faflags, evflags }: FanotifyFileEntry, home: RestoreHome): void {
  const cloexec = home.cloexec(id) === 0 ? 0 : FAN_CLOEXEC;
  const nonblock = (flags & O_NONBLOCK) === 0 ? 0 : FAN_NONBLOCK;
  const init = (faflags & ~(FAN_CLOEXEC | FAN_NONBLOCK)) | cloexec | nonblock;
  home.made(id, home.table.open('make a fanotify group', SYS.fanotify_init, init, evflags), cloexec !== 0);
}

function addMark(mark: FanotifyMarkEntry, fd: number, { table, context }: RestoreHome): void {
  const [watched] = watchedBy(mark);
  const mounted = mountPath(mark);
  const isMount = mark.type === MarkType.MOUNT;
  const name =
    isMount || watched === undefined ? { path: { text: mounted ?? '' }, isLink: true } : nameOf(watched, context);
  const kind = FAN_MARK_ADD | (isMount ? FAN_MARK_MOUNT : 0) | (name.isLink ? 0 : FAN_MARK_DONT_FOLLOW);
  const flags = kind | (mark.mflags & FAN_MARK_EVICTABLE);
  const set = (because: string, how: number, mask: number) =>
    table.do(because, SYS.fanotify_mark, fd, flags | how, mask, AT_FDCWD, name.path);
  if (mark.mask !== 0) set('mark for fanotify', 0, mark.mask);
  if (mark.ignored_mask === 0) return;
  // Both say that the mask is one of ignored events; FAN_MARK_IGNORE (since Linux 6.0) also takes directories.
  const ignore = (mark.mflags & FAN_MARK_IGNORE) === 0 ? FAN_MARK_IGNORED_MASK : FAN_MARK_IGNORE;
  set('ignore events for fanotify', ignore | (mark.mflags & FAN_MARK_IGNORED_SURV_MODIFY), mark.ignored_mask);
}

/** Size of struct fanotify_event_metadata, and where its descriptor is. */
const EVENT_BYTES = 24;
const EVENT_FD = 16;

/** Descriptors of the files that events are about. */
export function fdsInEvents(events: Uint8Array): number[] {
  const view = new DataView(events.buffer, events.byteOffset, events.length);
  const fds: number[] = [];
  for (let at = 0; at + EVENT_BYTES <= events.length; at += Math.max(view.getUint32(at, true), EVENT_BYTES)) {
    const fd = view.getInt32(at + EVENT_FD, true);
    if (fd >= 0) fds.push(fd);
  }
  return fds;
}
