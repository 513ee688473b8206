/** inotify and fanotify: entries, and the steps that make watches and marks again. */
import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import { FdTypes, type FileEntry } from '../../../image/gen/fdinfo.ts';
import { MarkType } from '../../../image/gen/fsnotify.ts';
import {
  FAN_CLOEXEC,
  FAN_MARK_ADD,
  FAN_MARK_DONT_FOLLOW,
  FAN_MARK_IGNORED_MASK,
  FAN_MARK_IGNORED_SURV_MODIFY,
  FAN_MARK_MOUNT,
  FAN_NONBLOCK,
  FAN_OPEN_PERM,
  FAN_UNLIMITED_MARKS,
  IN_DONT_FOLLOW,
  IN_MODIFY,
  IN_ONESHOT,
  INOTIFY_IOC_SETNEXTWD,
} from '../../../linux/abi/event.ts';
import { AT_FDCWD, O_CLOEXEC, O_NONBLOCK } from '../../../linux/abi/fcntl.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { parseFdinfo } from '../../../proc/fdinfo.ts';
import { fanotify, fdsInEvents } from '../fanotify/fanotify.ts';
import { FdTablePlan } from '../fd-table/fd-table-plan.ts';
import type { FileKind, KindDump, OpenFile, RestoreContext, RestoreHome } from '../file-kind.ts';
import { inotify } from '../inotify/inotify.ts';
import { decodeHandle, encodeHandle } from './describe.ts';

const fown = { uid: 0, euid: 0, signum: 0, pid_type: 0, pid: 0 };

/** A restore with the given ghosts, by remap. Nothing but /there exists. */
function contextWith(ghost?: { id: number; dev: number; ino: bigint }): RestoreContext {
  const states = new Map<string, unknown>();
  return {
    controllerPid: 50,
    tree: { files: new Map() },
    images: {
      tryRead: (kind: string) => {
        if (ghost === undefined) return undefined;
        return kind === 'remap-fpath' ? [{ orig_id: 4, remap_id: ghost.id, remap_type: 1 }] : { message: ghost };
      },
    },
    system: { stat: (path: string) => (path === '/there' ? {} : -2) },
    pathOf: (id: number) => ({ text: `file ${id}` }),
    state<T>(key: string, make: () => T): T {
      if (!states.has(key)) states.set(key, make());
      return states.get(key) as T;
    },
  } as unknown as RestoreContext;
}

function steps(kind: FileKind, entry: FileEntry, context: RestoreContext, cloexec = 0) {
  const table = new FdTablePlan(3);
  const home = { table, context, task: { pid: 9 }, cloexec: () => cloexec, made: () => undefined };
  kind.create([entry], home as unknown as RestoreHome);
  kind.finish?.(entry, 0, home as unknown as RestoreHome);
  return table
    .take()
    .toSteps()
    .map(({ nr, args, expected }) => ({ nr, args, expected }));
}

const handle = { ...encodeHandle({ type: 1, bytes: Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8) }), path: '/there' };
const watch = (wd: number, mask: number, f_handle = handle, i_ino = 2n) => ({
  id: 0,
  i_ino,
  mask,
  ignored_mask: 0,
  s_dev: 0x100005,
  wd,
  f_handle,
});
const inotifyEntry = (...wd: ReturnType<typeof watch>[]): FileEntry => ({
  type: FdTypes.INOTIFY,
  id: 7,
  ify: { id: 7, flags: O_NONBLOCK, fown, wd },
});

describe('handles', () => {
  test('come back from 16 words', () => {
    expect(handle.handle).toHaveLength(16);
    expect(handle.handle[0]).toBe(0x0807060504030201n);
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 128 }), fc.integer({ min: 0, max: 0xff }), (bytes, type) => {
        expect(decodeHandle(encodeHandle({ type, bytes }))).toEqual({ type, bytes });
      }),
    );
  });

  test('a missing or damaged one is none', () => {
    expect(decodeHandle(encodeHandle(undefined))).toBeUndefined();
    expect(decodeHandle({ bytes: 129, type: 1, handle: handle.handle })).toBeUndefined();
    expect(decodeHandle({ bytes: 9, type: 1, handle: [1n] })).toBeUndefined();
  });
});

