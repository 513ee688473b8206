/** Files: thin bindings of open, read, write and their family (man 2 open, read, pread, statx, readlinkat). */

import { byteString, bytesOf, putText } from '../../base/bytes.ts';
import { ERRNO } from '../abi/errno.ts';
import { AT_FDCWD, AT_SYMLINK_NOFOLLOW, O_CLOEXEC, O_RDONLY } from '../abi/fcntl.ts';
import { SYS } from '../abi/syscall-numbers.ts';
import { type Arg, addressOf, check, cString, syscall } from '../kernel.ts';

/** open(2) with O_CLOEXEC; returns −errno on failure. */
export function tryOpen(path: string, flags: number, mode = 0): number {
  return syscall(SYS.openat, AT_FDCWD, cString(path), flags | O_CLOEXEC, mode);
}

/** open(2) with O_CLOEXEC. Throws SyscallError naming the path. */
export function open(path: string, flags: number, mode = 0): number {
  return check('open', tryOpen(path, flags, mode), path);
}

export function close(fd: number): void {
  syscall(SYS.close, fd);
}

/** Room, which may have grown; each run overwrites it. */
let buffer = new Uint8Array(256 * 1024);
/** Sysctls answer ENOMEM to a read of 4 MiB or more (fs/proc/proc_sysctl.c proc_sys_call_handler()). */
const READ_BYTES_MAX = 1 << 20;

/** All of a file's bytes from the current position, or −errno. The bytes are a copy. */
export function tryReadAll(fd: number, bytesAtOnce = READ_BYTES_MAX): Uint8Array | number {
  let used = 0;
  for (;;) {
    // By address: a view for each read would cost as much as the call.
    const got = syscall(SYS.read, fd, addressOf(buffer) + used, Math.min(buffer.length - used, bytesAtOnce));
    if (got < 0) return got;
    if (got === 0) return buffer.slice(0, used);
    used += got;
    if (used === buffer.length) {
      const grown = new Uint8Array(buffer.length * 2);
      grown.set(buffer);
      buffer = grown;
    }
  }
}

/** A whole file as bytes, or −errno. */
export function tryReadFileBytes(path: string): Uint8Array | number {
  const fd = tryOpen(path, O_RDONLY);
  if (fd < 0) return fd;
  const bytes = tryReadAll(fd);
  close(fd);
  return bytes;
}

/** A whole file as a byte string, or −errno. */
export function tryReadFile(path: string): string | number {
  const bytes = tryReadFileBytes(path);
  return typeof bytes === 'number' ? bytes : byteString(bytes);
}

/** When a read of a /proc file gives less than that, nothing is left: the kernel fills a page as long as lines fit. */
const PROC_BYTES_MIN = 2048;

/** A file of /proc with lines shorter than 2 KiB, as a byte string, or −errno: often with a single read. */
export function tryReadProc(path: string): string | number {
  const fd = tryOpen(path, O_RDONLY);
  if (fd < 0) return fd;
  const got = syscall(SYS.read, fd, buffer, Math.min(buffer.length, READ_BYTES_MAX));
  let text: string | number = got < 0 ? got : byteString(buffer.subarray(0, got));
  if (got >= PROC_BYTES_MIN) {
    const rest = tryReadAll(fd);
    text = typeof rest === 'number' ? rest : text + byteString(rest);
  }
  close(fd);
  return text;
}

/** The same. Throws SyscallError naming the path. */
export function readProc(path: string): string {
  const text = tryReadProc(path);
  if (typeof text === 'number') check('read', text, path);
  return String(text);
}

/** A whole file as a byte string. Throws SyscallError naming the path. */
export function readFile(path: string): string {
  const text = tryReadFile(path);
  if (typeof text === 'number') check('read', text, path);
  return String(text);
}

/**
 * The kernel collects records in a page, and stops when it has as much as was asked for (fs/seq_file.c): so much that
 * one more record, of a kilobyte, still fits.
 */
