/** All registered kinds over shared cases, and what each of them plans. */
import { describe, expect, test } from 'bun:test';
import { FdTypes, type FileEntry } from '../../image/gen/fdinfo.ts';
import type { TimerfdEntry } from '../../image/gen/timerfd.ts';
import { EFD_SEMAPHORE } from '../../linux/abi/event.ts';
import { O_CLOEXEC, O_NONBLOCK, O_PATH, O_RDWR, S_IFCHR, S_IFDIR, S_IFIFO, S_IFREG } from '../../linux/abi/fcntl.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { CLOCK_MONOTONIC, TFD_TIMER_ABSTIME } from '../../linux/abi/time.ts';
import type { Stat } from '../../linux/syscalls/fs.ts';
import { parseFdinfo } from '../../proc/fdinfo.ts';
import { eventfd } from './eventfd/eventfd.ts';
import { eventpoll } from './eventpoll/eventpoll.ts';
import { FdTablePlan } from './fd-table/fd-table-plan.ts';
import type { FileKind, KindDump, OpenFile, RestoreContext, RestoreHome } from './file-kind.ts';
import { FILE_KINDS } from './registry.ts';
import { signalfd } from './signalfd/signalfd.ts';
import type { Step } from './step.ts';
import { timerfd } from './timerfd/timerfd.ts';

const fown = { uid: 0, euid: 0, signum: 0, pid_type: 0, pid: 0 };

function openFile(
  link: string,
  fdinfo: string,
  more: Partial<OpenFile> & { mode?: number; rdev?: number } = {},
): OpenFile {
  const { mode = 0o600, rdev = 0, ...fields } = more;
  return {
    task: { pid: 5, label: "task 5 'x'" } as OpenFile['task'],
    fd: 3,
    localFd: -1,
    stat: { st_mode: mode, st_ino: 1, st_dev: 2, st_nlink: 1, st_rdev: rdev } as Stat,
    link,
    flags: O_RDWR,
    pos: 0n,
    mntId: 1,
    fown,
    fsType: 0,
    socketFamily: undefined,
    fdinfo: parseFdinfo(`pos:\t0\nflags:\t02\nmnt_id:\t1\n${fdinfo}`),
    isKernelShmem: false,
    object: `fd 3 of task 5 'x' (${link})`,
    ...fields,
  };
}

const SAMPLES: [string, OpenFile, FdTypes][] = [
  ['a file', openFile('/etc/passwd', '', { mode: S_IFREG | 0o644 }), FdTypes.REG],
  ['a directory', openFile('/', '', { mode: S_IFDIR | 0o755 }), FdTypes.REG],
  ['/dev/null', openFile('/dev/null', '', { mode: S_IFCHR | 0o666, rdev: 0x103 }), FdTypes.REG],
  ['a terminal by O_PATH', openFile('/dev/tty', '', { mode: S_IFCHR, rdev: 0x500, flags: O_PATH }), FdTypes.REG],
  ['a FIFO by O_PATH', openFile('/tmp/fifo', '', { mode: S_IFIFO, flags: O_PATH }), FdTypes.REG],
  ['a pipe', openFile('pipe:[1]', '', { mode: S_IFIFO | 0o600 }), FdTypes.PIPE],
  ['a FIFO', openFile('/tmp/fifo', '', { mode: S_IFIFO | 0o600, fsType: 0xef53 }), FdTypes.FIFO],
  ['an eventfd', openFile('anon_inode:[eventfd]', 'eventfd-count:\t5\n'), FdTypes.EVENTFD],
  ['an epoll', openFile('anon_inode:[eventpoll]', ''), FdTypes.EVENTPOLL],
  ['a signalfd', openFile('anon_inode:[signalfd]', 'sigmask:\t0000000000000200\n'), FdTypes.SIGNALFD],
  ['a timerfd', openFile('anon_inode:[timerfd]', ''), FdTypes.TIMERFD],
  ['/dev/net/tun', openFile('/dev/net/tun', '', { mode: S_IFCHR | 0o666, rdev: 0xac8 }), FdTypes.TUNF],
  ['an io_uring', openFile('anon_inode:[io_uring]', ''), FdTypes.IO_URING_EXT],
  ['a BPF map', openFile('anon_inode:bpf-map', ''), FdTypes.BPFMAP],
];

