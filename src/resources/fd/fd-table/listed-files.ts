/**
 * Descriptors of a big table, as the kernel lists them in one go (linux/task-files.ts): regular files of the usual file
 * systems, pipes and sockets. Of these a record tells all that a duplicate and /proc/PID/fdinfo would. For the others,
 * and for files with locks or an owner, there is a probe (fd-probe.ts).
 */
import { byteStringAt } from '../../../base/bytes.ts';
import { expectMany } from '../../../base/hot-code.ts';
import type { FrozenTask } from '../../../dump/frozen-tree.ts';
import { O_PATH, S_IFIFO, S_IFMT, S_IFREG, S_IFSOCK } from '../../../linux/abi/fcntl.ts';
import { AF_UNIX } from '../../../linux/abi/socket.ts';
import {
  EXT4_SUPER_MAGIC,
  PIPEFS_MAGIC,
  RAMFS_MAGIC,
  SOCKFS_MAGIC,
  TMPFS_MAGIC,
  XFS_SUPER_MAGIC,
} from '../../../linux/abi/statfs.ts';
import { close, fromKernelDevice, fstat, type Stat, tryStat } from '../../../linux/syscalls/fs.ts';
import { familyIn, likenessOf, RECORD_AT, type TaskFileRecords, TaskFiles } from '../../../linux/task-files.ts';
import { fetchDescriptor, InspectedFile, NO_FD, NO_OWNER, type SocketFacts } from './open-file.ts';

/** From so many descriptors of a task on. Finding out where the kernel has what takes as long as 1,000 descriptors. */
const MANY = 1000;

/** File systems whose inodes have the numbers, devices and sizes that stat(2) tells. */
const PLAIN: readonly number[] = [TMPFS_MAGIC, EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, RAMFS_MAGIC];

const WORD = 2 ** 32;

/** What the kernel lists, for all tasks of a dump. */
export class Lister {
  #reader: { readonly files: TaskFiles | undefined } | undefined;

  /** The descriptors of a task. Undefined when there are few, or the kernel does not list them. */
  tryList(task: FrozenTask): ListedFiles | undefined {
    const folder = tryStat(`/proc/${task.pid}/fd`);
    // Since Linux 6.2 the size is the number of descriptors.
    const count = typeof folder === 'number' ? 0 : folder.st_size;
    if (count < MANY) return undefined;
    expectMany(count);
    this.#reader ??= { files: TaskFiles.tryOpen() };
    const records = this.#reader.files?.tryRead(task.pid, count);
    return records?.count === count ? new ListedFiles(task, records) : undefined;
  }

  [Symbol.dispose](): void {
    this.#reader?.files?.[Symbol.dispose]();
    this.#reader = undefined;
  }
}

export class ListedFiles {
  /** All descriptors, ascending. */
  readonly fds: readonly number[];
  /** Those that need a probe. */
  readonly others: readonly number[];
  readonly #task: FrozenTask;
  readonly #records: TaskFileRecords;

  constructor(task: FrozenTask, records: TaskFileRecords) {
    const fds: number[] = [];
    const others: number[] = [];
    for (const at of records.starts) {
      const fd = records.words[at + RECORD_AT.fd] ?? NO_FD;
      fds.push(fd);
      if (!isPlain(records.words, at)) others.push(fd);
    }
    this.fds = fds;
    this.others = others;
    this.#task = task;
    this.#records = records;
  }

  /** What is behind `fds[index]`; undefined for one of the others. */
  tryInspect(index: number): InspectedFile | undefined {
    const { words, bytes, starts } = this.#records;
    const at = starts[index] ?? 0;
    if (!isPlain(words, at)) return undefined;
    const fd = this.fds[index] ?? NO_FD;
    const path = (at + RECORD_AT.path) * 4;
    const position = {
      pos: positionOf(words, at),
      flags: words[at + RECORD_AT.flags] ?? 0,
      mntId: words[at + RECORD_AT.mntId] ?? 0,
      isCloexec: (((words[at + RECORD_AT.cloexec + ((fd >>> 5) & 1)] ?? 0) >>> (fd & 31)) & 1) === 1,
    };
    return new InspectedFile(this.#task, fd, NO_FD, undefined, {
      stat: new RecordStat(this.#task, words, at),
      link: byteStringAt(bytes, path, path + (words[at + RECORD_AT.pathBytes] ?? 0) - 1),
      position,
      fdinfo: undefined,
      owner: NO_OWNER,
      fsType: words[at + RECORD_AT.fsType] ?? 0,
      socket: ((words[at + RECORD_AT.mode] ?? 0) & S_IFMT) === S_IFSOCK ? this.#socket(at) : undefined,
    });
  }

  #socket(at: number): SocketFacts | undefined {
    const likeness = likenessOf(this.#records, at);
    if (likeness === undefined) return undefined;
    const family = familyIn(likeness);
    return { family, likeness: family === AF_UNIX ? likeness : undefined };
  }
}

/** Pipes and sockets have none. */
function positionOf(words: Uint32Array, at: number): bigint {
  const low = words[at + RECORD_AT.position] ?? 0;
  const high = words[at + RECORD_AT.position + 1] ?? 0;
  if (high === 0) return low === 0 ? 0n : BigInt(low);
  return BigInt.asIntN(64, (BigInt(high) << 32n) | BigInt(low));
}

function isPlain(words: Uint32Array, at: number): boolean {
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

/** What a record tells as stat(2) does; for the rest the file is asked, which hardly any needs. */
class RecordStat implements Stat {
  readonly st_dev: number;
  readonly st_ino: number;
  readonly st_nlink: number;
  readonly st_mode: number;
  readonly st_rdev: number;
  readonly st_size: number;
  readonly #task: FrozenTask;
  readonly #fd: number;
  #whole: Stat | undefined;

  constructor(task: FrozenTask, words: Uint32Array, at: number) {
    this.st_dev = fromKernelDevice(words[at + RECORD_AT.device] ?? 0);
    this.st_ino = word64(words, at + RECORD_AT.inode);
    this.st_nlink = words[at + RECORD_AT.links] ?? 0;
    this.st_mode = words[at + RECORD_AT.mode] ?? 0;
    this.st_rdev = fromKernelDevice(words[at + RECORD_AT.specialDevice] ?? 0);
    this.st_size = word64(words, at + RECORD_AT.size);
    this.#task = task;
    this.#fd = words[at + RECORD_AT.fd] ?? NO_FD;
  }

  /** Throws SyscallError. */
  get #all(): Stat {
    if (this.#whole === undefined) {
      const fd = fetchDescriptor(this.#task, this.#fd);
      this.#whole = fstat(fd);
      close(fd);
    }
    return this.#whole;
  }

  get st_uid(): number {
    return this.#all.st_uid;
  }
  get st_gid(): number {
    return this.#all.st_gid;
  }
  get st_blocks(): number {
    return this.#all.st_blocks;
  }
  get st_atime(): Stat['st_atime'] {
    return this.#all.st_atime;
  }
  get st_mtime(): Stat['st_mtime'] {
    return this.#all.st_mtime;
  }
}

const word64 = (words: Uint32Array, at: number) => (words[at] ?? 0) + (words[at + 1] ?? 0) * WORD;