const RECORDS_BYTES = 3000;

/** So much is handed on at once. */
const PART_BYTES = 64 * 1024;

/**
 * A file of /proc whose records are costly, in parts that are byte strings: a record that does not fit the kernel's page any
 * more would be made a second time, so less than a page is read at once. `take` returns how much of a part it has used,
 * and gets the rest again with the next one; a negative number ends the reading. Throws SyscallError naming the path.
 */
export function readRecords(path: string, take: (text: string, isLast: boolean) => number): void {
  const fd = open(path, O_RDONLY);
  try {
    for (let [used, limit] = [0, PART_BYTES]; ; ) {
      const got = check('read', syscall(SYS.read, fd, addressOf(buffer) + used, RECORDS_BYTES), path);
      used += got;
      if (got > 0 && used < limit) continue;
      const isFull = used + RECORDS_BYTES > buffer.length;
      const text = byteString(buffer.subarray(0, used));
      const taken = take(text, got === 0 || isFull);
      if (got === 0 || taken < 0) return;
      // Meanwhile another file may have been read into the buffer.
      putText(text.slice(taken), buffer, 0);
      used -= taken;
      limit = used + PART_BYTES;
    }
  } finally {
    close(fd);
  }
}

/** Writes all of `bytes` to the file at `path`, which must exist; returns 0 or −errno. */
export function tryWriteFile(path: string, text: string, flags: number): number {
  const fd = tryOpen(path, flags);
  if (fd < 0) return fd;
  const bytes = bytesOf(text);
  const result = bytes.length === 0 ? 0 : syscall(SYS.write, fd, bytes, bytes.length);
  close(fd);
  return Math.min(result, 0);
}

/** pread64(2): fills `bytes` from `offset`; returns how many arrived. Throws SyscallError. */
export function pread(fd: number, bytes: Uint8Array, offset: number): number {
  return check('pread64', syscall(SYS.pread64, fd, bytes, bytes.length, offset));
}

/** pwrite64(2); returns the number of bytes written, or −errno. */
export function tryPwrite(fd: number, bytes: Uint8Array, offset: number | bigint): number {
  return syscall(SYS.pwrite64, fd, bytes, bytes.length, offset);
}

const PATH_MAX = 4096;
const path = new Uint8Array(PATH_MAX + 1);

/** readlink(2) as a byte string, or −errno. */
export function tryReadlink(name: string): string | number {
  const length = syscall(SYS.readlinkat, AT_FDCWD, cString(name), path, path.length);
  return length < 0 ? length : byteString(path.subarray(0, length));
}

/** readlink(2). Throws SyscallError naming the path. */
export function readlink(name: string): string {
  const target = tryReadlink(name);
  if (typeof target === 'number') check('readlink', target, name);
  return String(target);
}

/** What stat(2) says (struct stat of x86-64). Times in seconds and nanoseconds; device numbers as the kernel's dev_t. */
export interface Stat {
  readonly st_dev: number;
  readonly st_ino: number;
  readonly st_nlink: number;
  readonly st_mode: number;
  readonly st_uid: number;
  readonly st_gid: number;
  readonly st_rdev: number;
  readonly st_size: number;
  readonly st_blocks: number;
  readonly st_atime: { sec: number; nsec: number };
  readonly st_mtime: { sec: number; nsec: number };
}

/** Size of struct stat. */
export const STAT_BYTES = 144;
const stat = new Uint32Array(STAT_BYTES / 4);

const WORD = 2 ** 32;

