/** The names that --link-remap makes at a dump, and that have served when the tree goes on or is restored. */
import { errnoName } from '../../../linux/abi/errno.ts';
import { tryUnlink } from '../../../linux/syscalls/names.ts';

/** Removes one, or tells that it stays. */
export function removeLinkRemap(path: string, log: { warn(text: string): void }): void {
  const result = tryUnlink(path);
  if (result < 0) log.warn(`${path}, made for --link-remap, cannot be removed (${errnoName(-result)})`);
}
