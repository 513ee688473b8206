import { describe, expect, test } from 'bun:test';
import { imageValue, PropertyTable, planWrites } from './properties.ts';

const names = (table: PropertyTable, ...controllers: string[]) => table.of(controllers).map(({ name }) => name);
const COMMON = ['cgroup.clone_children', 'notify_on_release', 'cgroup.procs', 'tasks'];

describe('which properties are kept', () => {
  test('those of each controller that is mounted with others', () => {
    const known = names(new PropertyTable([], false), 'pids', 'net_cls', 'freezer', 'name=x');
    expect(known).toEqual(['pids.max', 'net_cls.classid', ...COMMON]);
  });

  test('rules add to them, or take their place', () => {
    const merge = { controller: 'pids', strategy: 'merge', properties: ['pids.peak', 'pids.max'] } as const;
    const replace = { ...merge, strategy: 'replace', properties: ['pids.peak'] } as const;
    expect(names(new PropertyTable([merge], false), 'pids')).toEqual(['pids.max', 'pids.peak', ...COMMON]);
    expect(names(new PropertyTable([replace], false), 'pids')).toEqual(['pids.peak', ...COMMON]);
    expect(names(new PropertyTable([merge], true), 'pids')).toEqual(['pids.peak', 'pids.max', ...COMMON]);
    expect(names(new PropertyTable([merge], true), 'net_cls')).toEqual(['net_cls.classid', ...COMMON]);
  });

  test('version 2 has limits that are left out when nobody set them', () => {
    const wanted = new PropertyTable([], false).of(['']);
    expect(wanted.find(({ name }) => name === 'cpu.max')).toEqual({ name: 'cpu.max', unset: 'max 100000' });
    expect(wanted.find(({ name }) => name === 'cgroup.freeze')).toEqual({ name: 'cgroup.freeze' });
  });
});

test.each([
  ['pids.max', 'max\n', 'max'],
  ['cgroup.procs', '12\n13\n', ''],
  ['devices.list', 'c 1:3 rwm\nc 1:5 r\n', 'c 1:3 rwm\nc 1:5 r'],
  ['memory.oom_control', 'oom_kill_disable 1\nunder_oom 0\noom_kill 0\n', '1'],
  ['memory.kmem.limit_in_bytes', '9223372036854775807\n', '-1'],
  ['memory.limit_in_bytes', '9223372036854771712\n', '9223372036854771712'],
])('the image keeps of %s %j', (name, text, value) => {
  expect(imageValue(name, text)).toBe(value);
});

describe('what is written', () => {
  test('nothing when nothing changes, and no members', () => {
    expect(planWrites('pids.max', '5', '5')).toEqual([]);
    expect(planWrites('tasks', '', '7')).toEqual([]);
  });

  test('a value as it is', () => {
    expect(planWrites('pids.max', '5', 'max')).toEqual([{ file: 'pids.max', text: '5' }]);
  });

  test('devices one by one, after all are denied', () => {
    expect(planWrites('devices.list', 'c 1:3 rwm\nb *:* m', 'a *:* rwm')).toEqual([
      { file: 'devices.deny', text: 'a' },
      { file: 'devices.allow', text: 'c 1:3 rwm' },
      { file: 'devices.allow', text: 'b *:* m' },
    ]);
    expect(planWrites('devices.list', '', 'a *:* rwm')).toEqual([{ file: 'devices.deny', text: 'a' }]);
  });

  test('priorities of those interfaces that have another one, which may not be there', () => {
    expect(planWrites('net_prio.ifpriomap', 'lo 0\neth0 5', 'lo 0\neth0 0')).toEqual([
      { file: 'net_prio.ifpriomap', text: 'eth0 5', mayFail: true },
    ]);
  });

  test('controllers for children as a difference', () => {
    expect(planWrites('cgroup.subtree_control', 'cpu pids', 'pids io')).toEqual([
      { file: 'cgroup.subtree_control', text: '-io +cpu' },
    ]);
  });

  test('the type only when it is threaded, for others come by themselves', () => {
    expect(planWrites('cgroup.type', 'threaded', 'domain')).toEqual([{ file: 'cgroup.type', text: 'threaded' }]);
    expect(planWrites('cgroup.type', 'domain threaded', 'domain')).toEqual([]);
  });
});
