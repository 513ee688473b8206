/**
 * File locks of the tree (man 2 fcntl "Advisory record locking", "Open file description locks", "Leases"; man 2 flock).
 *
 * The kernel shows in fdinfo which locks a descriptor holds (fs/locks.c show_fd_locks()): POSIX locks belong to the
 * descriptor table and are shown with every descriptor of the file, all others belong to the open file description.
 *
 * Lost: tasks that wait for a lock ask again. Refused: leases that are just being broken.
 */
import type { CriuErrorFields } from '../../../base/errors.ts';
import type { FileLockEntry } from '../../../image/gen/file-lock.ts';
import {
  F_OFD_SETLK,
  F_RDLCK,
  F_SETLEASE,
  F_SETLK,
  F_WRLCK,
  LOCK_EX,
  LOCK_NB,
  LOCK_SH,
  SEEK_SET,
} from '../../../linux/abi/fcntl.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import type { FileLock, FileLockKind } from '../../../proc/locks.ts';
import type { FdTablePlan } from '../fd-table/fd-table-plan.ts';
import type { OpenFile } from '../file-kind.ts';

/** Values of FileLockEntry.flag (criu/include/file-lock.h, 4.2). */
export const LOCK_FLAGS = { POSIX: 1, FLOCK: 2, OFDLCK: 4, LEASE: 8 } as const;

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

function unsupported({ kind, mode }: FileLock): { why: string } | undefined {
  if (!isKept(kind)) return { why: `locks of kind ${kind} cannot be restored` };
  if (kind === 'LEASE' && mode !== 'ACTIVE') return { why: 'its lease is being broken just now; dump again later' };
  return undefined;
}

const isKept = (kind: FileLockKind): kind is keyof typeof LOCK_FLAGS => kind in LOCK_FLAGS;

function describeLock({ kind, access, start, end }: FileLock, pid: number, fd: number): FileLockEntry {
  return {
    flag: isKept(kind) ? LOCK_FLAGS[kind] : 0,
    type: access === 'WRITE' ? F_WRLCK : F_RDLCK,
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
  if (flag === LOCK_FLAGS.LEASE && (type & LEASE_BREAKING) !== 0) {
    return { object, action, why: 'the lease was being broken at the dump' };
  }
  const isKnown = Object.values<number>(LOCK_FLAGS).includes(flag) && (type === F_RDLCK || type === F_WRLCK);
  return isKnown ? undefined : { object, action, why: `its kind ${flag} or type ${type} is not known` };
}

/** Plans taking a lock, without waiting: whoever holds it instead is not part of the tree. Pure. */
export function planLock(table: FdTablePlan, { flag, type, fd, start, len }: FileLockEntry): void {
  const because = `take the lock on descriptor ${fd}`;
  if (flag === LOCK_FLAGS.FLOCK) {
    table.do(because, SYS.flock, fd, (type === F_WRLCK ? LOCK_EX : LOCK_SH) | LOCK_NB);
  } else if (flag === LOCK_FLAGS.LEASE) {
    table.do(because, SYS.fcntl, fd, F_SETLEASE, type);
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
