/**
 * Watched files on the way back: a ghost of the tree, or by the path of the image, or else by handle, which the
 * controller opens before any process exists.
 */
import { CriuError, type CriuErrorFields } from '../../../base/errors.ts';
import type { FhEntry } from '../../../image/gen/fh.ts';
import { errnoName } from '../../../linux/abi/errno.ts';
import { close } from '../../../linux/syscalls/fs.ts';
import type { RestoreContext } from '../file-kind.ts';
import { allRemaps } from '../regular-file/remap-restore.ts';
import type { StepArg } from '../step-args.ts';
import { decodeHandle } from './describe.ts';
import { MountAnchors } from './mount-anchors.ts';

/** A watched file of the images. */
export interface WatchedEntry {
  /** Device number as the kernel keeps it. */
  readonly device: number;
  readonly ino: bigint;
  readonly handle: FhEntry;
}

/** How a watched file is named by the task that watches it. */
export interface WatchedName {
  readonly path: StepArg;
  /** It is a link of /proc, which has to be followed; a path is not, as it may be a symbolic link that is watched. */
  readonly isLink: boolean;
}

/** The name for inotify_add_watch(2) and fanotify_mark(2). */
export function nameOf(watched: WatchedEntry, context: RestoreContext): WatchedName {
  const ghost = ghostFile(watched, context);
  if (ghost !== undefined) return { path: context.pathOf(ghost), isLink: true };
  const { path } = watched.handle;
  if (path !== undefined) return { path: { text: path }, isLink: false };
  const held = () => {
    const fd = heldFds(context).get(keyOf(watched));
    return fd === undefined ? '' : `/proc/${context.controllerPid}/fd/${fd}`;
  };
  return { path: { path: held }, isLink: true };
}

/** What speaks against watching it, before any process exists. */
export function checkWatched(watched: WatchedEntry, object: string, context: RestoreContext): CriuErrorFields[] {
  const { path } = watched.handle;
  if (ghostFile(watched, context) !== undefined) return [];
  const action = 'cannot be restored';
  if (path !== undefined) {
    const found = context.system.stat(path, false);
    if (typeof found !== 'number') return [];
    return [{ object, action, why: `${path}, which it watches, cannot be found (${errnoName(-found)})` }];
  }
  if (decodeHandle(watched.handle) !== undefined) return [];
  return [{ object, action, why: `it watches inode ${watched.ino}, which has neither path nor handle in the image` }];
}

/** Opens what has only a handle. Throws CriuError when the file is not there any more. */
export function holdWatched(wanted: readonly WatchedEntry[], context: RestoreContext): void {
  const byHandle = wanted.filter(
    (watched) => watched.handle.path === undefined && ghostFile(watched, context) === undefined,
  );
  if (byHandle.length === 0) return;
  const fds = heldFds(context);
  using anchors = new MountAnchors('self');
  for (const watched of byHandle) {
    const key = keyOf(watched);
    if (!fds.has(key)) fds.set(key, openHandle(watched, anchors));
  }
}

function openHandle({ device, ino, handle }: WatchedEntry, anchors: MountAnchors): number {
  const decoded = decodeHandle(handle);
  if (decoded !== undefined) for (const { fd } of anchors.open(device, decoded)) return fd;
  throw new CriuError({
    object: `inode ${ino} of device ${device >>> 20}:${device & 0xf_ffff}`,
    action: 'cannot be watched: no file with its handle is on a mounted file system',
    why: 'the images have no path of it, and the file was deleted or its file system is another one now',
  });
}

/** Lets go of what is held. May be called twice. */
export function releaseWatched(context: RestoreContext): void {
  const fds = heldFds(context);
  for (const fd of fds.values()) close(fd);
  fds.clear();
}

const heldFds = ({ state }: RestoreContext): Map<string, number> => state('held handles', () => new Map());

const keyOf = ({ device, handle }: WatchedEntry) => `${device} ${handle.type} ${handle.bytes} ${handle.handle.join()}`;

/** The file of files.img that is the same inode, when that one is made again. */
function ghostFile({ device, ino }: WatchedEntry, context: RestoreContext): number | undefined {
  return context.state('ghosts by inode', () => ghostsByInode(context)).get(`${device}:${ino}`);
}

function ghostsByInode(context: RestoreContext): Map<string, number> {
  const files = new Map<string, number>();
  for (const [fileId, remap] of allRemaps(context)) {
    if (remap.kind !== 'ghost') continue;
    const ghost = context.images.tryRead('ghost-file', remap.ghostId)?.message;
    if (ghost !== undefined) files.set(`${ghost.dev}:${ghost.ino}`, fileId);
  }
  return files;
}
