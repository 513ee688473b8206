/**
 * File locks of the tree (man 2 fcntl "Advisory record locking", "Open file description locks", "Leases"; man 2 flock).
 *
 * The kernel shows in fdinfo which locks a descriptor holds (fs/locks.c show_fd_locks()): POSIX locks belong to the
 * descriptor table and are shown with every descriptor of the file, all others belong to the open file description.
 *
 * Lost: tasks that wait for a lock ask again, and a lease that is being broken has the whole time for it again.
 */
import type { CriuErrorFields } from '../../../base/errors.ts';
import type { FileLockEntry } from '../../../image/gen/file-lock.ts';
import {
  AT_FDCWD,
  F_OFD_SETLK,
  F_RDLCK,
  F_SETLEASE,
  F_SETLK,
  F_SETOWN,
  F_UNLCK,
  F_WRLCK,
  LOCK_EX,
  LOCK_NB,
  LOCK_SH,
  O_ACCMODE,
  O_CLOEXEC,
  O_NONBLOCK,
  O_RDONLY,
  O_WRONLY,
  SEEK_SET,
} from '../../../linux/abi/fcntl.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import type { FileLock, FileLockKind } from '../../../proc/locks.ts';
import type { FdTablePlan } from '../fd-table/fd-table-plan.ts';
import type { OpenFile } from '../file-kind.ts';
import type { StepArg } from '../step-args.ts';

/** Values of FileLockEntry.flag (criu/include/file-lock.h, 4.2). */
const LOCK_FLAGS = { POSIX: 1, FLOCK: 2, OFDLCK: 4, LEASE: 8 } as const;

/** Bit of FileLockEntry.type: the lease is being broken. */
const LEASE_BREAKING = 4;

/** Describes the locks that a descriptor holds, or says why they cannot be kept. Pure. */
export class LockCollector {
  readonly entries: FileLockEntry[] = [];
  readonly #isAllowed: boolean;
  readonly #seen = new Set<string>();

  /** @param isAllowed --file-locks was given */
  constructor(isAllowed: boolean) {
    this.#isAllowed = isAllowed;
  }

  /**
   * Adds what `file` holds.
   *
   * @param isNew this is the first descriptor of the description; otherwise only POSIX locks count
   */
  add(file: OpenFile, filesId: number, isNew: boolean): CriuErrorFields | undefined {
    for (const lock of file.fdinfo.locks) {
      const isPosix = lock.kind === 'POSIX';
      if (!isPosix && !isNew) continue;
      const key = `${filesId} ${file.stat.st_dev}:${lock.inode} ${lock.access} ${lock.start} ${lock.end}`;
      if (isPosix && this.#seen.has(key)) continue;
      this.#seen.add(key);
      const problem = this.#isAllowed ? unsupported(lock) : NOT_ALLOWED;
      if (problem !== undefined) return { object: file.object, action: 'cannot be dumped', ...problem };
      this.entries.push(describeLock(lock, file.task.pid, file.fd));
    }
    return undefined;
  }
}

const NOT_ALLOWED = {
  why: 'it holds a file lock, and whether others outside the tree want that file is not known',
  remedy: 'have file locks dumped with --file-locks',
};

function unsupported({ kind }: FileLock): { why: string } | undefined {
  if (!isKept(kind)) return { why: `locks of kind ${kind} cannot be restored` };
  return undefined;
}

const isKept = (kind: FileLockKind): kind is keyof typeof LOCK_FLAGS => kind in LOCK_FLAGS;

const TYPES = { READ: F_RDLCK, WRITE: F_WRLCK, UNLCK: F_UNLCK } as const;

function describeLock({ kind, mode, access, start, end }: FileLock, pid: number, fd: number): FileLockEntry {
  // Of a lease that is being broken, the kernel shows what it is to become.
  const breaking = kind === 'LEASE' && mode === 'BREAKING' ? LEASE_BREAKING : 0;
  return {
    flag: isKept(kind) ? LOCK_FLAGS[kind] : 0,
    type: TYPES[access] | breaking,
    pid,
    fd,
    start,
    // Zero means up to the end of the file, however far it grows.
    len: end === undefined ? 0n : end + 1n - start,
  };
}

/** Why a lock in the image cannot be restored. Pure. */
export function checkLock({ flag, type, pid, fd }: FileLockEntry, isOpen: boolean): CriuErrorFields | undefined {
  const object = `file lock on fd ${fd} of task ${pid}`;
  const action = 'cannot be restored';
  if (!isOpen) return { object, action, why: 'the image has no such descriptor' };
  const isSimple = type === F_RDLCK || type === F_WRLCK;
  const target = type & ~LEASE_BREAKING;
  const isBreaking = flag === LOCK_FLAGS.LEASE && target !== type && (target === F_RDLCK || target === F_UNLCK);
  const isKnown = Object.values<number>(LOCK_FLAGS).includes(flag) && (isSimple || isBreaking);
  return isKnown ? undefined : { object, action, why: `its kind ${flag} or type ${type} is not known` };
}

/** Leases belong to an open file description, and are taken when its owner is not yet set. */
export const isLease = ({ flag }: FileLockEntry) => flag === LOCK_FLAGS.LEASE;

/**
 * Plans taking a lease. One that was being broken is taken as it was before, and broken again by opening the file: that
 * fails, since the holder is asked first. Nobody owns the file then, so that no second signal is sent. Pure.
 *
 * @param flags how the file was opened
 * @param path the argument that opens it again
 */
export function planLease(table: FdTablePlan, { type, fd }: FileLockEntry, flags: number, path: StepArg): void {
  const because = `take the lease on descriptor ${fd}`;
  if ((type & LEASE_BREAKING) === 0) {
    table.do(because, SYS.fcntl, fd, F_SETLEASE, type);
    return;
  }
  const before = (flags & O_ACCMODE) === O_RDONLY ? F_RDLCK : F_WRLCK;
  const breaker = (type & ~LEASE_BREAKING) === F_UNLCK ? O_WRONLY : O_RDONLY;
  table.do(because, SYS.fcntl, fd, F_SETLEASE, before);
  table.do(`let nobody own descriptor ${fd}`, SYS.fcntl, fd, F_SETOWN, 0);
  table.doUnchecked(
    `break the lease on descriptor ${fd}`,
    SYS.openat,
    AT_FDCWD,
    path,
    breaker | O_NONBLOCK | O_CLOEXEC,
  );
}

/** Plans taking a lock (not a lease), without waiting: whoever holds it instead is not part of the tree. Pure. */
export function planLock(table: FdTablePlan, { flag, type, fd, start, len }: FileLockEntry): void {
  const because = `take the lock on descriptor ${fd}`;
  if (flag === LOCK_FLAGS.FLOCK) {
    table.do(because, SYS.flock, fd, (type === F_WRLCK ? LOCK_EX : LOCK_SH) | LOCK_NB);
  } else {
    const command = flag === LOCK_FLAGS.POSIX ? F_SETLK : F_OFD_SETLK;
    table.do(because, SYS.fcntl, fd, command, { bytes: flock(type, start, len) });
  }
}

const FLOCK_BYTES = 32;

/** struct flock (x86-64): l_type, l_whence, l_start, l_len, l_pid; l_pid is 0, as OFD locks demand. */
function flock(type: number, start: bigint, len: bigint): Uint8Array {
  const bytes = new Uint8Array(FLOCK_BYTES);
  const view = new DataView(bytes.buffer);
  view.setInt16(0, type, true);
  view.setInt16(2, SEEK_SET, true);
  view.setBigInt64(8, start, true);
  view.setBigInt64(16, len, true);
  return bytes;
}
