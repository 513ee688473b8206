import { expect, test } from 'bun:test';
import fc from 'fast-check';
import { PROT_EXEC, PROT_READ, PROT_WRITE } from '../linux/abi/mman.ts';
import { fixture } from './fixtures/fixture.ts';
import { parseMaps } from './maps.ts';

test('a real process: all areas in ascending order', () => {
  const entries = parseMaps(fixture('maps'));
  expect(entries.length).toBe(47);
  for (const [index, entry] of entries.entries()) {
    expect(entry.end).toBeGreaterThan(entry.start);
    if (index > 0) expect(entry.start).toBeGreaterThanOrEqual(entries[index - 1]?.end ?? 0);
  }
});

test('an area of a file', () => {
  expect(parseMaps(fixture('maps'))[1]).toEqual({
    start: 0x55c3e0137000,
    end: 0x55c3e0138000,
    prot: PROT_READ | PROT_EXEC,
    isShared: false,
    offset: 0x1000,
    device: { major: 0xfe, minor: 0 },
    inode: 26723,
    path: '/usr/bin/program',
    rawPath: '/usr/bin/program',
    isDeleted: false,
  });
});

test('names: newline, backslash, bytes above 127, deleted, and a file that is called so', () => {
  const entries = parseMaps(fixture('maps'));
  const names = entries.filter((entry) => entry.isShared).map((entry) => [entry.rawPath, entry.path, entry.isDeleted]);
  expect(names).toEqual([
    ['/SYSV00000000 (deleted)', '/SYSV00000000', true],
    ['/memfd:shared (deleted)', '/memfd:shared', true],
    ['/dev/zero (deleted)', '/dev/zero', true],
    ['/data/some dir/b\xe4\xff', '/data/some dir/b\xe4\xff', false],
    ['/data/some dir/back\\slash', '/data/some dir/back\\slash', false],
    ['/data/some dir/kept (deleted)', '/data/some dir/kept', true],
    ['/data/some dir/new\nline', '/data/some dir/new\nline', false],
    ['/data/some dir/gone (deleted)', '/data/some dir/gone', true],
    ['/data/some dir/plain', '/data/some dir/plain', false],
  ]);
});

test('vsyscall lies above 2^53 and is exact all the same', () => {
  const vsyscall = parseMaps(fixture('maps')).at(-1);
  expect([BigInt(vsyscall?.start ?? 0), BigInt(vsyscall?.end ?? 0)]).toEqual([
    0xffffffffff600000n,
    0xffffffffff601000n,
  ]);
  expect([vsyscall?.prot, vsyscall?.path]).toEqual([PROT_EXEC, '[vsyscall]']);
});

test('no text is no area; the last line may lack its newline', () => {
  expect(parseMaps('')).toEqual([]);
  expect(parseMaps('1000-2000 ---p 00000000 00:00 0').map((entry) => [entry.start, entry.path])).toEqual([[4096, '']]);
});

test('errors name file, line and what was expected', () => {
  const good = '1000-2000 rw-p 00000000 00:00 0 \n';
  const fail = (line: string) => () => parseMaps(`${good}${good}${line}\n`, '/proc/7/maps');
  const text = (expected: string, found: string) =>
    `/proc/7/maps: cannot parse the kernel's text: ${expected} expected in line 3, found "${found}"`;
  expect(fail('zz')).toThrow(text('a hexadecimal number', 'zz'));
  expect(fail('2000-1000 rw-p 0 0:0 0')).toThrow(text('an address range', '2000-1000 rw-p 0 0:0 0'));
  expect(fail('1-2 rwp- 0 0:0 0')).toThrow(text('access rights', '1-2 rwp- 0 0:0 0'));
  expect(fail('1-2 rw-x 0 0:0 0')).toThrow(text('access rights', '1-2 rw-x 0 0:0 0'));
  expect(fail('1-2 rw-p 0 0:0 \x01')).toThrow(text('an inode number', '1-2 rw-p 0 0:0 \\x01'));
  expect(fail('1-2 rw-p 0 0:0 5x')).toThrow(text('an inode number', '1-2 rw-p 0 0:0 5x'));
});

test('any area comes back as it was printed', () => {
  const page = fc.integer({ min: 0, max: 2 ** 36 });
  const name = fc.string({ unit: fc.constantFrom('a', '/', ' ', '\n', '\xff', '(') });
  fc.assert(
    fc.property(
      page,
      page,
      fc.nat(7),
      fc.boolean(),
      page,
      fc.nat(),
      name,
      (first, length, prot, shared, off, ino, path) => {
        const [start, end] = [first * 4096, (first + length + 1) * 4096];
        const rights = `${prot & PROT_READ ? 'r' : '-'}${prot & PROT_WRITE ? 'w' : '-'}${prot & PROT_EXEC ? 'x' : '-'}`;
        const where = `${start.toString(16)}-${end.toString(16)} ${rights}${shared ? 's' : 'p'}`;
        const escaped = path.replaceAll('\n', '\\012');
        const [entry] = parseMaps(`${where} ${(off * 4096).toString(16).padStart(8, '0')} fe:01 ${ino} /${escaped}\n`);
        expect(entry).toEqual({
          start,
          end,
          prot,
          isShared: shared,
          offset: off * 4096,
          device: { major: 254, minor: 1 },
          inode: ino,
          path: `/${path}`,
          rawPath: `/${path}`,
          isDeleted: false,
        });
      },
    ),
  );
});
