/**
 * One descriptor of a big table as the kernel lists it (listed-files.ts). There are thousands: it is one object, also what
 * stat(2) would tell, and fetches a duplicate only when somebody needs one.
 */
import { byteStringAt } from '../../../base/bytes.ts';
import { SyscallError } from '../../../base/errors.ts';
import type { FrozenTask } from '../../../dump/frozen-tree.ts';
import { errnoName } from '../../../linux/abi/errno.ts';
import { O_CLOEXEC, O_PATH, S_IFIFO, S_IFMT, S_IFREG, S_IFSOCK } from '../../../linux/abi/fcntl.ts';
import { AF_UNIX } from '../../../linux/abi/socket.ts';
import {
  EXT4_SUPER_MAGIC,
  PIPEFS_MAGIC,
  RAMFS_MAGIC,
  SOCKFS_MAGIC,
  TMPFS_MAGIC,
  XFS_SUPER_MAGIC,
} from '../../../linux/abi/statfs.ts';
import { close, fromKernelDevice, fstat, readProc, type Stat } from '../../../linux/syscalls/fs.ts';
import { tryPidfdGetfd } from '../../../linux/syscalls/process.ts';
import { familyIn, likenessOf, RECORD_AT, type TaskFileRecords } from '../../../linux/task-files.ts';
import { type Fdinfo, parseFdinfo } from '../../../proc/fdinfo.ts';
import type { DescriptorFile } from './open-file.ts';
import { NO_OWNER } from './open-file.ts';

/** File systems whose inodes have the numbers, devices and sizes that stat(2) tells. */
const PLAIN: readonly number[] = [TMPFS_MAGIC, EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, RAMFS_MAGIC];

const WORD = 2 ** 32;
const NO_FD = -1;

/** Whether the record at `at` tells all that a duplicate and /proc/PID/fdinfo would. */
export function isPlain(words: Uint32Array, at: number): boolean {
  const { owner, locks, flags, fsType, pathBytes, links } = RECORD_AT;
  const hasOwner = words[at + owner] !== 0 || words[at + owner + 1] !== 0;
  const hasLocks = words[at + locks] !== 0 || words[at + locks + 1] !== 0;
  if (hasOwner || hasLocks || ((words[at + flags] ?? 0) & O_PATH) !== 0) return false;
  // An error is a negative number.
  if (((words[at + pathBytes] ?? 0) | 0) <= 0 || words[at + links] === 0) return false;
  const type = words[at + fsType] ?? 0;
  switch ((words[at + RECORD_AT.mode] ?? 0) & S_IFMT) {
    case S_IFREG:
      return PLAIN.includes(type);
    case S_IFIFO:
      return type === PIPEFS_MAGIC;
    case S_IFSOCK:
      return type === SOCKFS_MAGIC;
    default:
      return false;
  }
}

export class ListedFile implements DescriptorFile, Stat {
  readonly task: FrozenTask;
  readonly fd: number;
  readonly link: string;
  readonly flags: number;
  readonly pos: bigint;
  readonly mntId: number;
  readonly fown = NO_OWNER;
  readonly fsType: number;
  readonly isCloexec: boolean;
  readonly hasLocks = false;
  readonly isKernelShmem = false;
  readonly socketFamily: number | undefined;
  readonly socketLikeness: Uint8Array | undefined;
  readonly st_dev: number;
  readonly st_ino: number;
  readonly st_nlink: number;
  readonly st_mode: number;
  /** None of them is a device. */
  readonly st_rdev = 0;
  readonly st_size: number;
  private duplicate = NO_FD;
  private others: Stat | undefined;

  /** The record at word `at`, which `isPlain`. */
  constructor(task: FrozenTask, records: TaskFileRecords, at: number) {
    const { words, bytes } = records;
    const fd = words[at + RECORD_AT.fd] ?? NO_FD;
    const path = (at + RECORD_AT.path) * 4;
    const mode = words[at + RECORD_AT.mode] ?? 0;
    this.task = task;
    this.fd = fd;
    this.link = byteStringAt(bytes, path, path + (words[at + RECORD_AT.pathBytes] ?? 0) - 1);
    this.flags = (words[at + RECORD_AT.flags] ?? 0) & ~O_CLOEXEC;
    this.pos = (mode & S_IFMT) === S_IFREG ? positionOf(words, at) : 0n;
    this.mntId = words[at + RECORD_AT.mntId] ?? 0;
    this.fsType = words[at + RECORD_AT.fsType] ?? 0;
    this.isCloexec = (((words[at + RECORD_AT.cloexec + ((fd >>> 5) & 1)] ?? 0) >>> (fd & 31)) & 1) === 1;
    const likeness = (mode & S_IFMT) === S_IFSOCK ? likenessOf(records, at) : undefined;
    this.socketFamily = likeness && familyIn(likeness);
    this.socketLikeness = this.socketFamily === AF_UNIX ? likeness : undefined;
    this.st_dev = fromKernelDevice(words[at + RECORD_AT.device] ?? 0);
    this.st_ino = word64(words, at + RECORD_AT.inode);
    this.st_nlink = words[at + RECORD_AT.links] ?? 0;
    this.st_mode = mode;
    this.st_size = word64(words, at + RECORD_AT.size);
  }

  get stat(): Stat {
    return this;
  }

  /** Throws SyscallError. */
  get localFd(): number {
    if (this.duplicate === NO_FD) {
      const fd = tryPidfdGetfd(this.task.pidfd, this.fd);
      if (fd < 0) throw new SyscallError('pidfd_getfd', -fd, errnoName(-fd), `fd ${this.fd} of task ${this.task.pid}`);
      this.duplicate = fd;
    }
    return this.duplicate;
  }

  close(): void {
    if (this.duplicate === NO_FD) return;
    close(this.duplicate);
    this.duplicate = NO_FD;
  }

  get fdinfo(): Fdinfo {
    const path = `/proc/${this.task.pid}/fdinfo/${this.fd}`;
    return parseFdinfo(readProc(path), path);
  }

  get object(): string {
    return `fd ${this.fd} of ${this.task.label} (${this.link})`;
  }

  get st_uid(): number {
    return this.wholeStat().st_uid;
  }
  get st_gid(): number {
    return this.wholeStat().st_gid;
  }
  get st_blocks(): number {
    return this.wholeStat().st_blocks;
  }
  get st_atime(): Stat['st_atime'] {
    return this.wholeStat().st_atime;
  }
  get st_mtime(): Stat['st_mtime'] {
    return this.wholeStat().st_mtime;
  }

  /** What the record does not tell, which hardly anybody needs. Throws SyscallError. */
  private wholeStat(): Stat {
    this.others ??= fstat(this.localFd);
    return this.others;
  }
}

function positionOf(words: Uint32Array, at: number): bigint {
  const low = words[at + RECORD_AT.position] ?? 0;
  const high = words[at + RECORD_AT.position + 1] ?? 0;
  if (high === 0) return low === 0 ? 0n : BigInt(low);
  return BigInt.asIntN(64, (BigInt(high) << 32n) | BigInt(low));
}

const word64 = (words: Uint32Array, at: number) => (words[at] ?? 0) + (words[at + 1] ?? 0) * WORD;
