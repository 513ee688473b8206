import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import { OP_ARGS, OP_BYTES, OP_NR } from '../../../agent/agent-code.ts';
import { Program } from '../../../agent/program.ts';
import { FdTypes } from '../../../image/gen/fdinfo.ts';
import type { IoUringEntry } from '../../../image/gen/io-uring.ts';
import type { VmaEntry } from '../../../image/gen/vma.ts';
import * as URING from '../../../linux/abi/io-uring.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import type { RestoreTask, RestoreTree } from '../../../restore/restore-tree.ts';
import { FdTablePlan } from '../fd-table/fd-table-plan.ts';
import type { RestoreHome } from '../file-kind.ts';
import { findUnknown } from './idle-ring.ts';
import { ioUring } from './io-uring.ts';
import { findGaps, planIntoOnlyGap } from './only-gap.ts';
import { planRingContents, ringProblem } from './restore-ring.ts';

const fown = { uid: 0, euid: 0, signum: 0, pid_type: 0, pid: 0 };

/** A ring of 8 and 16 entries, after some requests. */
function ring(head: number, tail: number, more: Partial<IoUringEntry> = {}): IoUringEntry {
  const rings = new Uint8Array(4096);
  const words = new Uint32Array(rings.buffer);
  words[URING.RINGS_SQ_HEAD / 4] = head;
  words[URING.RINGS_CQ_TAIL / 4] = tail;
  words[URING.RINGS_SQ_MASK / 4] = 7;
  words[URING.RINGS_CQ_MASK / 4] = 15;
  const entry = { id: 7, flags: 2, fown, setup_flags: 0, sq_entries: 8, cq_entries: 16, sq_head: head, cq_tail: tail };
  return { ...entry, rings, sqes: new Uint8Array(4096), ...more };
}

/** System calls of a program, as it is laid out. */
function callsIn(program: Program): { nr: number; args: number[] }[] {
  const block = new DataView(program.assemble(0x10000).buffer);
  return Array.from({ length: program.length }, (_, op) => ({
    nr: block.getUint32(op * OP_BYTES + OP_NR, true),
    args: [0, 1, 2, 3].map((i) => Number(block.getBigUint64(op * OP_BYTES + OP_ARGS + 8 * i, true))),
  }));
}

describe('rings', () => {
  test('that can be made again', () => {
    expect(ringProblem(ring(21, 21))).toBeUndefined();
    expect(ringProblem(ring(21, 5))).toBeUndefined();
  });

  test.each([
    [ring(0, 0, { setup_flags: URING.IORING_SETUP_SQPOLL }), 'it is made with flags 0x2'],
    [ring(0, 0, { sq_entries: 7 }), 'queues of 7 and 16 entries cannot be'],
    [ring(0, 0, { cq_entries: 4 }), 'queues of 8 and 4 entries cannot be'],
    [
      ring(0, 0, { sqes: new Uint8Array(8192) }),
      'its memory has 4096 and 8192 bytes, which is not what its queues take',
    ],
    [ring(21, 21, { sq_head: 22 }), 'its memory says something else than the kernel'],
    [
      {
        ...ring(0, 0),
        rings: Uint8Array.from(ring(0, 0).rings, (byte, at) => (at === URING.RINGS_SQ_FLAGS ? 1 : byte)),
      },
      'the kernel asks the program to call it (flags of the queue)',
    ],
    [ring(5, 21), 'it has taken 5 requests and completed 21'],
    [ring(262145, 262145), 'it has taken 262145 requests, and 262144 at most can be counted again'],
  ])('that cannot (%#)', (entry, why) => {
    expect(ringProblem(entry)).toBe(why);
    expect(ioUring.check?.({ type: FdTypes.IO_URING_EXT, id: 7, io_uring_ext: entry }, {} as never)).toEqual([
      { object: 'io_uring (file 7)', action: 'cannot be restored', why },
    ]);
  });

  test('that belong to a task which does not have them', () => {
    const check = (submitter: number) => {
      const tasks = [5, 6].map((pid) => ({ pid, fds: pid === 5 ? [{ id: 7, fd: 3 }] : [] }));
      const entry = { type: FdTypes.IO_URING_EXT, id: 7, io_uring_ext: ring(0, 0, { submitter }) };
      return ioUring.check?.(entry, { tree: { tasks } } as never).map(({ why }) => why);
    };
    expect([check(5), check(6), check(7)]).toEqual([
      [],
      ['it belongs to task 6, which does not have it'],
      ['it belongs to task 7, which does not have it'],
    ]);
  });

  test('their memory is that of their queues', () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(), fc.nat(0xffff), fc.nat(70_000), (head, tail, sq_entries, cq_entries) => {
        const problem = ringProblem(ring(head, tail, { sq_entries, cq_entries }));
        expect(problem === undefined).toBe(
          sq_entries === 8 &&
            cq_entries === 16 &&
            tail <= head &&
            Math.ceil(tail / 8) + Math.ceil((head - tail) / 8) <= 32768,
        );
      }),
    );
  });
});

