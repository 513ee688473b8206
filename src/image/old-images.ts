/**
 * Images of older releases of CRIU, which kept parts of a task and each kind of open file in files of their own (criu 4.2:
 * criu/image-desc.c). They are put where newer ones have them, so that nobody else has to know: the signal actions of
 * `sigacts-12.img` into `core-12.img`, the sockets of `unixsk.img` into the list of `files.img`.
 *
 * What a newer image has itself wins; the old file is then not even looked at.
 */
import type { CoreEntry } from './gen/core.ts';
import type { CredsEntry } from './gen/creds.ts';
import { FdTypes, type FileEntry } from './gen/fdinfo.ts';
import type { MmEntry } from './gen/mm.ts';
import type { TaskTimersEntry } from './gen/timer.ts';
import { ImageError } from './image-error.ts';
import { imageFileName } from './image-kinds.ts';
import type { ImageReader } from './image-reader.ts';

/** Kernels before 4.3 showed this internal bit of a watch in fdinfo, and older releases of CRIU kept it. */
const FS_EVENT_ON_CHILD = 0x0800_0000;

/** All open files: `files.img`, or else the images of all kinds. */
export function readFiles(images: ImageReader): FileEntry[] {
  return images.tryRead('files') ?? readOldFiles(images);
}

/** Where there is no `files.img`. */
export const readOldFiles = (images: ImageReader): FileEntry[] => withNumberedNames(readAllKinds(images));

/** The name of a FIFO or a terminal had the number of the file itself; now every entry has a number of its own. */
function withNumberedNames(files: readonly FileEntry[]): FileEntry[] {
  const names = new Map(files.flatMap((file) => (file.reg === undefined ? [] : [[file.id, file.reg]])));
  let last = files.reduce((max, { id }) => Math.max(max, id), 0);
  const isName = new Set<number>();
  const numbered = files.flatMap((file): FileEntry[] => {
    const { id, fifo, tty } = file;
    const reg = names.get(id);
    const isNumbered = (fifo ?? tty)?.regf_id !== undefined;
    if (reg === undefined || isNumbered || (fifo === undefined && tty === undefined)) return [file];
    isName.add(id);
    const regf_id = ++last;
    const name = { type: FdTypes.REG, id: regf_id, reg: { ...reg, id: regf_id } };
    const named = fifo === undefined ? { tty: { ...tty, regf_id } } : { fifo: { ...fifo, regf_id } };
    return [name, { ...file, ...named } as FileEntry];
  });
  return numbered.filter(({ id, reg }) => reg === undefined || !isName.has(id));
}

function readAllKinds(images: ImageReader): FileEntry[] {
  const list = <T extends { id: number }>(
    entries: readonly T[] | undefined,
    type: FdTypes,
    field: Exclude<keyof FileEntry, 'id' | 'type'>,
  ): FileEntry[] => (entries ?? []).map((entry) => ({ type, id: entry.id, [field]: entry }));
  return [
    ...list(images.tryRead('reg-files'), FdTypes.REG, 'reg'),
    ...list(images.tryRead('ext-files'), FdTypes.EXT, 'ext'),
    ...list(images.tryRead('ns-files'), FdTypes.NS, 'nsf'),
    ...list(images.tryRead('unixsk'), FdTypes.UNIXSK, 'usk'),
    ...list(images.tryRead('inetsk'), FdTypes.INETSK, 'isk'),
    ...list(images.tryRead('packetsk'), FdTypes.PACKETSK, 'psk'),
    ...list(images.tryRead('netlinksk'), FdTypes.NETLINKSK, 'nlsk'),
    ...list(images.tryRead('pipes'), FdTypes.PIPE, 'pipe'),
    ...list(images.tryRead('fifo'), FdTypes.FIFO, 'fifo'),
    ...list(images.tryRead('eventfd'), FdTypes.EVENTFD, 'efd'),
    ...list(withEpollTargets(images), FdTypes.EVENTPOLL, 'epfd'),
    ...list(images.tryRead('signalfd'), FdTypes.SIGNALFD, 'sgfd'),
    ...list(images.tryRead('timerfd'), FdTypes.TIMERFD, 'tfd'),
    ...list(withInotifyWatches(images), FdTypes.INOTIFY, 'ify'),
    ...list(withFanotifyMarks(images), FdTypes.FANOTIFY, 'ffy'),
    ...list(images.tryRead('tty'), FdTypes.TTY, 'tty'),
    ...list(images.tryRead('tunfile'), FdTypes.TUNF, 'tunf'),
    ...list(images.tryRead('bpfmap-file'), FdTypes.BPFMAP, 'bpf'),
    ...list(images.tryRead('pidfd'), FdTypes.PIDFD, 'pidfd'),
  ];
}

function withEpollTargets(images: ImageReader) {
  const files = images.tryRead('eventpoll');
  if (files === undefined) return undefined;
  attach('eventpoll-tfd', files, images.tryRead('eventpoll-tfd'), (file) => file.tfd);
  return files;
}

