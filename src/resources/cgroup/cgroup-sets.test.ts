import { describe, expect, test } from 'bun:test';
import { parseCgroup } from '../../proc/cgroup.ts';
import { CgroupSets, describeSet, hiddenPrefixes } from './cgroup-sets.ts';

const own = parseCgroup('5:cpu,cpuacct:/\n4:name=systemd:/user\n0::/user\n');

describe('sets of cgroups', () => {
  test('criu has number 1, others are numbered as they come', () => {
    const sets = new CgroupSets(own, []);
    expect(sets.add(own, undefined).id).toBe(1);
    const other = parseCgroup('5:cpu,cpuacct:/a\n4:name=systemd:/user\n0::/user\n');
    expect(describeSet(sets.add(other, undefined))).toEqual({
      id: 2,
      ctls: [
        { name: '', path: '/user' },
        { name: 'cpu,cpuacct', path: '/a' },
        { name: 'name=systemd', path: '/user' },
      ],
    });
    expect(sets.add(other, undefined).id).toBe(2);
    expect(sets.names).toEqual(['cpu,cpuacct', 'name=systemd', '']);
  });

  test('a hierarchy that comes or goes meanwhile makes no difference', () => {
    const sets = new CgroupSets(own, []);
    expect(sets.add(parseCgroup('9:name=new:/\n5:cpu,cpuacct:/\n4:name=systemd:/user\n0::/user\n'), undefined).id).toBe(
      1,
    );
    expect(sets.add(parseCgroup('4:name=systemd:/user\n0::/user\n'), undefined).id).toBe(1);
  });

  test('hierarchies that are not wanted make no difference', () => {
    const sets = new CgroupSets(own, ['cpu,cpuacct']);
    const set = sets.add(parseCgroup('5:cpu,cpuacct:/\n4:name=systemd:/elsewhere\n0::/\n'), undefined);
    expect(describeSet(set)).toEqual({ id: 1, ctls: [{ name: 'cpu,cpuacct', path: '/' }] });
  });

  test('what a cgroup namespace hides', () => {
    const outside = parseCgroup('5:cpu,cpuacct:/a/b\n4:name=systemd:/user\n0::/\n');
    const prefixes = hiddenPrefixes(outside, parseCgroup('5:cpu,cpuacct:/b\n4:name=systemd:/\n0::/\n'));
    expect([...prefixes]).toEqual([
      ['cpu,cpuacct', '/a'],
      ['name=systemd', '/user'],
    ]);
    const child = parseCgroup('5:cpu,cpuacct:/ab\n4:name=systemd:/user/x\n0::/\n');
    expect(describeSet(new CgroupSets(own, []).add(child, prefixes)).ctls).toEqual([
      { name: '', path: '/' },
      { name: 'cpu,cpuacct', path: '/ab' },
      { name: 'name=systemd', path: '/user/x', cgns_prefix: 5 },
    ]);
  });
});
