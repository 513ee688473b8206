import { expect, test } from 'bun:test';
import { fixture } from './fixtures/fixture.ts';
import { parseMountinfo } from './mountinfo.ts';

const mounts = parseMountinfo(fixture('mountinfo'));
const at = (mountPoint: string) => mounts.find((mount) => mount.mountPoint === mountPoint);

test('the root', () => {
  expect(mounts[0]).toEqual({
    id: 43,
    parentId: 42,
    device: { major: 254, minor: 0 },
    root: '/',
    mountPoint: '/',
    options: 'rw,relatime',
    shared: undefined,
    master: undefined,
    propagateFrom: undefined,
    isUnbindable: false,
    fsType: 'ext4',
    source: '/dev/vda',
    superOptions: 'rw,discard',
  });
});

test('names with blank, tab, backslash, newline and hash', () => {
  expect(at('/data/a dir')?.source).toBe('my source');
  expect(at('/data/tab\tx')?.options).toBe('rw,nosuid,nodev,noexec,relatime');
  expect(at('/data/back\\slash')?.source).toBe('y');
  expect(at('/data/hash#')?.source).toBe('h#');
});

test('a source may be empty', () => {
  expect(at('/data/new\nline')).toMatchObject({ fsType: 'tmpfs', source: '', superOptions: 'rw' });
});

test('propagation', () => {
  const tags = ['peer', 'slave', 'both', 'unb'].map((name) => at(`/data/${name}`));
  expect(tags.map((mount) => [mount?.shared, mount?.master, mount?.isUnbindable])).toEqual([
    [1, undefined, false],
    [undefined, 1, false],
    [2, 1, false],
    [undefined, undefined, true],
  ]);
  const [mount] = parseMountinfo('1 2 0:3 / / rw master:5 propagate_from:7 newtag:8 - tmpfs t rw\n');
  expect([mount?.master, mount?.propagateFrom]).toEqual([5, 7]);
});

test('a bind mount of a part, read-only', () => {
  expect(at('/data/ro')).toMatchObject({
    root: '/src/sub',
    options: 'ro,nosuid,relatime',
    superOptions: 'rw,size=1024k',
  });
});

test('errors name file and line', () => {
  const fail = (line: string) => () =>
    parseMountinfo(`${fixture('mountinfo').split('\n')[0]}\n${line}\n`, '/proc/7/mountinfo');
  const prefix = "/proc/7/mountinfo: cannot parse the kernel's text: ";
  expect(fail('1 2 0:3 / / rw')).toThrow(
    `${prefix}" - " between the halves of a mount expected in line 2, found "1 2 0:3 / / rw"`,
  );
  expect(fail('1 2 0:3 / / - t s o')).toThrow(`${prefix}six fields expected in line 2, found "1 2 0:3 / / - t s o"`);
  expect(fail('1 2 0:3 / / rw - t s')).toThrow(`${prefix}type, source and options of a file system expected in line 2`);
  expect(fail('1 2 03 / / rw - t s o')).toThrow(`${prefix}a device number expected in line 2`);
  expect(fail('1 2 0:3 / / rw shared:x - t s o')).toThrow(`${prefix}a peer group expected in line 2`);
});
