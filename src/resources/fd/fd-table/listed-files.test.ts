import { expect, test } from 'bun:test';
import { bytesOf } from '../../../base/bytes.ts';
import type { FrozenTask } from '../../../dump/frozen-tree.ts';
import { O_PATH, O_RDWR, S_IFCHR, S_IFIFO, S_IFREG, S_IFSOCK } from '../../../linux/abi/fcntl.ts';
import {
  BTRFS_SUPER_MAGIC,
  EXT4_SUPER_MAGIC,
  PIPEFS_MAGIC,
  SOCKFS_MAGIC,
  TMPFS_MAGIC,
} from '../../../linux/abi/statfs.ts';
import { RECORD_AT } from '../../../linux/task-files.ts';
import { ListedFiles } from './listed-files.ts';

type Fields = Partial<Record<keyof typeof RECORD_AT, number>>;

const FILE: Fields = {
  fd: 37,
  flags: O_RDWR,
  inode: 7,
  size: 4096,
  mode: S_IFREG | 0o640,
  links: 1,
  device: (253 << 20) | 0x12345,
  fsType: EXT4_SUPER_MAGIC,
  cloexec: 0xffff_ffff,
  mntId: 28,
};

/** Records one after the other, with a path each. */
function list(...records: readonly (readonly [Fields, string])[]): ListedFiles {
  const bytes = new Uint8Array(1024);
  const words = new Uint32Array(bytes.buffer);
  const starts = records.map(([fields, path], index) => {
    const at = index * 64;
    const all: Fields = { pathBytes: path.length + 1, ...FILE, ...fields };
    for (const name in all) {
      const [place, value] = [RECORD_AT[name as keyof Fields], all[name as keyof Fields] ?? 0];
      words[at + place] = value;
      if (value > 0xffff_ffff) words[at + place + 1] = Math.floor(value / 2 ** 32);
    }
    bytes.set(bytesOf(path), (at + RECORD_AT.path) * 4);
    return at;
  });
  return new ListedFiles({ pid: 1, label: 'task 1' } as FrozenTask, {
    count: starts.length,
    bytes,
    words,
    starts,
    likenessBytes: 64,
  });
}

function look(fields: Fields, path = '/data/file') {
  const file = list([fields, path]).tryInspect(0);
  return typeof file === 'object' ? file : undefined;
}

test('a record tells what a file is, and where it stands', () => {
  const file = look({ position: 9 });
  const { fd, link, flags, pos, mntId, isCloexec, fsType, hasLocks, stat } = file ?? {};
  expect({ fd, link, flags, pos, mntId, isCloexec, fsType, hasLocks }).toEqual({
    fd: 37,
    link: '/data/file',
    flags: O_RDWR,
    pos: 9n,
    mntId: 28,
    // Its bit is in the other half.
    isCloexec: false,
    fsType: EXT4_SUPER_MAGIC,
    hasLocks: false,
  });
  // As stat(2) has it: new_encode_dev() of the kernel.
  expect([stat?.st_dev, stat?.st_ino, stat?.st_size, stat?.st_nlink]).toEqual([0x1230fd45, 7, 4096, 1]);
  expect(look({ fd: 5, cloexec: 1 << 5 })?.isCloexec).toBe(true);
});

test('pipes and sockets are named by their inodes', () => {
  expect(look({ mode: S_IFIFO, fsType: PIPEFS_MAGIC, pathBytes: 0 })?.link).toBe('pipe:[7]');
  expect(look({ mode: S_IFSOCK, fsType: SOCKFS_MAGIC, pathBytes: 0, inode: 0x1_0000_0002 })?.link).toBe(
    'socket:[4294967298]',
  );
});

test('numbers of more than 32 bits', () => {
  expect(look({ position: 0xffff_ffff })?.pos).toBe(0xffff_ffffn);
  expect(look({ position: 0x12_3456_789a })?.pos).toBe(0x12_3456_789an);
  const { stat } = look({ inode: 0x1_0000_0002, size: 0x5_0000_0000 }) ?? {};
  expect([stat?.st_ino, stat?.st_size]).toEqual([0x1_0000_0002, 0x5_0000_0000]);
});

test('only what a record tells all of is taken from it', () => {
  const plain: Fields[] = [
    {},
    { fsType: TMPFS_MAGIC },
    { mode: S_IFIFO | 0o600, fsType: PIPEFS_MAGIC },
    { mode: S_IFSOCK | 0o777, fsType: SOCKFS_MAGIC },
  ];
  const others: Fields[] = [
    { fsType: BTRFS_SUPER_MAGIC },
    { flags: O_PATH },
    { links: 0 },
    { owner: 1 },
    { locks: 1 },
    { mode: S_IFCHR | 0o600 },
    { mode: S_IFIFO | 0o600 },
    // ENAMETOOLONG.
    { pathBytes: -36 >>> 0 },
  ];
  expect(plain.map((fields) => look(fields) !== undefined)).toEqual(plain.map(() => true));
  expect(others.map((fields) => look(fields) !== undefined)).toEqual(others.map(() => false));
  const both = list([{}, '/a'], [{ fd: 38, links: 0 }, '/b']);
  expect([both.fds, both.others]).toEqual([[37, 38], [38]]);
});
