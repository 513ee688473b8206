import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import { ABI_64 } from '../../../agent/abi.ts';
import { OP_ARGS, OP_BYTES } from '../../../agent/agent-code.ts';
import { Program } from '../../../agent/program.ts';
import { CriuErrors } from '../../../base/errors.ts';
import { type FdinfoEntry, FdTypes, type FileEntry } from '../../../image/gen/fdinfo.ts';
import type { FileLockEntry } from '../../../image/gen/file-lock.ts';
import type { RegFileEntry } from '../../../image/gen/regfile.ts';
import type { RemapFilePathEntry } from '../../../image/gen/remap-file-path.ts';
import type { ImageDir } from '../../../image/image-dir.ts';
import { type OpenFiles, readOpenFiles } from '../../../image/open-files.ts';
import { serializeImage } from '../../../image/serialize-image.ts';
import { O_NONBLOCK, O_RDWR, O_WRONLY, S_IFREG } from '../../../linux/abi/fcntl.ts';
import type { Stat } from '../../../linux/syscalls/fs.ts';
import type { RestoreTask, RestoreTree } from '../../../restore/restore-tree.ts';
import type { RestoreSystem } from '../file-kind.ts';
import type { Step } from '../step.ts';
import { ModelTable } from './model-table.test-support.ts';
import { planFiles } from './plan-files.ts';
import type { PlannedFiles } from './planned-files.ts';

const fown = { uid: 0, euid: 0, signum: 0, pid_type: 0, pid: 0 };
const mode = S_IFREG | 0o644;

const reg = (id: number, name: string, more: Partial<RegFileEntry> = {}): FileEntry => ({
  type: FdTypes.REG,
  id,
  reg: { id, name, flags: O_RDWR, pos: 0n, fown, mode, build_id: [], ...more },
});
const pipe = (id: number, pipe_id: number, flags: number): FileEntry => ({
  type: FdTypes.PIPE,
  id,
  pipe: { id, pipe_id, flags, fown },
});
const fd = (number: number, id: number, type: FdTypes = FdTypes.REG, flags = 0): FdinfoEntry => ({
  fd: number,
  id,
  type,
  flags,
});

function task(pid: number, filesId: number, fds: FdinfoEntry[]): RestoreTask {
  const part = { abi: ABI_64, kind: 'task', pid, ids: { files_id: filesId }, fds, label: `task ${pid} 'x'` };
  return part as unknown as RestoreTask;
}

interface Images {
  'remap-fpath'?: RemapFilePathEntry[];
  filelocks?: FileLockEntry[];
  'pipes-data'?: { message: { pipe_id: number; bytes: number; size?: number }; payload: Uint8Array }[];
}

function plan(tasks: RestoreTask[], files: FileEntry[], images: Images = {}, more: Partial<RestoreSystem> = {}) {
  return planOf(tasks, new Map(files.map((entry) => [entry.id, entry])), images, more);
}

/** The same where plain files are rows. */
function planRows(tasks: RestoreTask[], files: FileEntry[], images: Images = {}) {
  // As many as it takes.
  const others = Array.from({ length: 500 }, (_, i) => reg(1_000_000 + i, `/nobody/${i}`));
  const bytes = serializeImage('files', [...files, ...others]);
  const open = readOpenFiles({ tryReadBytes: () => bytes } as unknown as ImageDir);
  expect(open.plain?.count).toBeGreaterThan(500);
  return planOf(tasks, open, images, {}, []);
}

function planOf(
  tasks: RestoreTask[],
  files: OpenFiles,
  images: Images,
  more: Partial<RestoreSystem>,
  inheritFds = [{ fd: 9, key: 'tmp/inherited' }],
) {
  const stat = { st_mode: mode, st_size: 7 } as Stat;
  return planFiles({
    warn: () => undefined,
    tree: { tasks, members: tasks, files } as unknown as RestoreTree,
    images: { tryRead: (kind: keyof Images) => images[kind] } as unknown as ImageDir,
    options: {
      inheritFds,
      skipFileRwxCheck: false,
      shellJob: false,
      evasiveDevices: false,
      fileValidation: 'buildid',
    },
    controllerPid: 1000,
    system: {
      stat: () => stat,
      head: () => -5,
      wallClockNs: () => 0n,
      socketBuffers: () => undefined,
      groups: () => [0],
      deviceIndex: () => 1,
      deviceName: () => 'lo',
      ...more,
    },
  });
}

