import { expect, test } from 'bun:test';
import { O_PATH, O_RDWR, S_IFCHR, S_IFDIR, S_IFIFO, S_IFREG, S_IFSOCK } from '../../../linux/abi/fcntl.ts';
import type { Stat } from '../../../linux/syscalls/fs.ts';
import { QuickFiles } from './quick-files.ts';

const LOCKS = `1: POSIX  ADVISORY  WRITE 31564 fe:00:2196123 5 14
1: -> POSIX  ADVISORY  WRITE 31566 fe:00:2196124 5 EOF
2: FLOCK  ADVISORY  READ  -1 00:2a:77 0 EOF
3: LEASE  ACTIVE    READ  31564 fe:00:99 0 EOF
4: OFDLCK ADVISORY  WRITE -1 <none>:0 0 EOF
`;
const DISK = 0xfe00;
const stat = (st_mode: number, st_ino: number, st_dev = DISK) => ({ st_mode, st_ino, st_dev }) as Stat;
const NOBODY = -1;

test('files whose duplicates tell enough: pipes, sockets, regular files on a disk', () => {
  const quick = new QuickFiles(LOCKS);
  const has = (mode: number, ino = 5, flags: number = O_RDWR) => quick.has(stat(mode, ino), flags, NOBODY);
  expect([S_IFREG, S_IFIFO, S_IFSOCK].map((type) => has(type | 0o600))).toEqual([true, true, true]);
  expect([S_IFDIR, S_IFCHR, 0].map((type) => has(type | 0o600))).toEqual([false, false, false]);
  expect(has(S_IFREG, 5, O_PATH)).toBe(false);
});

test('whoever may hold a lock, or waits for one, is left to fdinfo', () => {
  const quick = new QuickFiles(LOCKS);
  const inodes = [2196123, 2196124, 77, 99, 0, 31564, 14];
  expect(inodes.map((ino) => quick.has(stat(S_IFREG, ino), O_RDWR, NOBODY))).toEqual([
    false,
    false,
    false,
    false,
    false,
    true,
    true,
  ]);
});
