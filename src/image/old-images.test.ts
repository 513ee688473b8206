import { describe, expect, test } from 'bun:test';
import type { CoreEntry } from './gen/core.ts';
import type { CredsEntry } from './gen/creds.ts';
import { type ContentOf, type ImageKindName, imageFileName } from './image-kinds.ts';
import { BytesReader } from './image-reader.ts';
import {
  completeLeaderCore,
  completeMm,
  completeThreadCore,
  isOldTask,
  readFiles,
  withOldSeccomp,
} from './old-images.ts';
import { serializeImage } from './serialize-image.ts';

const fown = { uid: 0, euid: 0, signum: 0, pid_type: 0, pid: 0 };
const CREDS: CredsEntry = {
  ...{ uid: 1, gid: 2, euid: 3, egid: 4, suid: 5, sgid: 6, fsuid: 7, fsgid: 8, secbits: 0 },
  ...{ cap_inh: [], cap_prm: [], cap_eff: [], cap_bnd: [], groups: [], cap_amb: [] },
};
const TC = {
  task_state: 1,
  exit_code: 0,
  personality: 0,
  flags: 0,
  blk_sigset: 0n,
  comm: 'x',
  sigactions: [],
  sem_undo_ext: [],
};
const CORE: CoreEntry = { mtype: 1, tc: TC, thread_core: { futex_rla: 0n, futex_rla_len: 0 } };
const TIMER = { isec: 0, iusec: 0, vsec: 5, vusec: 0 };

class Folder extends BytesReader {
  readonly files: Map<string, Uint8Array>;

  constructor() {
    const files = new Map<string, Uint8Array>();
    super((name) => files.get(name));
    this.files = files;
  }

  add<K extends ImageKindName>(kind: K, id: number | undefined, content: ContentOf<K>): this {
    this.files.set(imageFileName(kind, id), serializeImage(kind, content));
    return this;
  }
}

describe('open files', () => {
  test('come from files.img when that is there', () => {
    const folder = new Folder().add('files', undefined, [{ type: 1, id: 1 }]);
    folder.add('pipes', undefined, [{ id: 2, pipe_id: 7, flags: 0, fown }]);
    expect(readFiles(folder).map(({ id }) => id)).toEqual([1]);
  });

  test('come from the images of all kinds, with their parts', () => {
    const folder = new Folder()
      .add('pipes', undefined, [{ id: 2, pipe_id: 7, flags: 0, fown }])
      .add('eventpoll', undefined, [{ id: 3, flags: 0, fown, tfd: [] }])
      .add('eventpoll-tfd', undefined, [{ id: 3, tfd: 9, events: 1, data: 2n }]);
    expect(readFiles(folder)).toEqual([
      { type: 2, id: 2, pipe: { id: 2, pipe_id: 7, flags: 0, fown } },
      { type: 7, id: 3, epfd: { id: 3, flags: 0, fown, tfd: [{ id: 3, tfd: 9, events: 1, data: 2n }] } },
    ] as never);
  });

  test('lose a bit of watches that only old kernels showed', () => {
    const watch = { id: 3, i_ino: 1n, mask: 0x0800_0002, ignored_mask: 0, s_dev: 1, wd: 1 };
    const f_handle = { bytes: 0, type: 0, handle: [] };
    const folder = new Folder()
      .add('inotify', undefined, [{ id: 3, flags: 0, fown, wd: [] }])
      .add('inotify-wd', undefined, [{ ...watch, f_handle }]);
    expect(readFiles(folder)[0]?.ify?.wd[0]?.mask).toBe(2);
  });

  test('must be there for their parts', () => {
    const folder = new Folder()
      .add('eventpoll', undefined, [{ id: 3, flags: 0, fown, tfd: [] }])
      .add('eventpoll-tfd', undefined, [{ id: 4, tfd: 9, events: 1, data: 2n }]);
    expect(() => readFiles(folder)).toThrow('eventpoll-tfd.img: entry 0: id: it belongs to file 4, which is not there');
  });
});

