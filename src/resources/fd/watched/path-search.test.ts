/** The search for paths of inodes: its order, its bounds. */
import { expect, test } from 'bun:test';
import { S_IFDIR, S_IFREG } from '../../../linux/abi/fcntl.ts';
import type { Stat } from '../../../linux/syscalls/fs.ts';
import { type Folders, PathSearch } from './path-search.ts';

/** A file system of paths and inode numbers; what ends in a slash is a folder. Notes which folders are listed. */
function fake(inodes: Record<string, number>): Folders & { listed: string[] } {
  const listed: string[] = [];
  return {
    listed,
    lstat(path) {
      const [name] = [path, `${path}/`].filter((candidate) => candidate in inodes);
      if (name === undefined) return -2;
      const st_mode = path === '/' || name.endsWith('/') ? S_IFDIR : S_IFREG;
      return { st_dev: 0x801, st_ino: inodes[name], st_mode } as Stat;
    },
    list(path) {
      listed.push(path);
      const start = path === '/' ? '/' : `${path}/`;
      return Object.keys(inodes)
        .filter((name) => name.startsWith(start) && name !== start)
        .map((name) => name.slice(start.length).replace(/\/$/, ''))
        .filter((name) => !name.includes('/'));
    },
  };
}

const DEVICE = 0x80_0001;

const wanted = (ino: bigint, device = DEVICE, mountPoints: string[] = [], at = '') => ({
  device,
  ino,
  mountPoints,
  isAt: (path: string) => path === at,
});

test('the folders of the user come first, and no more is read than needed', () => {
  const folders = fake({ '/': 2, '/srv/': 3, '/srv/a': 4, '/srv/b/': 5, '/srv/b/c': 6, '/etc/': 7, '/etc/x': 4 });
  const search = new PathSearch(['/srv'], '', folders);
  expect([search.find(wanted(4n)), folders.listed]).toEqual(['/srv/a', ['/srv']]);
  expect([search.find(wanted(6n)), folders.listed]).toEqual(['/srv/b/c', ['/srv', '/srv/b']]);
});

test('the usual folders and the root are known, everything else is not', () => {
  const folders = fake({ '/': 2, '/etc/': 7, '/etc/x': 4, '/opt/': 8, '/opt/y': 9 });
  const search = new PathSearch(['/none'], '', folders);
  expect([2n, 4n, 7n, 9n].map((ino) => search.find(wanted(ino)))).toEqual(['/', '/etc/x', '/etc', undefined]);
  expect(search.find(wanted(4n, DEVICE + 1))).toBeUndefined();
  expect(folders.listed).toEqual(['/etc']);
});

test('paths are those of the tree', () => {
  const folders = fake({ '/proc/9/root/etc/': 7, '/proc/9/root/etc/x': 4 });
  expect(new PathSearch([], '/proc/9/root', folders).find(wanted(4n))).toBe('/etc/x');
});

test('what is nowhere else is searched on its mounts', () => {
  const folders = fake({ '/': 2, '/opt/': 8, '/opt/y': 9 });
  const search = new PathSearch([], '', folders);
  expect(search.find(wanted(9n, DEVICE, ['/opt']))).toBe('/opt/y');
  expect(folders.listed).toEqual(['/opt']);
});

test('a path with another device is taken when its handle says so', () => {
  const folders = fake({ '/etc/': 7, '/etc/x': 4 });
  expect(new PathSearch([], '', folders).find(wanted(4n, DEVICE + 1, [], '/etc/x'))).toBe('/etc/x');
  expect(new PathSearch([], '', folders).find(wanted(4n, DEVICE + 1, [], '/etc/z'))).toBeUndefined();
});
