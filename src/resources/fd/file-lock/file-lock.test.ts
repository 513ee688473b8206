import { describe, expect, test } from 'bun:test';
import { composeMessage } from '../../../base/errors.ts';
import type { FileLockEntry } from '../../../image/gen/file-lock.ts';
import { F_OFD_SETLK, F_SETLEASE, F_SETLK, LOCK_EX, LOCK_NB } from '../../../linux/abi/fcntl.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { parseFdinfo } from '../../../proc/fdinfo.ts';
import { FdTablePlan } from '../fd-table/fd-table-plan.ts';
import type { OpenFile } from '../file-kind.ts';
import { checkLock, LockCollector, planLease, planLock } from './file-lock.ts';

function holder(locks: string, fd = 4): OpenFile {
  const fdinfo = parseFdinfo(`pos:\t0\nflags:\t02\nmnt_id:\t1\n${locks}`);
  return {
    fd,
    task: { pid: 9 },
    stat: { st_dev: 5 },
    fdinfo,
    object: `fd ${fd} of task 9 'x' (/f)`,
  } as unknown as OpenFile;
}

const FLOCK = 'lock:\t1: FLOCK  ADVISORY  WRITE 9 08:01:11 0 EOF\n';
const POSIX = 'lock:\t2: POSIX  ADVISORY  READ  9 08:01:11 10 19\n';
const OFD = 'lock:\t3: OFDLCK ADVISORY  WRITE -1 08:01:11 100 EOF\n';
const LEASE = 'lock:\t4: LEASE  BREAKING  UNLCK 9 08:01:11 0 EOF\n';

describe('dump', () => {
  test('all kinds are described', () => {
    const locks = new LockCollector(true);
    expect(locks.add(holder(FLOCK + POSIX + OFD + LEASE), 2, true)).toBeUndefined();
    expect(locks.entries).toEqual([
      { flag: 2, type: 1, pid: 9, fd: 4, start: 0n, len: 0n },
      { flag: 1, type: 0, pid: 9, fd: 4, start: 10n, len: 10n },
      { flag: 4, type: 1, pid: 9, fd: 4, start: 100n, len: 0n },
      { flag: 8, type: 6, pid: 9, fd: 4, start: 0n, len: 0n },
    ]);
  });

  test('a POSIX lock is kept once for a table, others once for a description', () => {
    const locks = new LockCollector(true);
    locks.add(holder(FLOCK + POSIX, 4), 2, true);
    locks.add(holder(FLOCK + POSIX, 5), 2, false);
    locks.add(holder(FLOCK + POSIX, 4), 3, false);
    expect(locks.entries.map(({ flag }) => flag)).toEqual([2, 1, 1]);
  });

  test('without --file-locks it is refused', () => {
    const problem = new LockCollector(false).add(holder(FLOCK), 2, true);
    expect(problem && composeMessage(problem)).toBe(
      "fd 4 of task 9 'x' (/f): cannot be dumped: it holds a file lock, and whether others outside the tree want that file " +
        'is not known; have file locks dumped with --file-locks',
    );
  });

  test('locks of a file server are refused', () => {
    const problem = new LockCollector(true).add(holder(FLOCK.replace('FLOCK ', 'DELEG ')), 2, true);
    expect(problem?.why).toBe('locks of kind DELEG cannot be restored');
  });
});

const entry = (flag: number, type: number): FileLockEntry => ({ flag, type, pid: 9, fd: 4, start: 10n, len: 20n });

function stepsOf(plan: (table: FdTablePlan) => void): [number, unknown, unknown][] {
  const table = new FdTablePlan(9);
  plan(table);
  return table
    .take()
    .toSteps()
    .map(({ nr, args }) => [nr, args[1], args[2]]);
}

describe('restore', () => {
  test('locks are taken without waiting', () => {
    expect(stepsOf((table) => planLock(table, entry(2, 1)))).toEqual([[SYS.flock, LOCK_EX | LOCK_NB, undefined]]);
    const flock = Buffer.from('00000000000000000a0000000000000014000000000000000000000000000000', 'hex');
    const bytes = new Uint8Array(flock);
    expect(stepsOf((table) => planLock(table, entry(1, 0)))).toEqual([[SYS.fcntl, F_SETLK, { bytes }]]);
    expect(stepsOf((table) => planLock(table, entry(4, 0)))).toEqual([[SYS.fcntl, F_OFD_SETLK, { bytes }]]);
  });

  test('a lease that was being broken is taken and broken', () => {
    const path = { text: '/f' };
    expect(stepsOf((table) => planLease(table, entry(8, 1), 2, path))).toEqual([[SYS.fcntl, F_SETLEASE, 1]]);
    const steps = stepsOf((table) => planLease(table, entry(8, 6), 0, path));
    expect(steps.map(([nr]) => nr)).toEqual([SYS.fcntl, SYS.fcntl, SYS.openat]);
    expect(steps[0]?.[2]).toBe(0);
  });

  test('unknown ones and those without descriptor are refused', () => {
    expect(checkLock(entry(2, 1), true)).toBeUndefined();
    expect(checkLock(entry(8, 6), true)).toBeUndefined();
    expect(checkLock(entry(2, 6), true)?.why).toBe('its kind 2 or type 6 is not known');
    expect(checkLock(entry(2, 1), false)?.why).toBe('the image has no such descriptor');
  });
});