test('members that a later kernel has are not known', () => {
  const members: Record<string, string[]> = {
    io_ring_ctx: ['flags', 'io_bl_xa', 'file_table', 'restricted', 'defer_list', 'more'],
    io_uring_task: ['io_wq', 'task_list', 'other'],
    task_struct: ['pid', 'io_uring', 'io_uring_restrict'],
  };
  expect(findUnknown({ members: (struct) => members[struct] ?? [] })).toEqual(['more', 'other', 'io_uring_restrict']);
});

test('a ring is made as it was', () => {
  const table = new FdTablePlan(3);
  const home = { table, made: () => {} } as unknown as RestoreHome;
  const setup_flags = URING.IORING_SETUP_CQSIZE | URING.IORING_SETUP_SINGLE_ISSUER;
  ioUring.create([{ type: FdTypes.IO_URING_EXT, id: 7, io_uring_ext: ring(0, 0, { setup_flags }) }], home);
  const [step, ...others] = table.take().toSteps();
  const params = step?.args[1] as { bytes: Uint8Array };
  expect([step?.nr, step?.args[0], others]).toEqual([SYS.io_uring_setup, 8, []]);
  expect([...new Uint32Array(params.bytes.slice().buffer).subarray(0, 3)]).toEqual([0, 16, setup_flags]);
});

test('the first task that has a ring, or the one it belongs to, brings its counters where they were', () => {
  const enters = (entry: IoUringEntry, pid: number) => {
    const program = new Program();
    const tasks = [5, 6].map(
      (each) =>
        ({
          pid: each,
          fds: [3, 4].map((fd) => ({ id: 7, fd, type: FdTypes.IO_URING_EXT })),
        }) as unknown as RestoreTask,
    );
    const files = new Map([[7, { type: FdTypes.IO_URING_EXT, id: 7, io_uring_ext: entry }]]);
    const task = tasks.find((each) => each.pid === pid) as RestoreTask;
    planRingContents(program, task, { tasks, files } as unknown as RestoreTree);
    return callsIn(program).flatMap(({ nr, args }) => (nr === SYS.io_uring_enter ? [args[1]] : []));
  };
  expect(enters(ring(21, 21), 5)).toEqual([8, 8, 5]);
  expect(enters(ring(21, 21), 6)).toEqual([]);
  expect(enters(ring(21, 21, { submitter: 6 }), 6)).toEqual([8, 8, 5]);
  expect(enters(ring(21, 9), 5)).toEqual([8, 1, 8, 4]);
  expect(enters(ring(0, 0), 5)).toEqual([]);
});

test('gaps are what is free between mappings', () => {
  const space = { start: 10, end: 100 };
  expect(findGaps([], space)).toEqual([space]);
  expect(
    findGaps(
      [
        { start: 10, end: 20 },
        { start: 20, end: 30 },
        { start: 40, end: 120 },
      ],
      space,
    ),
  ).toEqual([{ start: 30, end: 40 }]);
  expect(
    findGaps(
      [
        { start: 0, end: 5 },
        { start: 200, end: 300 },
      ],
      space,
    ),
  ).toEqual([space]);
  expect(findGaps([{ start: 50, end: 60 }], space)).toEqual([
    { start: 10, end: 50 },
    { start: 60, end: 100 },
  ]);
});

test('when a ring is mapped, its place is the only one that is free, and all other is free again afterwards', () => {
  const occupied = [
    { start: 0x7000, end: 0x9000 },
    { start: 0x4000, end: 0x5000 },
    { start: 0x20000, end: 0x7fff_ffff_f000 },
  ];
  const at = [0x10000, 0x2000];
  const mappings = at.map((start) => ({ vma: { start, end: start + 0x1000, prot: 3, pgoff: 0 } as VmaEntry, fd: 3 }));
  const program = new Program();
  planIntoOnlyGap(program, occupied, mappings);
  const pages = new Set(occupied.flatMap(pagesOf));
  const before = new Set(pages);
  for (const { nr, args } of callsIn(program)) {
    const [start = 0, bytes = 0] = args;
    if (nr === SYS.madvise) continue;
    if (nr === SYS.munmap) for (const page of pagesOf({ start, end: start + bytes })) pages.delete(page);
    else if (start !== 0) for (const page of pagesOf({ start, end: start + bytes })) pages.add(page);
    else {
      const free = pagesOf({ start: 0x1000, end: 0x20000 }).filter((page) => !pages.has(page));
      expect(free).toEqual([at.shift() ?? 0]);
      for (const page of free) pages.add(page);
    }
  }
  expect(at).toEqual([]);
  expect([...pages].sort()).toEqual([...before, 0x10000, 0x2000].sort());
});

/** As far as anything is free. */
function pagesOf({ start, end }: { start: number; end: number }): number[] {
  return Array.from({ length: (Math.min(end, 0x20000) - start) / 4096 }, (_, i) => start + i * 4096);
}
