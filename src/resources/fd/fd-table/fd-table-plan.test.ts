import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import { AT_FDCWD, O_CLOEXEC } from '../../../linux/abi/fcntl.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { FdTablePlan, type Slot } from './fd-table-plan.ts';
import { ModelTable } from './model-table.test-support.ts';

const slot = (fd: number, isCloexec = false): Slot => ({ fd, isCloexec });

function open(plan: FdTablePlan, text: string, flags = 0): number {
  return plan.open(`open ${text}`, SYS.openat, AT_FDCWD, { text }, flags);
}

function run(plan: FdTablePlan): ModelTable {
  const table = new ModelTable();
  table.run(plan.take().toSteps());
  return table;
}

describe('numbers', () => {
  test('the lowest free one is taken, also after a close', () => {
    const plan = new FdTablePlan(10);
    expect([open(plan, 'a'), open(plan, 'b'), open(plan, 'c')]).toEqual([0, 1, 2]);
    plan.close(1);
    expect([open(plan, 'd'), open(plan, 'e')]).toEqual([1, 3]);
    expect(run(plan).toString()).toBe('0:a 1:d 2:c 3:e');
  });

  test('a descriptor that is in its place costs nothing', () => {
    const plan = new FdTablePlan(0);
    plan.place([{ from: open(plan, 'a', O_CLOEXEC), isCloexec: true, slots: [slot(0, true)] }]);
    expect(plan.take().length).toBe(1);
  });

  test('FD_CLOEXEC is changed where it is', () => {
    const plan = new FdTablePlan(0);
    plan.place([{ from: open(plan, 'a'), isCloexec: false, slots: [slot(0, true)] }]);
    expect(run(plan).toString()).toBe('0:a!');
  });

  test('duplicates get their own FD_CLOEXEC', () => {
    const plan = new FdTablePlan(7);
    plan.place([{ from: open(plan, 'a'), isCloexec: false, slots: [slot(3), slot(7, true), slot(4)] }]);
    expect(run(plan).toString()).toBe('3:a 4:a 7:a!');
  });

  test('two that sit on each other’s numbers are exchanged', () => {
    const plan = new FdTablePlan(1);
    const [reader, writer] = plan.openPair('make a pipe', SYS.pipe2, { bytes: new Uint8Array(8) }, O_CLOEXEC);
    plan.place([
      { from: reader, isCloexec: true, slots: [slot(1)] },
      { from: writer, isCloexec: true, slots: [slot(0)] },
    ]);
    expect(run(plan).toString()).toBe('0:write end of a pipe 1:read end of a pipe');
  });

  test('what nobody here wants is parked above all final numbers', () => {
    const plan = new FdTablePlan(5);
    const homes = plan.place([
      { from: open(plan, 'a'), isCloexec: false, slots: [] },
      { from: open(plan, 'b'), isCloexec: false, slots: [slot(5)] },
    ]);
    expect(homes).toEqual([6, 5]);
    expect(run(plan).toString()).toBe('5:b 6:a!');
    expect(plan.neededLimit).toBe(7);
  });
});

test('closing what is not open is a mistake', () => {
  expect(() => new FdTablePlan(3).close(2)).toThrow('bug in criu: descriptor 2 is in the table');
});

describe('properties', () => {
  // Each description of a group with the numbers it shall have; all numbers differ.
  const groups = fc
    .uniqueArray(fc.nat({ max: 40 }), { maxLength: 12 })
    .chain((fds) =>
      fc.tuple(fc.constant(fds), fc.array(fc.nat({ max: 3 }), { minLength: fds.length, maxLength: fds.length })),
    )
    .map(([fds, owners]) => [0, 1, 2, 3].map((owner) => fds.filter((_, i) => owners[i] === owner)));

  test('every description of a group ends at exactly its numbers', () => {
    fc.assert(
      fc.property(groups, fc.array(fc.boolean(), { minLength: 41, maxLength: 41 }), (wanted, cloexec) => {
        const plan = new FdTablePlan(Math.max(-1, ...wanted.flat()));
        const placements = wanted.map((fds, i) => ({
          from: open(plan, `file ${i}`),
          isCloexec: false,
          slots: fds.map((fd) => slot(fd, cloexec[fd] === true)),
        }));
        const homes = plan.place(placements);
        const table = run(plan);
        for (const [i, fds] of wanted.entries()) {
          for (const fd of fds) expect(table.descriptors.get(fd)?.file.what).toBe(`file ${i}`);
          for (const fd of fds) expect(table.descriptors.get(fd)?.isCloexec).toBe(cloexec[fd] === true);
          expect(table.descriptors.get(homes[i] ?? -1)?.file.what).toBe(`file ${i}`);
        }
        const parked = wanted.filter((fds) => fds.length === 0).length;
        expect(table.descriptors.size).toBe(wanted.flat().length + parked);
      }),
    );
  });
});