describe('recognition', () => {
  test('each kind is registered once', () => {
    expect(new Set(FILE_KINDS.map(({ type }) => type)).size).toBe(FILE_KINDS.length);
  });

  test.each(SAMPLES)('%s is recognised by exactly one kind', (_, file, type) => {
    expect(FILE_KINDS.filter((kind) => kind.recognise(file)).map((kind) => kind.type)).toEqual([type]);
  });

  test('nobody takes a socket or a file that cannot be reached for something else', () => {
    const socket = openFile('socket:[1]', '', { mode: 0o140777 });
    const lost = openFile('(unreachable)/x', '', { mode: S_IFREG | 0o644 });
    const regular = FILE_KINDS.filter(({ type }) => type === FdTypes.REG || type === FdTypes.FIFO);
    expect([socket, lost].some((file) => regular.some((kind) => kind.recognise(file)))).toBe(false);
  });
});

/** What a kind plans for one entry: creation, then late steps. */
function planned(kind: FileKind, entry: FileEntry, cloexec = 0): Step[] {
  const table = new FdTablePlan(3);
  const made: number[] = [];
  const home = {
    table,
    cloexec: () => cloexec,
    made: (_: number, fd: number) => made.push(fd),
    context: { system: { wallClockNs: () => 1_000_000_000_700n } } as unknown as RestoreContext,
  } as unknown as RestoreHome;
  kind.create([entry], home);
  kind.finish?.(entry, made[0] ?? -1, home);
  return table.take().toSteps();
}

function dumped(kind: FileKind, file: OpenFile): FileEntry {
  const result = kind.dump(file, 7, {} as KindDump);
  if ('unsupported' in result) throw new Error(result.unsupported);
  return result;
}

const words = (step: Step | undefined, arg: number): bigint[] => {
  const value = step?.args[arg];
  if (typeof value !== 'object' || !('bytes' in value)) return [];
  return [...new BigInt64Array(value.bytes.slice().buffer)];
};

describe('eventfd', () => {
  test('counter and flags come back in one call', () => {
    const file = openFile('anon_inode:[eventfd]', 'eventfd-count:\t5\neventfd-semaphore: 0\n', {
      flags: O_RDWR | O_NONBLOCK,
    });
    const entry = dumped(eventfd, file);
    expect(entry.efd).toEqual({ id: 7, flags: O_RDWR | O_NONBLOCK, fown, counter: 5n });
    const [step, ...others] = planned(eventfd, entry, O_CLOEXEC);
    expect([step?.nr, step?.args, others]).toEqual([SYS.eventfd2, [5, O_CLOEXEC | O_NONBLOCK], []]);
  });

  test('a semaphore stays one, and a counter that is no unsigned int is written', () => {
    const entry = dumped(
      eventfd,
      openFile('anon_inode:[eventfd]', 'eventfd-count:\t100000000\neventfd-semaphore: 1\n'),
    );
    expect(entry.efd?.flags).toBe(O_RDWR | EFD_SEMAPHORE);
    const [step, write] = planned(eventfd, entry);
    expect(step?.args).toEqual([0, EFD_SEMAPHORE]);
    expect([write?.nr, words(write, 1)]).toEqual([SYS.write, [0x100000000n]]);
  });
});

test('signalfd keeps its signals', () => {
  const entry = dumped(signalfd, openFile('anon_inode:[signalfd]', 'sigmask:\t0000000400000200\n'));
  const [step] = planned(signalfd, entry);
  expect([step?.nr, words(step, 1)]).toEqual([SYS.signalfd4, [0x400000200n]]);
});

