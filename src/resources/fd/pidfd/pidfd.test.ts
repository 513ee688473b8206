/** pidfds: what is kept, what is refused, and how they are opened again. */
import { describe, expect, test } from 'bun:test';
import { FdTypes, type FileEntry } from '../../../image/gen/fdinfo.ts';
import { O_NONBLOCK, O_RDWR } from '../../../linux/abi/fcntl.ts';
import { PIDFD_THREAD } from '../../../linux/abi/pidfd.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { parseFdinfo } from '../../../proc/fdinfo.ts';
import { FdTablePlan } from '../fd-table/fd-table-plan.ts';
import type { KindDump, OpenFile, RestoreContext, RestoreHome } from '../file-kind.ts';
import { pidfd } from './pidfd.ts';

const fown = { uid: 0, euid: 0, signum: 0, pid_type: 0, pid: 0 };

/** A tree of process 5 with threads 5 and 6. */
const dump = {
  tasks: [{ pid: 5, label: "task 5 'x'", threads: [{ tid: 5 }, { tid: 6 }] }],
  hasTask: (pid: number) => pid === 5,
} as unknown as KindDump;

function openPidfd(pid: number, nsPid: string, flags = O_RDWR): OpenFile {
  const text = `pos:\t0\nflags:\t02\nmnt_id:\t1\nino:\t4294967298\nPid:\t${pid}\nNSpid:\t${nsPid}\n`;
  return { link: 'anon_inode:[pidfd]', flags, fown, fdinfo: parseFdinfo(text) } as unknown as OpenFile;
}

const why = (file: OpenFile) => {
  const result = pidfd.dump(file, 7, dump);
  return 'unsupported' in result ? result.unsupported : result;
};

describe('dump', () => {
  test('keeps the pid of the innermost namespace, and the low half of the inode number', () => {
    expect(pidfd.dump(openPidfd(5, '5\t2', O_RDWR | O_NONBLOCK), 7, dump)).toEqual({
      type: FdTypes.PIDFD,
      id: 7,
      pidfd: { id: 7, ino: 2, flags: O_NONBLOCK, nspid: 2, fown },
    });
  });

  test('a task that was reaped has no pid', () => {
    expect(pidfd.dump(openPidfd(-1, '-1'), 7, dump)).toMatchObject({ pidfd: { nspid: -1 } });
  });

  test('what it refers to must be part of the tree', () => {
    expect(why(openPidfd(99, '99'))).toBe('it refers to process 99, which is not part of the tree');
    expect(why(openPidfd(0, '0'))).toBe('it refers to a process of another pid namespace');
    expect(why(openPidfd(6, '6', O_RDWR | PIDFD_THREAD))).toBe(
      "it refers to thread 6 of task 5 'x', which is not the leader",
    );
  });
});

describe('restore', () => {
  const entry = (nspid: number, flags = 0): FileEntry => ({
    type: FdTypes.PIDFD,
    id: 7,
    pidfd: { id: 7, ino: 2, flags, nspid, fown },
  });
  const context = { tree: { members: [{ pid: 5 }] }, state: (_: string, make: () => unknown) => make() };

  test('a living task is referred to by its pid', () => {
    const table = new FdTablePlan(3);
    const made: unknown[] = [];
    const home = { table, context, made: (...args: unknown[]) => made.push(args) } as unknown as RestoreHome;
    pidfd.create([entry(5, O_NONBLOCK | PIDFD_THREAD | 0o100000)], home);
    expect(
      table
        .take()
        .toSteps()
        .map(({ nr, args }) => [nr, args]),
    ).toEqual([[SYS.pidfd_open, [5, O_NONBLOCK | PIDFD_THREAD]]]);
    expect(made).toEqual([[7, 0, true]]);
  });

  test('a dead one comes from the controller', () => {
    const made: unknown[] = [];
    const home = { context, pull: () => 9, made: (...args: unknown[]) => made.push(args) } as unknown as RestoreHome;
    pidfd.create([entry(-1)], home);
    expect(made).toEqual([[7, 9, true]]);
  });

  test('a process that is not in the images is named', () => {
    const check = (nspid: number) => pidfd.check?.(entry(nspid), context as unknown as RestoreContext);
    expect([check(5), check(-1)]).toEqual([[], []]);
    expect(check(8)).toEqual([
      {
        object: 'pidfd (file 7)',
        action: 'cannot be restored',
        why: 'it refers to process 8, which is not part of the images',
      },
    ]);
  });
});
