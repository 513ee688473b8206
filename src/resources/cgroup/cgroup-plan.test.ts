import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import { type CgroupDirEntry, CgroupEntry } from '../../image/gen/cgroup.ts';
import { arbitraryMessage } from '../../image/message-arbitrary.test-support.ts';
import { type NewRoot, planCgroups } from './cgroup-plan.ts';

const dir = (dir_name: string, ...children: CgroupDirEntry[]): CgroupDirEntry => ({
  dir_name,
  children,
  properties: [],
});

function entry(path: string, dirs: CgroupDirEntry[], prefix?: number): CgroupEntry {
  return {
    sets: [{ id: 2, ctls: [{ name: 'cpu,cpuacct', path, cgns_prefix: prefix }] }],
    controllers: [{ cnames: ['cpu', 'cpuacct'], dirs, is_threaded: true }],
  };
}

/** Paths of all cgroups, and where set 2 is. */
function places(image: CgroupEntry, ...newRoots: NewRoot[]) {
  const { hierarchies, sets, problems } = planCgroups(image, newRoots);
  expect(problems).toEqual([]);
  const [member] = sets.get(2) ?? [];
  return { made: hierarchies[0]?.cgroups.map(({ path }) => path), path: member?.path, root: member?.namespaceRoot };
}

const to = (path: string, controller?: string): NewRoot => ({ path, controller });

describe('where cgroups are made', () => {
  test('as they were, parents first, without the root of the hierarchy', () => {
    const image = entry('/a/b', [dir('a/b', dir('c')), dir('a'), dir('', dir('z'))]);
    expect(places(image)).toEqual({ made: ['/a', '/a/b', '/a/b/c', '/z'], path: '/a/b', root: undefined });
  });

  test('below a new root, for all or for one controller', () => {
    const image = entry('/a/b/c', [dir('a/b', dir('c'))]);
    const moved = { made: ['/new', '/new/c'], path: '/new/c', root: undefined };
    expect(places(image, to('/new'))).toEqual(moved);
    expect(places(image, to('/other'), to('/new', 'cpuacct'))).toEqual(moved);
    expect(places(image, to('/new', 'memory')).path).toBe('/a/b/c');
  });

  test('a tree that was in the root of the hierarchy goes below the new root', () => {
    expect(places(entry('/', [dir('')]), to('/new'))).toEqual({ made: ['/new'], path: '/new', root: undefined });
  });

  test('a new root takes the place of what a cgroup namespace hides', () => {
    const image = entry('/out/in/b', [dir('out/in/b', dir('c'))], 7);
    expect(places(image)).toEqual({ made: ['/out/in/b', '/out/in/b/c'], path: '/out/in/b', root: '/out/in' });
    expect(places(image, to('/new'))).toEqual({ made: ['/new/b', '/new/b/c'], path: '/new/b', root: '/new' });
  });
});

test.each([
  [entry('/a/../b', []), 'cgroup.img: set 2', 'has the path "/a/../b"'],
  [entry('a', []), 'cgroup.img: set 2', 'has the path "a"'],
  [entry('/a', [], 9), 'cgroup.img: set 2', 'has a namespace prefix of 9 characters in "/a"'],
  [entry('/', [dir('..')]), 'cgroup.img: controller cpu,cpuacct', 'has a cgroup with the name ".."'],
  [entry('/', [dir('a', dir(''))]), 'cgroup.img: controller cpu,cpuacct', 'has a cgroup with the name ""'],
  [
    entry('/', [{ ...dir('a'), properties: [{ name: '../x', value: '' }] }]),
    'cgroup.img: controller cpu,cpuacct',
    'has a property "../x"',
  ],
  [entry('/a\0b', []), 'cgroup.img: set 2', 'has the path "/a\0b"'],
  [{ ...entry('/', []), controllers: [{ cnames: ['../cpu'], dirs: [] }] }, 'cgroup.img', 'has a controller "../cpu"'],
  [
    { ...entry('/', []), controllers: [] },
    'cgroup.img: set 2',
    'is in hierarchy "cpu,cpuacct", which the image does not describe',
  ],
])('an image that leads elsewhere is refused: %#', (image, object, action) => {
  expect(planCgroups(image, []).problems).toContainEqual({ object, action });
});

test('whatever an image says, there is a plan or a problem, and no path leads out', () => {
  fc.assert(
    fc.property(arbitraryMessage(CgroupEntry), fc.constantFrom([], [to('/new')]), (image, newRoots) => {
      const { hierarchies, sets, problems } = planCgroups(image, newRoots);
      if (problems.length > 0) return;
      const paths = [...hierarchies.flatMap(({ cgroups }) => cgroups), ...[...sets.values()].flat()];
      for (const { path } of paths) expect(path).toMatch(/^\/([^/]|\/(?!\.\.?(\/|$)|\/))*$/);
    }),
  );
});
