/**
 * /proc/locks and the `lock:` lines of fdinfo: file locks, man 5 proc_locks; fs/locks.c lock_get_status().
 */
import type { Device } from './maps.ts';
import { eachLine, malformed, type Place, toBigint, toHex, toInteger } from './text.ts';

/** Who made the lock: fcntl, fcntl with open file description, flock, lease, delegation of a file server. */
export type FileLockKind = 'POSIX' | 'OFDLCK' | 'ACCESS' | 'FLOCK' | 'LEASE' | 'DELEG' | 'UNKNOWN';

/** One file lock. */
export interface FileLock {
  /** Number in the list; waiters have that of the lock they wait for. */
  readonly id: bigint;
  /** A waiter that is blocked by the lock before it. */
  readonly isBlocked: boolean;
  readonly kind: FileLockKind;
  /** ADVISORY, MANDATORY, *NOINODE*; for leases ACTIVE, BREAKING, BREAKER. */
  readonly mode: string;
  readonly access: 'READ' | 'WRITE' | 'UNLCK';
  /** Owner in the reader's pid namespace; 0 when not visible or dead, -1 for OFDLCK. */
  readonly pid: number;
  /** `undefined` when the kernel prints `<none>`. */
  readonly device: Device | undefined;
  readonly inode: bigint;
  readonly start: bigint;
  /** Last byte, inclusive; `undefined` for the end of the file. */
  readonly end: bigint | undefined;
}

const LOCK_LINE =
  /^(\d+): *((?:-> *)?)(POSIX|OFDLCK|ACCESS|FLOCK|LEASE|DELEG|UNKNOWN) +(\S+) +(READ|WRITE|UNLCK) +(-?\d+) (\S+) (\d+) (EOF|\d+)\s*$/;

/** Parses /proc/locks. Throws CriuError, naming the line. */
export function parseLocks(text: string, file = '/proc/locks'): FileLock[] {
  const locks: FileLock[] = [];
  eachLine(text, file, (line, place) => {
    locks.push(parseLock(line, place));
  });
  return locks;
}

/** Parses one lock, without the `lock:` of fdinfo. */
export function parseLock(line: string, place: Place): FileLock {
  const match = LOCK_LINE.exec(line);
  if (match === null) throw malformed(place, 'a file lock');
  const [, id = '', arrow, kind, mode = '', access, pid = '', inode = '', start = '', end = ''] = match;
  return {
    id: BigInt(id),
    isBlocked: arrow !== '',
    kind: kind as FileLockKind,
    mode,
    access: access as FileLock['access'],
    pid: toInteger(pid, place, 'a pid'),
    ...parseInode(inode, place),
    start: BigInt(start),
    end: end === 'EOF' ? undefined : BigInt(end),
  };
}

/** `08:01:1234`: major and minor hexadecimal, inode decimal; or `<none>:0`. */
function parseInode(text: string, place: Place): { device: Device | undefined; inode: bigint } {
  if (text === '<none>:0') return { device: undefined, inode: 0n };
  const [major = '', minor = '', inode = ''] = text.split(':');
  return {
    device: { major: toHex(major, place, 'a device number'), minor: toHex(minor, place, 'a device number') },
    inode: toBigint(inode, place, 'an inode number'),
  };
}
