import { expect, test } from 'bun:test';
import { FdTypes, type FileEntry } from '../../../image/gen/fdinfo.ts';
import type { MemfdInodeEntry } from '../../../image/gen/memfd.ts';
import type { ImageDir } from '../../../image/image-dir.ts';
import { F_SETFL, O_APPEND, O_CLOEXEC, O_PATH, O_RDONLY, O_RDWR } from '../../../linux/abi/fcntl.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { FdTablePlan } from '../fd-table/fd-table-plan.ts';
import type { OpenFile, RestoreContext, RestoreHome } from '../file-kind.ts';
import type { Step } from '../step.ts';
import { memfd } from './memfd.ts';
import { MemfdObjects } from './memfd-objects.ts';

const fown = { uid: 0, euid: 0, signum: 0, pid_type: 0, pid: 0 };
const INODE: MemfdInodeEntry = { name: 'x', uid: 0, gid: 0, size: 0, shmid: 5, seals: 0, inode_id: 1 };

function entry(id: number, flags: number, pos = 0, inode_id = 1): FileEntry {
  return { type: FdTypes.MEMFD, id, memfd: { id, flags, pos, fown, inode_id } };
}

/** The steps for descriptions of one object, made one after the other. */
function planned(entries: readonly FileEntry[], inherited?: number): Step[] {
  const table = new FdTablePlan(9);
  const objects = new MemfdObjects({ tryRead: () => [INODE] } as unknown as ImageDir);
  const context = { controllerPid: 77, inherited: () => inherited, state: () => objects } as unknown as RestoreContext;
  const pull = () => table.open('fetch', SYS.pidfd_getfd, 8, 9, 0);
  const home = { table, context, pull, made: () => {} } as unknown as RestoreHome;
  for (const one of entries) memfd.create([one], home);
  return table.take().toSteps();
}

const names = (steps: readonly Step[]) => steps.map(({ nr }) => nr);

test('the first description for reading and writing is the original, with its flags and position', () => {
  const [fetch, flags, seek] = planned([entry(1, O_RDWR | O_APPEND, 40)]);
  expect(fetch?.nr).toBe(SYS.pidfd_getfd);
  expect(flags?.args).toEqual([0, F_SETFL, O_APPEND]);
  expect([seek?.nr, seek?.args]).toEqual([SYS.lseek, [0, 40, 0]]);
});

test('others are opened', () => {
  const steps = planned([entry(1, O_RDONLY), entry(2, O_RDWR), entry(3, O_RDWR), entry(4, O_PATH, 3)]);
  expect(names(steps)).toEqual([SYS.openat, SYS.pidfd_getfd, SYS.openat, SYS.openat]);
  const opens = steps.filter(({ nr }) => nr === SYS.openat);
  expect(opens.map(({ args }) => args[2])).toEqual([O_RDONLY | O_CLOEXEC, O_RDWR | O_CLOEXEC, O_PATH | O_CLOEXEC]);
});

test('--inherit-fd takes its place', () => {
  expect(names(planned([entry(1, O_RDONLY, 40)], 12))).toEqual([SYS.pidfd_getfd]);
});

test('a description without an object is refused', () => {
  const objects = new MemfdObjects({ tryRead: () => undefined } as unknown as ImageDir);
  const context = { state: () => objects } as unknown as RestoreContext;
  expect(memfd.check?.(entry(4, O_RDWR), context)).toEqual([
    { object: 'file 4 of files.img', action: 'cannot be restored', why: 'memfd.img has no memory object 1' },
  ]);
});

test('seals that nobody knows are refused before anything is made', () => {
  const images = { tryRead: () => [INODE, { ...INODE, inode_id: 2, name: 'y', seals: 0x8000_0041 }] };
  expect(() => new MemfdObjects(images as unknown as ImageDir).create()).toThrow(
    'memfd:y: cannot be restored: memfd.img has seals for it that are not known: 0x80000040',
  );
});

test('System V shared memory that is open as a file is refused', () => {
  const file = { link: '/SYSV00000000 (deleted)', isKernelShmem: true } as OpenFile;
  expect(memfd.recognise(file)).toBe(true);
  expect(memfd.dump(file, 3, {} as never)).toEqual({
    unsupported: 'System V shared memory cannot be opened again as a file',
  });
});