describe('timerfd', () => {
  const state = {
    id: 7,
    flags: O_RDWR,
    fown,
    clockid: CLOCK_MONOTONIC,
    ticks: 0,
    settime_flags: 0,
    vsec: 5,
    vnsec: 6,
    isec: 7,
    insec: 8,
  };
  const plan = (tfd: Partial<TimerfdEntry>) =>
    planned(timerfd, { type: FdTypes.TIMERFD, id: 7, tfd: { ...state, ...tfd } });

  test('expires when it would have', () => {
    const [make, arm, ...others] = plan({ deadline_ext: 9_000_000_001n });
    expect(make?.args).toEqual([CLOCK_MONOTONIC, 0]);
    expect([arm?.nr, arm?.args[1]]).toEqual([SYS.timerfd_settime, TFD_TIMER_ABSTIME]);
    expect([words(arm, 2), others]).toEqual([[7n, 8n, 9n, 1n], []]);
  });

  test('is started at the first expiration that nobody has read', () => {
    const [, arm, ...others] = plan({ ticks: 3, deadline_ext: 90_000_000_100n });
    expect([words(arm, 2), others]).toEqual([[7n, 8n, 69n, 76n], []]);
    const [, early, ticks] = plan({ ticks: 100, deadline_ext: 90_000_000_100n });
    expect([words(early, 2), words(ticks, 2)]).toEqual([[7n, 8n, 90n, 100n], [100n]]);
  });

  test('goes on with the time that was left, where the image tells no more', () => {
    const [, arm, ticks] = plan({ ticks: 3 });
    expect([arm?.args[1], words(arm, 2)]).toEqual([0, [7n, 8n, 5n, 6n]]);
    expect([ticks?.nr, words(ticks, 2)]).toEqual([SYS.ioctl, [3n]]);
    const [, again] = plan({ ticks: 3, vsec: 0, vnsec: 0 });
    expect([again?.args[1], words(again, 2)]).toEqual([0, [7n, 8n, 7n, 8n]]);
  });

  test('stays absolute on the wall clock', () => {
    const onWallClock = { clockid: 0, settime_flags: 3 };
    const [, arm] = plan({ ...onWallClock, deadline_ext: 1006_000_000_200n });
    expect([arm?.args[1], words(arm, 2)]).toEqual([3, [7n, 8n, 1006n, 200n]]);
    const [, guessed] = plan({ ...onWallClock, vnsec: 999999500 });
    expect([guessed?.args[1], words(guessed, 2)]).toEqual([3, [7n, 8n, 1006n, 200n]]);
  });

  test('is not armed when it was not', () => {
    expect(plan({ vsec: 0, vnsec: 0, isec: 0, insec: 0 }).length).toBe(1);
  });

  const check = (tfd: Partial<TimerfdEntry>) => {
    const entry = { type: FdTypes.TIMERFD, id: 7, tfd: { ...state, ...tfd } };
    return timerfd.check?.(entry, {} as RestoreContext).map(({ why }) => why);
  };

  test('with impossible times is refused', () => {
    expect(check({})).toEqual([]);
    expect(check({ vnsec: 1e9 })).toEqual(['1000000000 nanoseconds are more than a second']);
    expect(check({ isec: 1e10 })).toEqual(['the kernel counts no 10000000000 seconds']);
  });
});

test('epoll watches its files again at the end, with events and data', () => {
  const target = 'tfd:        3 events: 80000019 data: 1122334455667788  pos:0 ino:40e sdev:10\n';
  const entry = dumped(eventpoll, openFile('anon_inode:[eventpoll]', target));
  expect(entry.epfd?.tfd).toEqual([
    { id: 0, tfd: 3, events: 0x80000019, data: 0x1122334455667788n, dev: 0x10, inode: 0x40en, pos: 0n },
  ]);
  const [make, add] = planned(eventpoll, entry);
  expect(make?.nr).toBe(SYS.epoll_create1);
  expect([add?.nr, add?.args.slice(0, 3)]).toEqual([SYS.epoll_ctl, [0, 1, 3]]);
  const event = add?.args[3];
  const bytes = typeof event === 'object' && 'bytes' in event ? Buffer.from(event.bytes).toString('hex') : '';
  expect(bytes).toBe('190000808877665544332211');
});
