import { describe, expect, test } from 'bun:test';
import type { FileEntry } from '../../../image/gen/fdinfo.ts';
import type { RestoreTask } from '../../../restore/restore-tree.ts';
import type { FileKind } from '../file-kind.ts';
import { StepList } from '../step.ts';
import { madeElsewhere, makerOf } from './choose-home.ts';
import type { Description, Table } from './description.ts';
import { FdTablePlan } from './fd-table-plan.ts';

const table = (pid: number): Table => ({
  order: pid,
  owner: { pid } as RestoreTask,
  plan: new FdTablePlan(0),
  steps: { create: new StepList(), share: new StepList(), finish: new StepList() },
});
const [first, second, third] = [table(10), table(20), table(30)];
const byPid = new Map([first, second, third].map((one) => [one.owner.pid, one]));

/** A file of the first task, made by `maker`. */
function file(maker: number | 'first' | undefined, home = first): Description {
  const kind = { maker: () => maker } as unknown as FileKind;
  const entry = { id: 7 } as FileEntry;
  return { entry, kind, table: first, slots: [], others: undefined, home, homeFd: 3, isCloexec: false };
}

describe('the home of what shows its maker', () => {
  test('is the task that made most of a group, or else the first of these', () => {
    expect(makerOf([file(20), file(20), file(30)], byPid)).toBe(second);
    expect(makerOf([file(30), file(20)], byPid)).toBe(third);
    expect(makerOf([file(20), file('first'), file('first')], byPid)).toBe(first);
  });

  test('is the usual one when the images do not tell, or the task is not there', () => {
    expect(makerOf([file('first'), file(undefined)], byPid)).toBeUndefined();
    expect(makerOf([file(99)], byPid)).toBeUndefined();
    expect(makerOf([file(10)], new Map([[10, first]]))).toBeUndefined();
  });

  test('those that are made elsewhere are told', () => {
    expect(madeElsewhere([[file(20, second), file(undefined, second), file(99, second)]], byPid)).toEqual([]);
    expect(madeElsewhere([[file(20, second), file('first', second)]], byPid)).toEqual([
      'file 7: the peer (SO_PEERCRED) is task 20 from now on, instead of task 10: one task makes all sockets that are ' +
        'connected to the same listening one',
    ]);
    expect(madeElsewhere([[file(20), file(30)]], byPid)[0]).toStartWith('file 7 and 1 more: the peer');
  });
});
