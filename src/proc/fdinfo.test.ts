import { expect, test } from 'bun:test';
import { EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN } from '../linux/abi/event.ts';
import { O_APPEND, O_CLOEXEC, O_DIRECTORY, O_LARGEFILE, O_RDWR } from '../linux/abi/fcntl.ts';
import { parseFdinfo } from './fdinfo.ts';
import { fixture } from './fixtures/fixture.ts';

const NOTHING = {
  scmFds: undefined,
  locks: [],
  eventfd: undefined,
  epoll: [],
  sigmask: undefined,
  timerfd: undefined,
  inotify: [],
  fanotify: undefined,
  pidfd: undefined,
  tunIff: undefined,
  bpfMap: undefined,
  bpfProg: undefined,
  userfaultfd: undefined,
  isIoUring: false,
};

const read = (kind: string) => parseFdinfo(fixture(`fdinfo-${kind}`));

test('a regular file with a lock', () => {
  expect(read('regular')).toEqual({
    ...NOTHING,
    pos: 42n,
    flags: O_RDWR | O_APPEND | O_LARGEFILE | O_CLOEXEC,
    mntId: 27,
    ino: 2196123n,
    locks: [
      {
        id: 1n,
        isBlocked: false,
        kind: 'POSIX',
        mode: 'ADVISORY',
        access: 'WRITE',
        pid: 31564,
        device: { major: 0xfe, minor: 0 },
        inode: 2196123n,
        start: 5n,
        end: 14n,
      },
    ],
  });
});

test('a pipe has nothing of its own', () => {
  expect(read('pipe')).toEqual({ ...NOTHING, pos: 0n, flags: O_CLOEXEC, mntId: 16, ino: 621021n });
  expect(read('directory').flags).toBe(O_DIRECTORY | O_LARGEFILE | O_CLOEXEC);
});

test('the other kinds of lock', () => {
  const locks = ['flock', 'ofd-lock', 'lease'].flatMap((kind) => read(kind).locks);
  expect(locks.map(({ kind, mode, access, pid, end }) => [kind, mode, access, pid, end])).toEqual([
    ['FLOCK', 'ADVISORY', 'READ', 31564, undefined],
    ['OFDLCK', 'ADVISORY', 'WRITE', -1, undefined],
    ['LEASE', 'ACTIVE', 'READ', 31564, undefined],
  ]);
});

test('eventfd: the count is hexadecimal', () => {
  expect(read('eventfd').eventfd).toEqual({ count: 300n, id: 1, isSemaphore: true });
  const old = 'pos:\t0\nflags:\t02\nmnt_id:\t9\neventfd-count:                0\n';
  expect(parseFdinfo(old).eventfd).toEqual({ count: 0n, id: undefined, isSemaphore: undefined });
});

test('epoll, today and before 4.13', () => {
  const always = EPOLLERR | EPOLLHUP;
  expect(read('epoll').epoll).toEqual([
    { tfd: 9, events: (EPOLLIN | EPOLLET | always) >>> 0, data: 9n, pos: 0n, ino: 0x40en, sdev: 0x10 },
    { tfd: 12, events: EPOLLIN | always, data: 0x7f080000000cn, pos: 0n, ino: 0x979ddn, sdev: 0xf },
  ]);
  const old = 'pos:\t0\nflags:\t02\ntfd:        5 events:       1d data: ffffffffffffffff \n';
  expect(parseFdinfo(old).epoll).toEqual([
    { tfd: 5, events: 0x1d, data: 0xffffffffffffffffn, pos: undefined, ino: undefined, sdev: undefined },
  ]);
});

test('signalfd', () => {
  expect(read('signalfd').sigmask).toBe(0x4000000000000200n);
});

test('timerfd, running and expired', () => {
  expect(read('timerfd').timerfd).toEqual({
    clockId: 7,
    ticks: 0n,
    settimeFlags: 1,
    value: { sec: 999997917n, nsec: 919099199 },
    interval: { sec: 3n, nsec: 250000000 },
  });
  expect(read('timerfd-expired').timerfd).toMatchObject({ ticks: 1n, value: { sec: 0n, nsec: 0 } });
});

test('inotify: watch descriptors are hexadecimal, handles are bytes', () => {
  const watches = read('inotify').inotify;
  expect(watches.map(({ wd, ino, sdev, mask }) => [wd, ino, sdev, mask])).toEqual([
    [14, 0x2182aan, 0xfe00000, 2],
    [13, 0x2182a9n, 0xfe00000, 2],
    [2, 0x979den, 0x15, 2],
    [1, 0x218294n, 0xfe00000, 0x301],
  ]);
  expect(watches[0]?.handle).toEqual({ type: 1, bytes: Uint8Array.fromHex('aa8221003b859fd4') });
});

