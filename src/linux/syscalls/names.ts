/** Names of files: link, unlink, rename, mkdir, mknod, and what belongs to an inode (man 2 link, unlink, mknod, utimensat). */

import { byteString } from '../../base/bytes.ts';
import { AT_EMPTY_PATH, AT_FDCWD, AT_REMOVEDIR, AT_SYMLINK_NOFOLLOW } from '../abi/fcntl.ts';
import { SYS } from '../abi/syscall-numbers.ts';
import { cString, syscall } from '../kernel.ts';

/** linkat(2) of an open file, AT_EMPTY_PATH (needs CAP_DAC_READ_SEARCH); 0 or −errno. */
export function tryLinkFd(fd: number, name: string): number {
  return syscall(SYS.linkat, fd, cString(''), AT_FDCWD, cString(name), AT_EMPTY_PATH);
}

/** link(2); 0 or −errno. */
export function tryLink(from: string, to: string): number {
  return syscall(SYS.linkat, AT_FDCWD, cString(from), AT_FDCWD, cString(to), 0);
}

/** unlink(2); 0 or −errno. */
export function tryUnlink(name: string): number {
  return syscall(SYS.unlinkat, AT_FDCWD, cString(name), 0);
}

/** rmdir(2); 0 or −errno. */
export function tryRmdir(name: string): number {
  return syscall(SYS.unlinkat, AT_FDCWD, cString(name), AT_REMOVEDIR);
}

/** mkdir(2); 0 or −errno. */
export function tryMkdir(name: string, mode: number): number {
  return syscall(SYS.mkdirat, AT_FDCWD, cString(name), mode);
}

/** mknod(2); `device` as stat(2) has it; 0 or −errno. */
export function tryMknod(name: string, mode: number, device: number): number {
  return syscall(SYS.mknodat, AT_FDCWD, cString(name), mode, device);
}

/** lchown(2); 0 or −errno. */
export function tryLchown(name: string, uid: number, gid: number): number {
  return syscall(SYS.fchownat, AT_FDCWD, cString(name), uid, gid, AT_SYMLINK_NOFOLLOW);
}

/** chmod(2), permission bits only; 0 or −errno. */
export function tryChmod(name: string, mode: number): number {
  return syscall(SYS.fchmodat, AT_FDCWD, cString(name), mode & 0o7777);
}

/** A time of a file. */
export interface FileTime {
  readonly sec: number;
  readonly nsec: number;
}

/** utimensat(2), not following links; 0 or −errno. */
export function tryUtimens(name: string, atime: FileTime, mtime: FileTime): number {
  const times = BigInt64Array.of(BigInt(atime.sec), BigInt(atime.nsec), BigInt(mtime.sec), BigInt(mtime.nsec));
  return syscall(SYS.utimensat, AT_FDCWD, cString(name), times, AT_SYMLINK_NOFOLLOW);
}

/** ftruncate(2); 0 or −errno. */
export function tryFtruncate(fd: number, bytes: number): number {
  return syscall(SYS.ftruncate, fd, bytes);
}

/** lseek(2); the new position or −errno. */
export function tryLseek(fd: number, offset: number, whence: number): number {
  return syscall(SYS.lseek, fd, offset, whence);
}

/** pread64(2): fills `bytes` from `offset`; the number of bytes or −errno. */
export function tryPread(fd: number, bytes: Uint8Array, offset: number): number {
  return syscall(SYS.pread64, fd, bytes, bytes.length, offset);
}

/** symlink(2); 0 or −errno. */
export function trySymlink(target: string, name: string): number {
  return syscall(SYS.symlinkat, cString(target), AT_FDCWD, cString(name));
}

const target = new Uint8Array(4096);

/** readlinkat(2) of a symbolic link that is open with O_PATH | O_NOFOLLOW; a byte string, or −errno. */
export function tryReadlinkFd(fd: number): string | number {
  const length = syscall(SYS.readlinkat, fd, cString(''), target, target.length);
  return length < 0 ? length : byteString(target.subarray(0, length));
}
