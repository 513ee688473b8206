import { describe, expect, test } from 'bun:test';
import { CriuErrors } from '../base/errors.ts';
import { planBirths } from './births.ts';
import type { RestoreMember, RestoreTree } from './restore-tree.ts';

type Row = readonly [pid: number, ppid: number, pgid: number, sid: number, kind?: 'zombie'];

/** A tree of which only the ids matter. */
function tree(...rows: Row[]): RestoreTree {
  const members = rows.map(
    ([pid, ppid, pgid, sid, kind = 'task']) =>
      ({ kind, pid, ppid, pgid, sid, label: `task ${pid} 'x'` }) as RestoreMember,
  );
  const tasks = members.filter((member) => member.kind === 'task');
  return { members, tasks, root: tasks[0] } as unknown as RestoreTree;
}

const pids = (members: Iterable<RestoreMember>) => [...members].map(({ pid }) => pid);

describe('births', () => {
  test('children of the own session are born after setsid, and need not join the group they are born into', () => {
    const { births, joins } = planBirths(tree([10, 0, 10, 10], [11, 10, 10, 10], [12, 10, 12, 10]));
    expect(pids(births.get(10)?.late ?? [])).toEqual([11, 12]);
    expect(pids(joins)).toEqual([]);
  });

  test('children who stay in the session their parent was born in are forked before its setsid', () => {
    const { births } = planBirths(tree([10, 0, 10, 10], [11, 10, 11, 11], [12, 11, 10, 10]));
    expect(pids(births.get(11)?.early ?? [])).toEqual([12]);
  });

  test('whoever is in the group of a sibling joins it', () => {
    const { joins } = planBirths(tree([10, 0, 10, 10], [11, 10, 11, 10], [12, 10, 11, 10]));
    expect(pids(joins)).toEqual([12]);
  });

  test('a session whose leader is gone gets a helper, which is the leader of the group too', () => {
    const { births, joins } = planBirths(tree([10, 0, 10, 10], [12, 10, 11, 11]));
    expect(births.get(10)?.sessions.map(({ pid, members }) => [pid, pids(members)])).toEqual([[11, [12]]]);
    expect(pids(joins)).toEqual([]);
  });

  test('a group whose leader is gone gets a helper', () => {
    const { births, joins } = planBirths(tree([10, 0, 10, 10], [12, 10, 11, 10], [13, 10, 11, 10]));
    expect(births.get(10)?.groups).toEqual([11]);
    expect(pids(joins)).toEqual([12, 13]);
  });

  test('a shell job is born into the session and group of criu', () => {
    const { births, joins } = planBirths(tree([10, 0, 10, 5], [11, 10, 10, 5], [12, 10, 12, 12]));
    expect(pids(births.get(10)?.late ?? [])).toEqual([11, 12]);
    expect(pids(joins)).toEqual([]);
  });

  test('a session whose leader lives elsewhere in the tree is refused', () => {
    const broken = tree([10, 0, 10, 10], [11, 10, 11, 11], [12, 10, 11, 11]);
    expect(() => planBirths(broken)).toThrow(CriuErrors);
    try {
      planBirths(broken);
    } catch (error) {
      expect((error as CriuErrors).lines).toEqual([
        'the sessions of the tree cannot be made again',
        "task 12 'x': cannot be put into session 11: its leader lives, but is not its parent",
      ]);
    }
  });
});