/** The struct stat at word `at` of memory. Numbers are put together from halves: a bigint for each is slow. */
export function parseStat(words: Uint32Array, at: number): Stat {
  return {
    st_dev: word64(words, at),
    st_ino: word64(words, at + 2),
    st_nlink: word64(words, at + 4),
    st_mode: words[at + 6] ?? 0,
    st_uid: words[at + 7] ?? 0,
    st_gid: words[at + 8] ?? 0,
    st_rdev: word64(words, at + 10),
    st_size: word64(words, at + 12),
    st_blocks: word64(words, at + 16),
    st_atime: { sec: word64(words, at + 18), nsec: words[at + 20] ?? 0 },
    st_mtime: { sec: word64(words, at + 22), nsec: words[at + 24] ?? 0 },
  };
}

/** st_mode of the struct stat at byte `start`. */
export const parseMode = (bytes: DataView, start: number): number => bytes.getUint32(start + 24, true);

/** Size of struct statx, and places in it, in words. */
export const STATX_BYTES = 256;
export const STATX_MASK_AT = 0;
export const STATX_MNT_ID_AT = 36;

/** The struct statx at word `at` of memory, as stat(2) tells the same. */
export function parseStatx(words: Uint32Array, at: number): Stat {
  return {
    st_dev: deviceNumber(words[at + 34] ?? 0, words[at + 35] ?? 0),
    st_ino: word64(words, at + 8),
    st_nlink: words[at + 4] ?? 0,
    st_mode: (words[at + 7] ?? 0) & 0xffff,
    st_uid: words[at + 5] ?? 0,
    st_gid: words[at + 6] ?? 0,
    st_rdev: deviceNumber(words[at + 32] ?? 0, words[at + 33] ?? 0),
    st_size: word64(words, at + 10),
    st_blocks: word64(words, at + 12),
    st_atime: { sec: word64(words, at + 16), nsec: words[at + 18] ?? 0 },
    st_mtime: { sec: word64(words, at + 28), nsec: words[at + 30] ?? 0 },
  };
}

/** As stat(2) puts it together (new_encode_dev of include/linux/kdev_t.h). */
const deviceNumber = (majorNumber: number, minorNumber: number) =>
  ((minorNumber & 0xff) | (majorNumber << 8) | ((minorNumber & ~0xff) << 12)) >>> 0;

/** The same of the kernel's internal dev_t, which is less than 2 ** 32. */
export const fromKernelDevice = (device: number) => deviceNumber(device >>> 20, device & 0xf_ffff);

const word64 = (words: Uint32Array, at: number) => (words[at] ?? 0) + (words[at + 1] ?? 0) * WORD;

/** stat(2), following links; or −errno. */
export function tryStat(name: string): Stat | number {
  const result = syscall(SYS.newfstatat, AT_FDCWD, cString(name), stat, 0);
  return result < 0 ? result : parseStat(stat, 0);
}

/** lstat(2), not following links; or −errno. */
export function tryLstat(name: string): Stat | number {
  const result = syscall(SYS.newfstatat, AT_FDCWD, cString(name), stat, AT_SYMLINK_NOFOLLOW);
  return result < 0 ? result : parseStat(stat, 0);
}

/** fstat(2). Throws SyscallError. */
export function fstat(fd: number): Stat {
  check('fstat', syscall(SYS.fstat, fd, stat));
  return parseStat(stat, 0);
}

const statfsBuffer = new Uint8Array(120);

/** f_type of fstatfs(2). Throws SyscallError. */
export function fstatfsType(fd: number): number {
  check('fstatfs', syscall(SYS.fstatfs, fd, statfsBuffer));
  return Number(new DataView(statfsBuffer.buffer).getBigUint64(0, true));
}

/** Splits a dev_t as stat(2) gives it (new_encode_dev on x86-64: include/linux/kdev_t.h). */
/** f_bsize of fstatfs(2), in bytes; for hugetlbfs the size of its pages. Throws SyscallError. */
export function fstatfsBlockBytes(fd: number): number {
  check('fstatfs', syscall(SYS.fstatfs, fd, statfsBuffer));
  return Number(new DataView(statfsBuffer.buffer).getBigUint64(8, true));
}

