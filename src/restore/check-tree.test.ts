import { expect, test } from 'bun:test';
import type { TaskKobjIdsEntry } from '../image/gen/core.ts';
import type { InventoryEntry } from '../image/gen/inventory.ts';
import { findForeignNamespaces } from './check-tree.ts';
import type { RestoreTask } from './restore-tree.ts';

const IDS: TaskKobjIdsEntry = {
  vm_id: 1,
  files_id: 1,
  fs_id: 1,
  sighand_id: 1,
  pid_ns_id: 1,
  net_ns_id: 2,
  time_ns_id: 3,
};

function find(root_ids: TaskKobjIdsEntry | undefined, ...tasks: Partial<TaskKobjIdsEntry>[]) {
  const inventory = { img_version: 2, ...(root_ids === undefined ? {} : { root_ids }) } as InventoryEntry;
  const built = tasks.map((ids, i) => ({ label: `task ${i}`, ids: { ...IDS, ...ids } }) as RestoreTask);
  const [root = {} as RestoreTask] = built;
  return findForeignNamespaces({ inventory, root, tasks: built });
}

test('a task in the namespaces of the host is no problem, nor one in another time or cgroup namespace', () => {
  expect(find({ ...IDS, cgroup_ns_id: 8 }, {}, { time_ns_id: 9, cgroup_ns_id: 10 })).toEqual([]);
  expect(find(IDS, { net_ns_id: 9 }, { net_ns_id: 9 })).toEqual([]);
  expect(find(undefined, { net_ns_id: 9 })).toEqual([]);
});

test('each task in another namespace is refused', () => {
  expect(find({ ...IDS, mnt_ns_id: 4 }, {}, { pid_ns_id: 10, mnt_ns_id: 11 })).toEqual([
    {
      object: 'task 1',
      action: 'cannot be restored: it was in a namespace of its own (pid, mnt)',
      why: 'only network, time and cgroup namespaces are supported yet by this criu',
    },
  ]);
});

test('all tasks have to be in one network namespace', () => {
  expect(find(IDS, {}, { net_ns_id: 9 })).toEqual([
    {
      object: 'task 1',
      action: 'cannot be restored: it was in another network namespace than the root of the tree',
      why: 'several network namespaces in a tree are not supported yet by this criu',
    },
  ]);
});