/** The steps of a task in one stage, as they reach a program. */
function steps(planned: PlannedFiles, stage: 'create' | 'share' | 'finish', pid: number): Step[] {
  return planned.steps(stage, pid);
}

/** Executes the whole plan on model tables; returns the tables by pid. */
function execute(planned: PlannedFiles, pids: number[]): Map<number, ModelTable> {
  const tables = new Map<number, ModelTable>();
  const controller = new ModelTable();
  for (let i = 0; i < 10; i++) controller.descriptors.set(i, { file: { what: `inherited ${i}` }, isCloexec: false });
  tables.set(1000, controller);
  for (const pid of pids) tables.set(pid, new ModelTable(tables));
  for (const stage of ['create', 'share', 'finish'] as const) {
    for (const pid of pids) tables.get(pid)?.run(steps(planned, stage, pid));
  }
  return tables;
}

function problems(run: () => unknown): string[] {
  try {
    run();
  } catch (error) {
    if (error instanceof CriuErrors) return error.lines;
    throw error;
  }
  return [];
}

describe('one task', () => {
  test('files in a row cost one openat each', () => {
    const planned = plan([task(5, 1, [fd(0, 1), fd(1, 2), fd(2, 3)])], [reg(1, '/a'), reg(2, '/b'), reg(3, '/c')]);
    expect(planned.stages).toEqual(['create']);
    expect(steps(planned, 'create', 5).map(({ because }) => because)).toEqual(['open /a', 'open /b', 'open /c']);
  });

  test('position, FD_CLOEXEC, duplicates and gaps come back', () => {
    const files = [reg(1, '/a', { pos: 5n }), reg(2, '/b')];
    const planned = plan([task(5, 1, [fd(2, 1, FdTypes.REG, 1), fd(4, 1), fd(7, 2)])], files);
    const table = execute(planned, [5]).get(5);
    expect(`${table}`).toBe('2:/a! 4:/a 7:/b');
    expect(table?.calls).toEqual(['set the position in /a']);
    expect(planned.neededLimit(5)).toBe(8);
  });

  test('an inherited file is fetched from criu', () => {
    const planned = plan([task(5, 1, [fd(3, 1)])], [reg(1, '/tmp/inherited')]);
    expect(`${execute(planned, [5]).get(5)}`).toBe('3:inherited 9');
  });

  test('a file lock is taken at the end', () => {
    const filelocks = [{ flag: 2, type: 1, pid: 5, fd: 0, start: 0n, len: 0n }];
    const planned = plan([task(5, 1, [fd(0, 1)])], [reg(1, '/a')], { filelocks });
    expect(execute(planned, [5]).get(5)?.calls).toEqual(['take the lock on descriptor 0']);
  });

  test('the room that a program needs is told', () => {
    const planned = plan([task(5, 1, [fd(0, 1)])], [reg(1, '/a', { pos: 1n })]);
    const program = new Program();
    for (const stage of planned.stages) planned.addOps(stage, 5, program);
    expect(program.length).toBe(2);
    expect(program.byteLength).toBeLessThanOrEqual(planned.programBytes(5));
  });
});

test('many steps come in parts, which are all of them in order', () => {
  const ids = Array.from({ length: 3500 }, (_, i) => i + 1);
  const planned = plan(
    [
      task(
        5,
        1,
        ids.map((id) => fd(id - 1, id)),
      ),
    ],
    ids.map((id) => reg(id, `/${id % 10}`)),
  );
  const reasons = (program: Program) => Array.from({ length: program.length }, (_, i) => program.describe(i).because);
  const whole = new Program();
  planned.addOps('create', 5, whole);
  const parts = planned.parts('create', 5).map((add) => {
    const program = new Program();
    add(program);
    return program;
  });
  expect(parts.map(({ length }) => length)).toEqual([1000, 1000, 1500]);
  expect(parts.flatMap(reasons)).toEqual(reasons(whole));
  const paths = parts.map((program) => {
    const [block, last] = [program.assemble(0x10000), program.length - 1];
    const at = Number(new DataView(block.buffer).getBigUint64(last * OP_BYTES + OP_ARGS + 8, true)) - 0x10000;
    return Buffer.from(block.subarray(at, at + 3)).toString('latin1');
  });
  expect(paths).toEqual(['/0\0', '/0\0', '/0\0']);
  expect(planned.parts('share', 5)).toEqual([]);
});

