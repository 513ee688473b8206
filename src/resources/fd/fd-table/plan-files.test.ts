import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import { OP_ARGS, OP_BYTES } from '../../../agent/agent-code.ts';
import { Program } from '../../../agent/program.ts';
import { FdTypes, type FileEntry } from '../../../image/gen/fdinfo.ts';
import { O_NONBLOCK, O_RDWR, O_WRONLY, S_IFREG } from '../../../linux/abi/fcntl.ts';
import type { Stat } from '../../../linux/syscalls/fs.ts';
import { execute, fd, mode, pipe, plan, planRows, problems, reg, steps, task } from './plan-files.test-support.ts';

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
    expect(`${tables.get(5)}`).toBe('3:read end of pipe:[77]');
    expect(`${tables.get(6)}`).toBe('4:write end of pipe:[77]');
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
    expect(`${table}`).toBe('0:read end of pipe:[7]');
    const fill = (text: string) => `fill pipe:[7] with ${text} through write end of pipe:[7]`;
    expect(table?.calls).toEqual(['set the size of pipe:[7]', fill('one'), fill('three')]);
  });

  test('a second reading end is opened anew', () => {
    const files = [pipe(1, 7, 0), pipe(2, 7, 0o100000 | O_RDWR)];
    const planned = plan([task(5, 1, [fd(0, 1, FdTypes.PIPE), fd(1, 2, FdTypes.PIPE)])], files);
    expect(`${execute(planned, [5]).get(5)}`).toBe('0:read end of pipe:[7] 1:/proc/self/fd/1');
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
