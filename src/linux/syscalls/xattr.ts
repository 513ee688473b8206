/** Extended attributes of files, following links (man 7 xattr). */
import { byteString } from '../../base/bytes.ts';
import { SYS } from '../abi/syscall-numbers.ts';
import { cString, syscall } from '../kernel.ts';

/** XATTR_LIST_MAX and XATTR_SIZE_MAX (linux/limits.h), in bytes. */
const buffer = new Uint8Array(65_536);

/** Names of all attributes that criu may see, byte strings; or −errno. */
export function tryListXattrs(path: string): string[] | number {
  const bytes = syscall(SYS.listxattr, cString(path), buffer, buffer.length);
  if (bytes < 0) return bytes;
  return byteString(buffer.subarray(0, bytes))
    .split('\0')
    .filter((name) => name !== '');
}

/** The value of an attribute (a copy), or −errno. */
export function tryGetXattr(path: string, name: string): Uint8Array | number {
  const bytes = syscall(SYS.getxattr, cString(path), cString(name), buffer, buffer.length);
  return bytes < 0 ? bytes : buffer.slice(0, bytes);
}

/** 0 or −errno. */
export function trySetXattr(path: string, name: string, value: Uint8Array): number {
  return syscall(SYS.setxattr, cString(path), cString(name), value, value.length, 0);
}