describe('several tasks', () => {
  test('a shared description is made once and fetched by the others', () => {
    const tasks = [task(5, 1, [fd(0, 1), fd(1, 2)]), task(6, 2, [fd(0, 3), fd(1, 1), fd(9, 1, FdTypes.REG, 1)])];
    const planned = plan(tasks, [reg(1, '/shared'), reg(2, '/b'), reg(3, '/c')]);
    const tables = execute(planned, [5, 6]);
    expect(`${tables.get(5)}`).toBe('0:/shared 1:/b');
    expect(`${tables.get(6)}`).toBe('0:/c 1:/shared 9:/shared!');
    expect(tables.get(6)?.descriptors.get(1)?.file).toBe(tables.get(5)?.descriptors.get(0)?.file as never);
  });

  test('both ends of a pipe are made by the first task; what it has no use for it closes at the end', () => {
    const tasks = [task(5, 1, [fd(3, 1, FdTypes.PIPE)]), task(6, 2, [fd(4, 2, FdTypes.PIPE)])];
    const planned = plan(tasks, [pipe(1, 77, O_NONBLOCK), pipe(2, 77, O_WRONLY | O_NONBLOCK)]);
    expect(planned.stages).toEqual(['create', 'share', 'finish']);
    const tables = execute(planned, [5, 6]);
    expect(`${tables.get(5)}`).toBe('3:read end');
    expect(`${tables.get(6)}`).toBe('4:write end');
  });

  test('a table that is shared is filled by the first task only', () => {
    const fds = [fd(0, 1)];
    const planned = plan([task(5, 1, fds), task(6, 1, fds)], [reg(1, '/a')]);
    expect(steps(planned, 'create', 6)).toEqual([]);
    expect(`${execute(planned, [5]).get(5)}`).toBe('0:/a');
  });

  test('a plan is the same each time', () => {
    const tasks = [task(5, 1, [fd(0, 1), fd(3, 2)]), task(6, 2, [fd(0, 1)])];
    const text = () =>
      JSON.stringify(['create', 'share', 'finish'].map((s) => steps(plan(tasks, files), s as 'create', 6)));
    const files = [reg(1, '/a'), reg(2, '/b')];
    expect(text()).toBe(text());
  });
});

describe('files that are rows', () => {
  const ids = [1, 2, 3, 4, 5, 6];
  const files = [
    ...ids.map((id) => reg(id, `/file/${id}`, { pos: BigInt(id % 2) })),
    pipe(7, 77, 0),
    pipe(8, 77, O_WRONLY),
    reg(9, '/lease'),
  ];
  const typeOf = (id: number) => (id === 7 || id === 8 ? FdTypes.PIPE : FdTypes.REG);
  const table = fc.uniqueArray(fc.tuple(fc.nat(12), fc.constantFrom(...ids, 7, 8, 9), fc.nat(1)), {
    selector: ([fd]) => fd,
    maxLength: 12,
  });
  const fds = (list: [number, number, number][]) =>
    list.sort(([a], [b]) => a - b).map(([number, id, flags]) => fd(number, id, typeOf(id), flags));

  test('come back like others: with gaps, duplicates, other tasks, and between files of other kinds', () => {
    fc.assert(
      fc.property(table, table, fc.boolean(), (first, second, hasLease) => {
        const tasks = [task(5, 1, fds(first)), task(6, 2, fds(second))];
        const leased = tasks[0]?.fds.find(({ id }) => id === 9);
        const lease =
          leased !== undefined && hasLease ? [{ flag: 8, type: 1, pid: 5, fd: leased.fd, start: 0n, len: 0n }] : [];
        const [alone, rows] = [plan(tasks, files, { filelocks: lease }), planRows(tasks, files, { filelocks: lease })];
        const [wanted, found] = [execute(alone, [5, 6]), execute(rows, [5, 6])];
        for (const pid of [5, 6]) {
          expect(`${found.get(pid)}`).toBe(`${wanted.get(pid)}`);
          expect(found.get(pid)?.calls.toSorted()).toEqual(wanted.get(pid)?.calls.toSorted() ?? []);
        }
      }),
    );
  });

  test('cost one openat each behind a gap, but for what keeps the gap open', () => {
    const planned = planRows([task(5, 1, [fd(2, 1), fd(3, 2), fd(4, 3)])], [reg(1, '/a'), reg(2, '/b'), reg(3, '/c')]);
    expect(steps(planned, 'create', 5).map(({ because }) => because)).toEqual([
      'take a number',
      'take a number',
      'open /a',
      'open /b',
      'open /c',
      'close descriptor 0',
      'close descriptor 1',
    ]);
  });

  test('are refused for the same reasons, equal ones once', () => {
    const changed = [1, 2, 3].map((id) => reg(id, '/changed', { size: 9 }));
    const tasks = [task(5, 1, [fd(0, 1), fd(1, 2), fd(2, 3)])];
    const found = problems(() => planRows(tasks, [...changed, reg(4, '/changed', { size: 8 })]));
    expect(found.slice(1)).toEqual(
      [9, 8].map((size) => expect.stringContaining(`/changed: has bad size 7 (expect ${size})`)),
    );
  });
});