describe('the state of a task', () => {
  const folder = new Folder()
    .add('sigacts', 5, [{ sigaction: 1n, flags: 2n, restorer: 3n, mask: 4n }])
    .add('rlimit', 5, [{ cur: 1n, max: 2n }])
    .add('signal-s', 5, [{ siginfo: new Uint8Array([1]) }])
    .add('signal-p', 5, [])
    .add('signal-p', 6, [{ siginfo: new Uint8Array([2]) }])
    .add('itimers', 5, [TIMER, TIMER, TIMER])
    .add('creds', 5, [CREDS]);

  test('is put into the core', () => {
    const { tc, thread_core } = completeLeaderCore(folder, 5, CORE);
    expect(tc?.sigactions).toHaveLength(1);
    expect(tc?.rlimits?.rlimits).toEqual([{ cur: 1n, max: 2n }]);
    expect(tc?.signals_s?.signals).toHaveLength(1);
    expect(tc?.timers).toEqual({ real: TIMER, virt: TIMER, prof: TIMER, posix: [] });
    expect(thread_core?.creds).toEqual(CREDS);
    expect(thread_core?.signals_p?.signals).toEqual([]);
  });

  test('has credentials of the process and signals of the thread', () => {
    const { thread_core } = completeThreadCore(folder, 5, 6, { mtype: 1, thread_core: CORE.thread_core });
    expect(thread_core?.creds).toEqual(CREDS);
    expect(thread_core?.signals_p?.signals).toHaveLength(1);
  });

  test('keeps what the core has itself', () => {
    const core = { ...CORE, tc: { ...TC, rlimits: { rlimits: [] } } };
    expect(completeLeaderCore(folder, 5, core).tc?.rlimits?.rlimits).toEqual([]);
  });

  test('is old when the core has no signal actions', () => {
    expect(isOldTask(CORE)).toBe(true);
    const action = { sigaction: 1n, flags: 2n, restorer: 3n, mask: 4n };
    expect(isOldTask({ ...CORE, tc: { ...TC, sigactions: [action] } })).toBe(false);
    expect(isOldTask({ mtype: 1 })).toBe(false);
  });

  test('must have the right number of entries', () => {
    const broken = new Folder().add('itimers', 5, [TIMER]).add('creds', 6, []);
    expect(() => completeLeaderCore(broken, 5, CORE)).toThrow(
      'itimers-5.img: three timers are expected, but 1 are there',
    );
    expect(() => completeLeaderCore(broken, 6, CORE)).toThrow('creds-6.img: one entry is expected, but 0 are there');
  });

  test('has seccomp filters of the leader in every thread', () => {
    const leader = { ...CORE, tc: { ...TC, old_seccomp_mode: 2, old_seccomp_filter: 0 } } as CoreEntry;
    const thread = withOldSeccomp({ mtype: 1, thread_core: CORE.thread_core }, leader);
    expect(thread.thread_core?.seccomp_mode).toBe(2);
    expect(withOldSeccomp(CORE, CORE)).toBe(CORE);
  });
});

test('mappings come from an image of their own when mm has none', () => {
  const vma = { start: 0, end: 4096, pgoff: 0, shmid: 0, prot: 0, flags: 0, status: 0, fd: -1 };
  const folder = new Folder().add('vmas', 5, [vma]);
  const mm = { vmas: [] } as never;
  expect(completeMm(folder, 5, mm).vmas).toHaveLength(1);
  expect(completeMm(folder, 6, mm).vmas).toEqual([]);
});

test('the name of a FIFO, which had the same number, gets one of its own', () => {
  const reg = { id: 2, flags: 0, pos: 0n, fown, name: '/tmp/fifo', build_id: [] };
  const folder = new Folder().add('reg-files', undefined, [reg]).add('fifo', undefined, [{ id: 2, pipe_id: 5 }]);
  expect(readFiles(folder)).toEqual([
    { type: 1, id: 3, reg: { ...reg, id: 3 } },
    { type: 3, id: 2, fifo: { id: 2, pipe_id: 5, regf_id: 3 } },
  ]);
});