describe('inotify', () => {
  test('watches get their numbers, in ascending order, and only bits that can be asked for', () => {
    const entry = inotifyEntry(watch(9, IN_ONESHOT + IN_MODIFY), watch(2, 0x0800_0000 + IN_MODIFY));
    const [init, ...others] = steps(inotify, entry, contextWith(), O_CLOEXEC);
    expect(init).toEqual({ nr: SYS.inotify_init1, args: [O_NONBLOCK | O_CLOEXEC], expected: 0 });
    const path = { text: '/there' };
    const add = SYS.inotify_add_watch;
    expect(others).toEqual([
      { nr: SYS.ioctl, args: [0, INOTIFY_IOC_SETNEXTWD, 2], expected: undefined },
      { nr: add, args: [0, path, IN_DONT_FOLLOW | IN_MODIFY], expected: 2 },
      { nr: SYS.ioctl, args: [0, INOTIFY_IOC_SETNEXTWD, 9], expected: undefined },
      { nr: add, args: [0, path, (IN_DONT_FOLLOW | IN_MODIFY | IN_ONESHOT) >>> 0], expected: 9 },
    ]);
  });

  test('a deleted file is the ghost of the tree, and is reached by a link', () => {
    const context = contextWith({ id: 1, dev: 0x100005, ino: 2n });
    const entry = inotifyEntry(watch(1, IN_MODIFY));
    expect(steps(inotify, entry, context)[2]?.args).toEqual([0, { text: 'file 4' }, IN_MODIFY]);
  });

  test('what cannot be found is named before anything is made', () => {
    const { path: _, ...bare } = handle;
    const check = (f_handle: typeof bare) =>
      inotify.check?.(inotifyEntry(watch(3, 1, f_handle as typeof handle)), contextWith());
    expect([check(handle), check(bare)]).toEqual([[], []]);
    const problem = { object: 'inotify (file 7), watch 3', action: 'cannot be restored' };
    expect(check({ ...handle, path: '/gone' } as typeof bare)).toEqual([
      { ...problem, why: '/gone, which it watches, cannot be found (ENOENT)' },
    ]);
    expect(check(encodeHandle(undefined))).toEqual([
      { ...problem, why: 'it watches inode 2, which has neither path nor handle in the image' },
    ]);
  });
});

describe('fanotify', () => {
  const group = (mark: object[], faflags: number): FileEntry =>
    ({
      type: FdTypes.FANOTIFY,
      id: 7,
      ffy: { id: 7, flags: O_NONBLOCK, fown, faflags, evflags: 0x8000, mark },
    }) as FileEntry;

  test('marks of inodes and mounts, with what they ignore; the last one that is shown was the first', () => {
    const inode = {
      type: MarkType.INODE,
      mflags: FAN_MARK_IGNORED_SURV_MODIFY,
      mask: 2,
      ignored_mask: 32,
      s_dev: 5,
      ie: { i_ino: 2n, f_handle: handle },
    };
    const mount = {
      type: MarkType.MOUNT,
      mflags: 0,
      mask: 8,
      ignored_mask: 0,
      s_dev: 5,
      me: { mnt_id: 3, path: '/mnt' },
    };
    const entry = group([inode, mount], FAN_UNLIMITED_MARKS | FAN_CLOEXEC);
    const dontFollow = FAN_MARK_ADD | FAN_MARK_DONT_FOLLOW;
    const ignoring = dontFollow | FAN_MARK_IGNORED_MASK | FAN_MARK_IGNORED_SURV_MODIFY;
    const there = { text: '/there' };
    expect(steps(fanotify, entry, contextWith()).map(({ nr, args }) => [nr, args])).toEqual([
      [SYS.fanotify_init, [FAN_UNLIMITED_MARKS | FAN_NONBLOCK, 0x8000]],
      [SYS.fanotify_mark, [0, FAN_MARK_ADD | FAN_MARK_MOUNT, 8, AT_FDCWD, { text: '/mnt' }]],
      [SYS.fanotify_mark, [0, dontFollow, 2, AT_FDCWD, there]],
      [SYS.fanotify_mark, [0, ignoring, 32, AT_FDCWD, there]],
    ]);
  });

  test.each([
    ['sdev:fe00000 mflags:0 mask:2', 'it has a mark on a whole file system, which the images cannot say'],
    ['mnt_ns:4026531841 mflags:0 mask:2', 'it has a mark on a mount namespace, which the images cannot say'],
    [
      `mnt_id:16 mflags:0 mask:${FAN_OPEN_PERM.toString(16)}`,
      'it is asked for permission to open or read files, and would stop criu itself',
    ],
  ])('a mark on %s is refused', (mark, why) => {
    const text = `pos:\t0\nflags:\t02\nmnt_id:\t1\nfanotify flags:0 event-flags:0\nfanotify ${mark} ignored_mask:0\n`;
    const file = { link: 'anon_inode:[fanotify]', localFd: -1, fdinfo: parseFdinfo(text) } as unknown as OpenFile;
    expect(fanotify.dump(file, 7, {} as KindDump)).toEqual({ unsupported: why });
  });

  test('descriptors in events are found, whatever the length of an event says', () => {
    const events = new Uint8Array(24 * 3 + 5);
    const view = new DataView(events.buffer);
    [
      [24, 8],
      [0, -1],
      [24, 9],
    ].forEach(([length = 0, fd = 0], i) => {
      view.setUint32(24 * i, length, true);
      view.setInt32(24 * i + 16, fd, true);
    });
    expect(fdsInEvents(events)).toEqual([8, 9]);
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => fdsInEvents(bytes).length <= 9));
  });
});