export const major = (dev: number) => (Math.floor(dev / 256) & 0xfff) | (Math.floor(dev / 2 ** 32) & ~0xfff);
export const minor = (dev: number) => (dev & 0xff) | (Math.floor(dev / 4096) & ~0xff);

/** The kernel's internal dev_t (MKDEV: 12 bits major, 20 bits minor), as the image format keeps it. */
export const kernelDevice = (dev: number) => major(dev) * 2 ** 20 + minor(dev);

const entries = new Uint8Array(64 * 1024);

/** Names in a directory without . and .., in the kernel's order; or −errno. */
export function tryListDirectory(name: string): string[] | number {
  const fd = tryOpen(name, O_RDONLY);
  if (fd < 0) return fd;
  const names: string[] = [];
  const u16 = new DataView(entries.buffer);
  let got = syscall(SYS.getdents64, fd, entries, entries.length);
  while (got > 0) {
    for (let at = 0; at < got; at += u16.getUint16(at + 16, true)) {
      const end = entries.indexOf(0, at + 19);
      const entry = byteString(entries.subarray(at + 19, end));
      if (entry !== '.' && entry !== '..') names.push(entry);
    }
    got = syscall(SYS.getdents64, fd, entries, entries.length);
  }
  close(fd);
  return got < 0 ? got : names;
}

/** The names of a directory that are decimal numbers, such as descriptors or tids, ascending; or −errno. */
export function tryListNumbers(name: string): number[] | number {
  const fd = tryOpen(name, O_RDONLY);
  if (fd < 0) return fd;
  const numbers: number[] = [];
  let isSorted = true;
  let got = syscall(SYS.getdents64, fd, entries, entries.length);
  while (got > 0) {
    for (let at = 0; at < got; at += (entries[at + 16] ?? 0) | ((entries[at + 17] ?? 0) << 8)) {
      let number = 0;
      let digit = at + 19;
      for (; (entries[digit] ?? 0) >= ZERO && (entries[digit] ?? 0) <= NINE; digit++) {
        number = number * 10 + (entries[digit] ?? 0) - ZERO;
      }
      if (entries[digit] !== 0 || digit === at + 19) continue;
      isSorted &&= number > (numbers[numbers.length - 1] ?? -1);
      numbers.push(number);
    }
    got = syscall(SYS.getdents64, fd, entries, entries.length);
  }
  close(fd);
  if (got < 0) return got;
  return isSorted ? numbers : numbers.sort((a, b) => a - b);
}

const ZERO = 48;
const NINE = 57;

const DT_DIR = 4;

/** Names of the folders and of all else in a directory of a file system that tells types; empty when it is not there. */
export function listByType(name: string): { folders: string[]; others: string[] } {
  const folders: string[] = [];
  const others: string[] = [];
  const fd = tryOpen(name, O_RDONLY);
  if (fd < 0) return { folders, others };
  let got = syscall(SYS.getdents64, fd, entries, entries.length);
  while (got > 0) {
    for (let at = 0; at < got; at += (entries[at + 16] ?? 0) | ((entries[at + 17] ?? 0) << 8)) {
      const entry = byteString(entries.subarray(at + 19, entries.indexOf(0, at + 19)));
      if (entry !== '.' && entry !== '..') (entries[at + 18] === DT_DIR ? folders : others).push(entry);
    }
    got = syscall(SYS.getdents64, fd, entries, entries.length);
  }
  close(fd);
  return { folders, others };
}

/** True when −errno says that the object is not there (any more). */
export const isGone = (result: number) => result === -ERRNO.ENOENT || result === -ERRNO.ESRCH;

/** ioctl(2); returns the result or −errno. */
export function ioctl(fd: number, request: number, arg: Arg = 0): number {
  return syscall(SYS.ioctl, fd, request, arg);
}

/** fcntl(2); returns the result or −errno. */
export function fcntl(fd: number, command: number, arg: Arg = 0): number {
  return syscall(SYS.fcntl, fd, command, arg);
}
