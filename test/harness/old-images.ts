/**
 * Rewrites a folder of images the way older releases of CRIU spelled it: parts of a task and each kind of open file in
 * files of their own, and no common magic before that of the kind. For tests that restore such folders.
 */
import { readdirSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { FdTypes, type FileEntry } from '../../src/image/gen/fdinfo.ts';
import { detectImageKind, parseImage } from '../../src/image/image-file.ts';
import { type ContentOf, type ImageKindName, imageFileName } from '../../src/image/image-kinds.ts';
import { serializeImage } from '../../src/image/serialize-image.ts';

export function toOldSpelling(dir: string): void {
  for (const { pid, threads } of read(dir, 'pstree')) {
    const tids = [...new Set([pid, ...threads])];
    const creds = tids.map((tid) => JSON.stringify(read(dir, 'core', tid)[0]?.thread_core?.creds));
    // Only when threads have the same credentials they could be kept for the whole process.
    for (const tid of tids) splitCore(dir, tid, new Set(creds).size === 1);
  }
  for (const name of readdirSync(dir)) {
    const mm = /^mm-(\d+)\.img$/.exec(name);
    if (mm !== null) splitMm(dir, Number(mm[1]));
  }
  splitFiles(dir);
  const inventory = read(dir, 'inventory');
  for (const entry of inventory) entry.img_version = 1;
  write(dir, 'inventory', undefined, inventory);
  for (const name of readdirSync(dir)) toVersion1(join(dir, name));
}

function splitCore(dir: string, tid: number, hasSameCreds: boolean): void {
  const [core] = read(dir, 'core', tid);
  if (core === undefined) throw new Error(`core-${tid}.img is empty`);
  const { tc, thread_core } = core;
  if (hasSameCreds && thread_core?.creds !== undefined) {
    if (tc !== undefined) write(dir, 'creds', tid, [thread_core.creds]);
    thread_core.creds = undefined;
  }
  if (thread_core?.signals_p !== undefined) write(dir, 'signal-p', tid, thread_core.signals_p.signals);
  if (thread_core !== undefined) thread_core.signals_p = undefined;
  if (tc !== undefined) {
    if (tc.sigactions.length > 0) write(dir, 'sigacts', tid, tc.sigactions);
    if (tc.signals_s !== undefined) write(dir, 'signal-s', tid, tc.signals_s.signals);
    if (tc.rlimits !== undefined) write(dir, 'rlimit', tid, tc.rlimits.rlimits);
    if (tc.timers !== undefined) {
      const { real, virt, prof, posix } = tc.timers;
      write(dir, 'itimers', tid, [real, virt, prof]);
      write(dir, 'posix-timers', tid, posix);
    }
    tc.sigactions = [];
    tc.signals_s = undefined;
    tc.rlimits = undefined;
    tc.timers = undefined;
  }
  write(dir, 'core', tid, [core]);
}

function splitMm(dir: string, pid: number): void {
  const [mm] = read(dir, 'mm', pid);
  if (mm === undefined) return;
  write(dir, 'vmas', pid, mm.vmas);
  write(dir, 'mm', pid, [{ ...mm, vmas: [] }]);
}

/** Kind of image and field of file_entry for each type of file that had an image of its own. */
const OLD_IMAGES: readonly (readonly [FdTypes, ImageKindName, keyof FileEntry])[] = [
  [FdTypes.REG, 'reg-files', 'reg'],
  [FdTypes.EXT, 'ext-files', 'ext'],
  [FdTypes.NS, 'ns-files', 'nsf'],
  [FdTypes.UNIXSK, 'unixsk', 'usk'],
  [FdTypes.INETSK, 'inetsk', 'isk'],
  [FdTypes.PACKETSK, 'packetsk', 'psk'],
  [FdTypes.NETLINKSK, 'netlinksk', 'nlsk'],
  [FdTypes.PIPE, 'pipes', 'pipe'],
  [FdTypes.FIFO, 'fifo', 'fifo'],
  [FdTypes.EVENTFD, 'eventfd', 'efd'],
  [FdTypes.EVENTPOLL, 'eventpoll', 'epfd'],
  [FdTypes.SIGNALFD, 'signalfd', 'sgfd'],
  [FdTypes.TIMERFD, 'timerfd', 'tfd'],
  [FdTypes.INOTIFY, 'inotify', 'ify'],
  [FdTypes.FANOTIFY, 'fanotify', 'ffy'],
  [FdTypes.TTY, 'tty', 'tty'],
  [FdTypes.TUNF, 'tunfile', 'tunf'],
  [FdTypes.BPFMAP, 'bpfmap-file', 'bpf'],
  [FdTypes.PIDFD, 'pidfd', 'pidfd'],
];

function splitFiles(dir: string): void {
  const files = read(dir, 'files');
  const targets = files.flatMap(({ id, epfd }) => (epfd?.tfd ?? []).map((target) => ({ ...target, id })));
  const watches = files.flatMap(({ id, ify }) => (ify?.wd ?? []).map((watch) => ({ ...watch, id })));
  const marks = files.flatMap(({ id, ffy }) => (ffy?.mark ?? []).map((mark) => ({ ...mark, id })));
  for (const { epfd, ify, ffy } of files) {
    if (epfd !== undefined) epfd.tfd = [];
    if (ify !== undefined) ify.wd = [];
    if (ffy !== undefined) ffy.mark = [];
  }
  for (const [type, kind, field] of OLD_IMAGES) {
    const entries = files.filter((file) => file.type === type).map((file) => file[field]);
    if (entries.length > 0) write(dir, kind, undefined, entries as never);
  }
  const lost = files.filter(({ type }) => !OLD_IMAGES.some(([known]) => known === type));
  if (lost.length > 0) throw new Error(`there is no old image for files of type ${lost.map(({ type }) => type)}`);
  if (targets.length > 0) write(dir, 'eventpoll-tfd', undefined, targets);
  if (watches.length > 0) write(dir, 'inotify-wd', undefined, watches);
  if (marks.length > 0) write(dir, 'fanotify-mark', undefined, marks);
  unlinkSync(join(dir, 'files.img'));
}

/** Takes away the common magic. */
function toVersion1(path: string): void {
  const bytes = readFileSync(path);
  const kind = path.endsWith('.img') && !path.includes('/pages-') ? detectImageKind(bytes) : undefined;
  if (kind !== undefined && kind !== 'inventory') writeFileSync(path, bytes.subarray(4));
}

function read<K extends ImageKindName>(dir: string, kind: K, id?: number): ContentOf<K> {
  const name = imageFileName(kind, id);
  return parseImage(kind, readFileSync(join(dir, name)), name);
}

function write<K extends ImageKindName>(dir: string, kind: K, id: number | undefined, content: ContentOf<K>): void {
  writeFileSync(join(dir, imageFileName(kind, id)), serializeImage(kind, content));
}