function withInotifyWatches(images: ImageReader) {
  const files = images.tryRead('inotify');
  if (files === undefined) return undefined;
  const watches = images.tryRead('inotify-wd')?.map((watch) => ({ ...watch, mask: clearBit(watch.mask) }));
  attach('inotify-wd', files, watches, (file) => file.wd);
  return files;
}

function clearBit(mask: number): number {
  return (mask & ~FS_EVENT_ON_CHILD) >>> 0;
}

function withFanotifyMarks(images: ImageReader) {
  const files = images.tryRead('fanotify');
  if (files === undefined) return undefined;
  attach('fanotify-mark', files, images.tryRead('fanotify-mark'), (file) => file.mark);
  return files;
}

/** Puts the parts that were in an image of their own into the files with the same id. */
function attach<File extends { id: number }, Part extends { id: number }>(
  kind: 'eventpoll-tfd' | 'inotify-wd' | 'fanotify-mark',
  files: readonly File[],
  parts: readonly Part[] | undefined,
  listOf: (file: File) => Part[],
): void {
  const byId = new Map(files.map((file) => [file.id, file]));
  for (const [entry, part] of (parts ?? []).entries()) {
    const file = byId.get(part.id);
    if (file === undefined) {
      throw new ImageError(
        { file: imageFileName(kind), entry },
        'id',
        `it belongs to file ${part.id}, which is not there`,
      );
    }
    listOf(file).push(part);
  }
}

/**
 * Whether a task was dumped by an older release: newer ones have signal actions in its core. They were the last to move
 * there, so with them all the rest is there too.
 */
export function isOldTask(core: CoreEntry): boolean {
  return core.tc !== undefined && core.tc.sigactions.length === 0;
}

/** The core of the leader of an old task, with what was kept beside it. */
export function completeLeaderCore(images: ImageReader, pid: number, core: CoreEntry): CoreEntry {
  const whole = completeThreadCore(images, pid, pid, core);
  const { tc } = core;
  if (tc === undefined) return whole;
  const sigactions = images.tryRead('sigacts', pid) ?? [];
  const rlimits = tc.rlimits ?? wrapped(images.tryRead('rlimit', pid), (list) => ({ rlimits: list }));
  const signals_s = tc.signals_s ?? wrapped(images.tryRead('signal-s', pid), (signals) => ({ signals }));
  const timers = tc.timers ?? readOldTimers(images, pid);
  return { ...whole, tc: { ...tc, sigactions, rlimits, signals_s, timers } };
}

/** The core of a thread of an old task, with what was kept beside it. Credentials were kept for the whole process. */
export function completeThreadCore(images: ImageReader, pid: number, tid: number, core: CoreEntry): CoreEntry {
  const thread = core.thread_core;
  if (thread === undefined) return core;
  // The file is looked for only when it is needed.
  const creds = thread.creds ?? readCreds(images, pid);
  const signals_p = thread.signals_p ?? wrapped(images.tryRead('signal-p', tid), (signals) => ({ signals }));
  return { ...core, thread_core: { ...thread, creds, signals_p } };
}

/** Filters of all threads, which older releases kept in the core of the leader. */
export function withOldSeccomp(core: CoreEntry, leader: CoreEntry): CoreEntry {
  const { old_seccomp_mode, old_seccomp_filter } = leader.tc ?? {};
  if (core.thread_core === undefined || (old_seccomp_mode === undefined && old_seccomp_filter === undefined))
    return core;
  const seccomp_mode = core.thread_core.seccomp_mode ?? old_seccomp_mode;
  const seccomp_filter = core.thread_core.seccomp_filter ?? old_seccomp_filter;
  return { ...core, thread_core: { ...core.thread_core, seccomp_mode, seccomp_filter } };
}

/** The mappings, which older releases kept apart. */
export function completeMm(images: ImageReader, pid: number, mm: MmEntry): MmEntry {
  return mm.vmas.length > 0 ? mm : { ...mm, vmas: images.tryRead('vmas', pid) ?? [] };
}

function readOldTimers(images: ImageReader, pid: number): TaskTimersEntry | undefined {
  const itimers = images.tryRead('itimers', pid);
  const posix = images.tryRead('posix-timers', pid);
  if (itimers === undefined && posix === undefined) return undefined;
  const none = { isec: 0, iusec: 0, vsec: 0, vusec: 0 };
  const [real = none, virt = none, prof = none] = itimers ?? [];
  if (itimers !== undefined && itimers.length !== 3) {
    const problem = `three timers are expected, but ${itimers.length} are there`;
    throw new ImageError({ file: imageFileName('itimers', pid) }, '', problem);
  }
  return { real, virt, prof, posix: posix ?? [] };
}

function readCreds(images: ImageReader, pid: number): CredsEntry | undefined {
  const entries = images.tryRead('creds', pid);
  if (entries !== undefined && entries.length !== 1) {
    const problem = `one entry is expected, but ${entries.length} are there`;
    throw new ImageError({ file: imageFileName('creds', pid) }, '', problem);
  }
  return entries?.[0];
}

function wrapped<T, W>(value: T | undefined, wrap: (value: T) => W): W | undefined {
  return value === undefined ? undefined : wrap(value);
}
