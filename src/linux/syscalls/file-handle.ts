/** File handles (man 2 open_by_handle_at): inodes by number and generation, as the kernel shows what is watched. */
import { SYS } from '../abi/syscall-numbers.ts';
import { syscall } from '../kernel.ts';

/** Largest handle, bytes (MAX_HANDLE_SZ of linux/exportfs.h). */
export const HANDLE_BYTES_MAX = 128;

/** Bytes of struct file_handle before the handle itself: its length and type. */
const HEADER_BYTES = 8;

/**
 * open_by_handle_at(2); the descriptor or −errno. `mountFd` is any file of the mount, not opened with O_PATH. Needs
 * CAP_DAC_READ_SEARCH.
 */
export function tryOpenByHandle(mountFd: number, type: number, handle: Uint8Array, flags: number): number {
  const bytes = new Uint8Array(HEADER_BYTES + handle.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, handle.length, true);
  view.setInt32(4, type, true);
  bytes.set(handle, HEADER_BYTES);
  return syscall(SYS.open_by_handle_at, mountFd, bytes, flags);
}
