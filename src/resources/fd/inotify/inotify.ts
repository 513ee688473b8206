/**
 * inotify (man 7 inotify): watches with their numbers, files and masks.
 *
 * A watch gets its number by ioctl(INOTIFY_IOC_SETNEXTWD) (since Linux 4.18). Lost: events that nobody has read (the
 * dump warns), and numbers of watches that were removed: they may be used again.
 */
import type { CriuErrorFields } from '../../../base/errors.ts';
import { FdTypes } from '../../../image/gen/fdinfo.ts';
import type { InotifyFileEntry, InotifyWdEntry } from '../../../image/gen/fsnotify.ts';
import {
  IN_ALL_EVENTS,
  IN_DONT_FOLLOW,
  IN_EXCL_UNLINK,
  IN_ONESHOT,
  INOTIFY_IOC_SETNEXTWD,
} from '../../../linux/abi/event.ts';
import { O_NONBLOCK } from '../../../linux/abi/fcntl.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import type { DumpResult, FileKind, KindDump, OpenFile, RestoreContext, RestoreHome } from '../file-kind.ts';
import { filesOfType } from '../files-of-type.ts';
import { describeWatched, finishWatched } from '../watched/describe.ts';
import { emptyQueues, noteQueue, warnOfEvents } from '../watched/queues.ts';
import { checkWatched, holdWatched, nameOf, releaseWatched, type WatchedEntry } from '../watched/restore.ts';

export const inotify: FileKind = {
  type: FdTypes.INOTIFY,

  recognise: (file) => file.link === 'anon_inode:inotify',

  dump: (file, id, dump) => dumpInotify(file, id, dump),

  afterAll: (dump) => finishWatched(dump),

  check: (entry, context) => (entry.ify === undefined ? [] : checkWatches(entry.ify, context)),

  prepare(context) {
    const entries = filesOfType(context.tree.files, FdTypes.INOTIFY).flatMap(({ ify }) => ify?.wd ?? []);
    holdWatched(entries.map(watchedBy), context);
  },

  settle: (context) => emptyQueues('inotify', context, () => []),

  release: (context) => releaseWatched(context),

  create([entry], home) {
    if (entry?.ify === undefined) return;
    const { id, flags } = entry.ify;
    const cloexec = home.cloexec(id);
    const fd = home.table.open('make an inotify', SYS.inotify_init1, cloexec | (flags & O_NONBLOCK));
    home.made(id, fd, cloexec !== 0);
  },

  finish(entry, fd, home) {
    const watches = [...(entry.ify?.wd ?? [])].sort((a, b) => a.wd - b.wd);
    for (const watch of watches) addWatch(watch, fd, home);
    if (watches.length > 0) noteQueue('inotify', fd, home);
  },

  fown: (entry) => entry.ify?.fown,
};

function dumpInotify(file: OpenFile, id: number, dump: KindDump): DumpResult {
  warnOfEvents(file, dump);
  const wd: InotifyWdEntry[] = [];
  for (const watch of file.fdinfo.inotify) {
    const f_handle = describeWatched(watch, file, dump);
    if ('unsupported' in f_handle) return f_handle;
    const { ino, mask, ignoredMask, sdev } = watch;
    // The id is what CRIU writes: it was needed when watches had an image of their own.
    wd.push({ id: 0, i_ino: ino, mask, ignored_mask: ignoredMask, s_dev: sdev, wd: watch.wd, f_handle });
  }
  return { type: FdTypes.INOTIFY, id, ify: { id, flags: file.flags, fown: file.fown, wd } };
}

const watchedBy = ({ s_dev, i_ino, f_handle }: InotifyWdEntry): WatchedEntry => ({
  device: s_dev,
  ino: i_ino,
  handle: f_handle,
});

function checkWatches({ id, wd }: InotifyFileEntry, context: RestoreContext): CriuErrorFields[] {
  return wd.flatMap((watch) => checkWatched(watchedBy(watch), `inotify (file ${id}), watch ${watch.wd}`, context));
}

/** Bits that the kernel shows and inotify_add_watch takes; others are its own (FS_EVENT_ON_CHILD before Linux 4.3). */
const MASK = IN_ALL_EVENTS | IN_EXCL_UNLINK | IN_ONESHOT;

function addWatch(watch: InotifyWdEntry, fd: number, { table, context }: RestoreHome): void {
  const { path, isLink } = nameOf(watchedBy(watch), context);
  const mask = ((watch.mask & MASK) | (isLink ? 0 : IN_DONT_FOLLOW)) >>> 0;
  const what = `add watch ${watch.wd}${watch.f_handle.path === undefined ? '' : ` of ${watch.f_handle.path}`}`;
  table.do(`set the number of watch ${watch.wd}`, SYS.ioctl, fd, INOTIFY_IOC_SETNEXTWD, watch.wd);
  table.doExpecting(what, watch.wd, SYS.inotify_add_watch, fd, path, mask);
}