test('inotify without handles', () => {
  const text = 'pos:\t0\nflags:\t00\ninotify wd:1 ino:2 sdev:3 mask:4 ignored_mask:0 \n';
  expect(parseFdinfo(text).inotify).toEqual([{ wd: 1, ino: 2n, sdev: 3, mask: 4, ignoredMask: 0, handle: undefined }]);
});

test('fanotify marks on file system, mount, inode and mount namespace', () => {
  const text = `${fixture('fdinfo-fanotify')}fanotify mnt_ns:4026531841 mflags:0 mask:1000000 ignored_mask:0\n`;
  const handle = { type: 1, bytes: Uint8Array.fromHex('948221007a013f01') };
  expect(parseFdinfo(text).fanotify).toEqual({
    flags: 0x30,
    eventFlags: 0x8000,
    marks: [
      { on: 'filesystem', sdev: 0xfe00000, flags: 0, mask: 8, ignoredMask: 0 },
      { on: 'mount', mntId: 0x1b, flags: 0, mask: 8, ignoredMask: 0 },
      { on: 'inode', ino: 0x218294n, sdev: 0xfe00000, handle, flags: 0, mask: 0x20, ignoredMask: 2 },
      { on: 'mount-namespace', mntNs: 4026531841, flags: 0, mask: 0x1000000, ignoredMask: 0 },
    ],
  });
});

test('pidfd of a living and of a reaped process', () => {
  expect(read('pidfd').pidfd).toEqual({ pid: 31564, nsPid: [31564] });
  expect(read('pidfd-dead').pidfd).toEqual({ pid: -1, nsPid: [-1] });
});

test('tun, attached or not', () => {
  expect([read('tun').tunIff, read('tun-unattached').tunIff, read('pipe').tunIff]).toEqual(['fixtun0', '', undefined]);
});

test('a Unix socket with descriptors in flight', () => {
  expect(read('unix-socket').scmFds).toBe(2);
});

test('BPF map and program', () => {
  expect(read('bpf-map').bpfMap).toEqual({
    type: 1,
    keyBytes: 4,
    valueBytes: 8,
    maxEntries: 16,
    flags: 1,
    extra: 0n,
    memlockBytes: 1152n,
    id: 25,
    isFrozen: false,
  });
  expect(read('bpf-prog').bpfProg).toEqual({ type: 1, tag: '59f4a931744dcdc6', id: 97 });
});

test('io_uring and userfaultfd', () => {
  expect(read('io_uring').isIoUring).toBe(true);
  expect(read('userfaultfd').userfaultfd).toEqual({ api: 0xaan, features: 0x80000000n, ioctls: 0x80000000000001ffn });
});

test('a position of 64 bits is exact, a kernel without mnt_id is understood', () => {
  expect(parseFdinfo('pos:\t9223372036854775807\nflags:\t0\n')).toMatchObject({
    pos: 9223372036854775807n,
    mntId: undefined,
    ino: undefined,
  });
});

test('errors name file and line', () => {
  const fail = (text: string) => () => parseFdinfo(text, '/proc/7/fdinfo/3');
  const prefix = "/proc/7/fdinfo/3: cannot parse the kernel's text: ";
  expect(fail('flags:\t0\n')).toThrow(`${prefix}a line "pos:" expected, found "flags:\\x090\\x0a"`);
  expect(fail('pos:\t0\nflags:\t9\n')).toThrow(`${prefix}a value of "flags" expected in line 2, found "flags:\\x099"`);
  expect(fail('pos:\t0\nflags:\t0\ntfd: x\n')).toThrow(`${prefix}an epoll target expected in line 3, found "tfd: x"`);
  expect(fail('pos:\t0\nflags:\t0\nlock:\tx\n')).toThrow(
    `${prefix}a file lock expected in line 3, found "lock:\\x09x"`,
  );
  expect(fail('pos:\t0\nflags:\t0\nfanotify mnt_id:1 mflags:0\n')).toThrow(
    `${prefix}the flags of the fanotify group expected in line 3, found "fanotify mnt_id:1 mflags:0"`,
  );
  const watch = 'inotify wd:1 ino:2 sdev:3 mask:4 fhandle-bytes:2 fhandle-type:1 f_handle:00';
  expect(fail(`pos:\t0\nflags:\t0\n${watch}\n`)).toThrow(`${prefix}a file handle of that length expected in line 3`);
});
