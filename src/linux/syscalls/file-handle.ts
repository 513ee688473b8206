/** File handles (man 2 open_by_handle_at): inodes by number and generation, as the kernel shows what is watched. */
import { AT_FDCWD, AT_HANDLE_FID } from '../abi/fcntl.ts';
import { SYS } from '../abi/syscall-numbers.ts';
import { cString, syscall } from '../kernel.ts';

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

const mountId = new Int32Array(1);

/**
 * name_to_handle_at(2) with AT_HANDLE_FID (since Linux 6.5), not following links: also handles that cannot be opened,
 * such as those of overlayfs. −errno on failure.
 */
export function tryNameToHandle(path: string): { type: number; bytes: Uint8Array } | number {
  const buffer = new Uint8Array(HEADER_BYTES + HANDLE_BYTES_MAX);
  const view = new DataView(buffer.buffer);
  view.setUint32(0, HANDLE_BYTES_MAX, true);
  const result = syscall(SYS.name_to_handle_at, AT_FDCWD, cString(path), buffer, mountId, AT_HANDLE_FID);
  if (result < 0) return result;
  const length = view.getUint32(0, true);
  return { type: view.getInt32(4, true), bytes: buffer.subarray(HEADER_BYTES, HEADER_BYTES + length) };
}