describe('pipes', () => {
  test('content is written into it, packets one by one in packet mode', () => {
    const payload = (text: string) => ({
      message: { pipe_id: 7, bytes: text.length, size: 4096 },
      payload: Buffer.from(text),
    });
    const images = { 'pipes-data': [payload('one'), payload('three')] };
    const planned = plan([task(5, 1, [fd(0, 1, FdTypes.PIPE)])], [pipe(1, 7, 0)], images);
    const table = execute(planned, [5]).get(5);
    expect(`${table}`).toBe('0:read end');
    expect(table?.calls).toEqual(['set the size of pipe:[7]', 'fill pipe:[7]', 'fill pipe:[7]']);
  });

  test('a second reading end is opened anew', () => {
    const files = [pipe(1, 7, 0), pipe(2, 7, 0o100000 | O_RDWR)];
    const planned = plan([task(5, 1, [fd(0, 1, FdTypes.PIPE), fd(1, 2, FdTypes.PIPE)])], files);
    expect(`${execute(planned, [5]).get(5)}`).toBe('0:read end 1:/proc/self/fd/1');
  });
});

describe('refused before a process exists, all at once', () => {
  test('files that are not there or have changed', () => {
    const files = [reg(1, '/gone'), reg(2, '/short', { size: 9 }), reg(3, '/mode', { mode: S_IFREG | 0o600 })];
    const stat = (path: string) => (path === '/gone' ? -2 : ({ st_mode: mode, st_size: 7 } as Stat));
    const tasks = [task(5, 1, [fd(0, 1), fd(1, 2), fd(2, 3)])];
    expect(problems(() => plan(tasks, files, {}, { stat }))).toEqual([
      'open files cannot be restored',
      '/gone: cannot be opened: the file is not there; restore the file as it was at the dump',
      '/short: has bad size 7 (expect 9): the file was changed since the dump; restore the file as it was at the dump',
      '/mode: has bad mode 0100644 (expect 0100600): its permissions were changed since the dump; ' +
        'change them back, or skip this check with --skip-file-rwx-check',
    ]);
  });

  test('damaged tables', () => {
    const tasks = [task(5, 1, [fd(0, 1), fd(0, 1), fd(1, 99), fd(2, 1, FdTypes.PIPE)])];
    expect(problems(() => plan(tasks, [reg(1, '/a')]))).toEqual([
      'open files cannot be restored',
      "fd 0 of task 5 'x': cannot be restored: it is twice in the image",
      "fd 1 of task 5 'x': cannot be restored: file 99 of that kind is not in files.img",
      "fd 2 of task 5 'x': cannot be restored: file 1 of that kind is not in files.img",
    ]);
  });

  test('kinds that are not known', () => {
    const files = [{ type: FdTypes.EXT, id: 1 } as FileEntry];
    expect(problems(() => plan([task(5, 1, [fd(0, 1, FdTypes.EXT)])], files))).toEqual([
      'open files cannot be restored',
      "fd 0 of task 5 'x': cannot be restored: files of kind EXT are not supported yet",
    ]);
  });

  test('locks without their file, lost links, external files that were not given', () => {
    const filelocks = [{ flag: 1, type: 1, pid: 5, fd: 8, start: 0n, len: 0n }];
    const remaps = [{ orig_id: 1, remap_id: 444, remap_type: 0 as const }];
    const files = [reg(1, '/linked'), reg(2, 'file[1f:2a]', { ext: true })];
    const tasks = [task(5, 1, [fd(0, 1), fd(1, 2)])];
    expect(problems(() => plan(tasks, files, { filelocks, 'remap-fpath': remaps }))).toEqual([
      'open files cannot be restored',
      '/linked: cannot be restored: remap-fpath.img sends it to file 444, which is not in files.img',
      'file[1f:2a]: cannot be restored: this file was declared external at the dump, and no descriptor was given for it; ' +
        'add --inherit-fd fd[N]:file[1f:2a]',
      'file lock on fd 8 of task 5: cannot be restored: the image has no such descriptor',
    ]);
  });
});
