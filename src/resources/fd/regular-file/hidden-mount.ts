/**
 * Mounts that are attached nowhere here: made and not attached yet (man 2 fsmount, open_tree), or detached (umount2 with
 * MNT_DETACH), or of another mount namespace. A path leads to what is mounted there, and not to what is on these.
 */
import { O_PATH } from '../../../linux/abi/fcntl.ts';
import { close, open, readProc } from '../../../linux/syscalls/fs.ts';
import { parseMountinfo } from '../../../proc/mountinfo.ts';
import { parsePosition } from '../fd-table/open-file.ts';
import type { KindDump, OpenFile, Unsupported } from '../file-kind.ts';

export const HIDDEN_MOUNT: Unsupported = {
  unsupported: 'it is on a mount that is attached nowhere here (man 2 fsmount, open_tree, umount2)',
  remedy: 'have the program close it, or attach the mount (man 2 move_mount)',
};

export function isOnHiddenMount({ mntId, task }: OpenFile, dump: KindDump): boolean {
  const proc = (dump.options.pathPrefix?.(task) ?? '') === '' ? '/proc/self' : `/proc/${task.pid}`;
  // In a chroot it is not listed.
  if (mntId < 0 || mntId === dump.state(`root mount ${proc}`, () => rootMount(proc))) return false;
  const mounts = dump.state(`mounts ${proc}`, () => {
    const path = `${proc}/mountinfo`;
    return new Set(parseMountinfo(readProc(path), path).map(({ id }) => id));
  });
  return !mounts.has(mntId);
}

function rootMount(proc: string): number {
  const fd = open(`${proc}/root`, O_PATH);
  try {
    return parsePosition(readProc(`/proc/self/fdinfo/${fd}`)).mntId;
  } finally {
    close(fd);
  }
}
