/**
 * Files that are watched (inotify, fanotify): the kernel shows device, inode number and handle. The image also gets the
 * path where there is one, since handles mean nothing on another machine, and on tmpfs nothing after a new mount.
 *
 * What has no name any more is found by its handle, or is a ghost of the tree.
 */
import type { CriuErrorFields } from '../../../base/errors.ts';
import type { FhEntry } from '../../../image/gen/fh.ts';
import { HANDLE_BYTES_MAX, tryNameToHandle } from '../../../linux/syscalls/file-handle.ts';
import { close, fstat, type Stat, tryLstat, tryReadlink, tryStat } from '../../../linux/syscalls/fs.ts';
import type { FileHandle } from '../../../proc/fdinfo-types.ts';
import type { KindDump, OpenFile, Unsupported } from '../file-kind.ts';
import { deviceOf, MountAnchors } from './mount-anchors.ts';
import { PathSearch } from './path-search.ts';

/** What the kernel says about a watched file. */
export interface Watched {
  readonly ino: bigint;
  /** Device number as the kernel keeps it. */
  readonly sdev: number;
  /** Undefined when the file system has no handles. */
  readonly handle: FileHandle | undefined;
}

/** What is known of all watched files of a dump. */
interface State {
  anchors: MountAnchors | undefined;
  search: PathSearch | undefined;
  /** Files without any name. */
  readonly nameless: { readonly stat: Stat; readonly file: OpenFile; readonly watched: Watched }[];
}

const stateOf = (dump: KindDump) =>
  dump.state<State>('watched files', () => ({ anchors: undefined, search: undefined, nameless: [] }));

/** The entry of a watched file; `file` is who watches. Unsupported when a restore could not find it again. */
export function describeWatched(watched: Watched, file: OpenFile, dump: KindDump): FhEntry | Unsupported {
  const entry = encodeHandle(watched.handle);
  const found = byHandle(watched, file, dump);
  if (typeof found === 'object') {
    if (dump.options.hasOwnMounts) entry.mnt_id = found.mntId;
    return { ...entry, path: found.path };
  }
  if (found === 'nameless' && dump.options.irmap?.isForced !== true) return entry;
  const path = search(watched, file, dump);
  if (path !== undefined) return { ...entry, path };
  const device = `${watched.sdev >>> 20}:${watched.sdev & 0xf_ffff}`;
  return {
    unsupported: `it watches inode ${watched.ino} of device ${device}, and no path of it is known`,
    remedy: 'name a folder that it is in with --irmap-scan-path',
  };
}

/** Once all files are known: what has no name must be a ghost of the tree. Lets go of what was needed. */
export function finishWatched(dump: KindDump): void {
  const state = stateOf(dump);
  state.anchors?.[Symbol.dispose]();
  state.anchors = undefined;
  for (const { stat, file, watched } of state.nameless.splice(0)) {
    if (!isKept(stat, dump)) dump.addProblem(lost(file, watched));
  }
}

function lost(file: OpenFile, { ino }: Watched): CriuErrorFields {
  return {
    object: file.object,
    action: 'cannot be dumped',
    why: `it watches a deleted file (inode ${ino}) that only processes outside the tree have open`,
    remedy: 'let the program remove the watch',
  };
}

/** Whether a restore makes the deleted file again: for a descriptor or mapping, or as somebody's folder. */
function isKept({ st_dev, st_ino }: Stat, dump: KindDump): boolean {
  const ghosts = dump.state('ghosts', () => new Map<string, number>());
  if (ghosts.has(`${st_dev}:${st_ino}`)) return true;
  return dump.tasks.some(({ pid }) => {
    const cwd = tryStat(`/proc/${pid}/cwd`);
    return typeof cwd === 'object' && cwd.st_dev === st_dev && cwd.st_ino === st_ino;
  });
}

function byHandle(
  watched: Watched,
  file: OpenFile,
  dump: KindDump,
): { path: string; mntId: number } | 'nameless' | 'lost' {
  const { handle, sdev } = watched;
  if (handle === undefined) return 'lost';
  const state = stateOf(dump);
  const prefix = dump.options.pathPrefix?.(file.task) ?? '';
  let nameless: Stat | undefined;
  for (const { fd, mount } of anchorsOf(file, dump).open(sdev, handle)) {
    const stat = fstat(fd);
    const path = tryReadlink(`/proc/self/fd/${fd}`);
    close(fd);
    const there = typeof path === 'string' ? tryLstat(prefix + path) : path;
    if (typeof path === 'string' && typeof there === 'object' && isSame(stat, there)) return { path, mntId: mount.id };
    nameless = stat;
  }
  if (nameless === undefined) return 'lost';
  if (nameless.st_nlink === 0) state.nameless.push({ stat: nameless, file, watched });
  return 'nameless';
}

const isSame = (a: Stat, b: Stat) => a.st_ino === b.st_ino && a.st_dev === b.st_dev;

function search({ sdev, ino, handle }: Watched, file: OpenFile, dump: KindDump): string | undefined {
  const state = stateOf(dump);
  state.search ??= new PathSearch(dump.options.irmap?.scanPaths ?? [], dump.options.pathPrefix?.(file.task) ?? '');
  const mounts = anchorsOf(file, dump).mounts.filter((mount) => deviceOf(mount) === sdev);
  return state.search.find({
    device: sdev,
    ino,
    mountPoints: mounts.map(({ mountPoint }) => mountPoint),
    isAt: (path) => handle !== undefined && hasHandle(path, handle),
  });
}

/** Handles are compared with the generation of the inode, so equal ones are the same file, also on overlayfs. */
function hasHandle(path: string, { type, bytes }: FileHandle): boolean {
  const found = tryNameToHandle(path);
  return typeof found === 'object' && found.type === type && Buffer.compare(found.bytes, bytes) === 0;
}

function anchorsOf(file: OpenFile, dump: KindDump): MountAnchors {
  const state = stateOf(dump);
  const prefix = dump.options.pathPrefix?.(file.task) ?? '';
  state.anchors ??= new MountAnchors(prefix === '' ? 'self' : file.task.pid, prefix);
  return state.anchors;
}

/** The handle as the image has it: 16 words, whatever its length. */
export function encodeHandle(handle: FileHandle | undefined): FhEntry {
  const bytes = new Uint8Array(HANDLE_BYTES_MAX);
  if (handle !== undefined) bytes.set(handle.bytes);
  return {
    bytes: handle?.bytes.length ?? 0,
    type: handle?.type ?? 0,
    handle: [...new BigUint64Array(bytes.buffer)],
  };
}

/** The handle of an entry; undefined when there is none. */
export function decodeHandle({ bytes, type, handle }: FhEntry): FileHandle | undefined {
  if (bytes === 0 || bytes > Math.min(handle.length * 8, HANDLE_BYTES_MAX)) return undefined;
  return { type, bytes: new Uint8Array(BigUint64Array.from(handle).buffer, 0, bytes) };
}
