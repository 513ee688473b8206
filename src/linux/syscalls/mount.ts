/** Mounts that nobody sees: fsopen, fsconfig, fsmount (man 2 fsopen; Linux 5.2). */
import {
  FSCONFIG_CMD_CREATE,
  FSCONFIG_SET_FLAG,
  FSCONFIG_SET_STRING,
  FSMOUNT_CLOEXEC,
  FSOPEN_CLOEXEC,
} from '../abi/mount.ts';
import { SYS } from '../abi/syscall-numbers.ts';
import { cString, syscall } from '../kernel.ts';
import { close } from './fs.ts';

/** A mount option: a word, or a name and its value. */
export type MountOption = string | readonly [name: string, value: string];

/**
 * Mounts a file system without a place in any folder; it is gone when the descriptor is closed. Returns the descriptor
 * of its root, or −errno.
 */
export function tryMountDetached(fsType: string, options: readonly MountOption[]): number {
  const context = syscall(SYS.fsopen, cString(fsType), FSOPEN_CLOEXEC);
  if (context < 0) return context;
  let result = 0;
  for (const option of options) {
    if (result < 0) break;
    result =
      typeof option === 'string'
        ? syscall(SYS.fsconfig, context, FSCONFIG_SET_FLAG, cString(option), 0, 0)
        : syscall(SYS.fsconfig, context, FSCONFIG_SET_STRING, cString(option[0]), cString(option[1]), 0);
  }
  if (result >= 0) result = syscall(SYS.fsconfig, context, FSCONFIG_CMD_CREATE, 0, 0, 0);
  if (result >= 0) result = syscall(SYS.fsmount, context, FSMOUNT_CLOEXEC, 0);
  close(context);
  return result;
}
