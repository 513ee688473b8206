import { expect, test } from 'bun:test';
import { fixture } from './fixtures/fixture.ts';
import { parseMaps } from './maps.ts';
import { parseSmaps, SmapsParser, VM_FLAG_MEANINGS } from './smaps.ts';

const entries = parseSmaps(fixture('smaps'));

test('the areas are those of maps', () => {
  const areas = parseMaps(fixture('maps')).map((entry) => [entry.start, entry.end, entry.prot, entry.rawPath]);
  expect(entries.map((entry) => [entry.start, entry.end, entry.prot, entry.rawPath])).toEqual(areas);
});

test('page size, key and flags of a huge anonymous area', () => {
  const huge = entries.find(({ start }) => start === 0x7f087fa00000);
  expect([huge?.kernelPageSizeKb, huge?.protectionKey, huge?.vmFlags.has('hg')]).toEqual([4, 0, true]);
});

test('protection keys and pages of hugetlb', () => {
  const area = 'rw-p 0 0:0 0\nKernelPageSize:     2048 kB\nProtectionKey:         3\nVmFlags: rd ht \n';
  const [first, second] = parseSmaps(`1000-2000 ${area}3000-4000 ${area}`);
  expect([first?.kernelPageSizeKb, first?.protectionKey, second?.protectionKey]).toEqual([2048, 3, 3]);
});

test('the flags of madvise, mlock, mseal and MAP_GROWSDOWN are seen', () => {
  for (const flag of ['dc', 'dd', 'wf', 'lo', 'sl', 'gd', 'nr', 'hg', 'de', 'ac', 'io']) {
    const found = entries.some((entry) => entry.vmFlags.has(flag));
    expect([flag, found]).toEqual([flag, true]);
  }
});

test('all flags that this kernel prints are in the table', () => {
  const known = new Set(Object.keys(VM_FLAG_MEANINGS));
  const unknown = entries.flatMap((entry) => [...entry.vmFlags]).filter((flag) => !known.has(flag));
  expect(unknown).toEqual([]);
});

test('parts of any size give what the whole gives', () => {
  const text = `${fixture('smaps')}1000-2000 r--p 00000000 fe:00 7                          /x/VmFlags: rd\nVmFlags: rd \nNew: 1\n`;
  const whole = parseSmaps(text);
  for (const size of [1, 100, 3000, 65_536]) {
    const parser = new SmapsParser('x');
    let rest = '';
    for (let at = 0; at < text.length; at += size) {
      rest += text.slice(at, at + size);
      rest = rest.slice(parser.add(rest, at + size >= text.length));
    }
    expect([size, rest, parser.entries]).toEqual([size, '', whole]);
  }
});

test('areas differ in one thing from the one before, and from the one before that', () => {
  const area = (header: string, page = 4, key = 0, flags = 'rd wr') =>
    `${header}\nKernelPageSize:     ${page} kB\nProtectionKey:         ${key}\nVmFlags: ${flags} \n`;
  const parsed = parseSmaps(
    [
      area('1000-2000 rw-p 00000000 00:00 0 '),
      area('2000-3000 rw-p 00000000 00:00 0 ', 8),
      area('3000-4000 r--p 00000000 00:00 0 ', 8, 1),
      area('4000-5000 rw-p 00000000 00:00 0 ', 4, 1, 'rd'),
      area('6000-7000 r--s 00000000 00:00 0 ', 4, 0, 'rd wr'),
      '7000-8000 r--s 00000000 00:00 0 \nVmFlags: rd wr mr \n',
      area('70000-80000 r--s 00001000 00:00 0 '),
    ].join(''),
  );
  expect(
    parsed.map((one) => [one.start, one.end, one.prot, one.isShared, one.kernelPageSizeKb, one.protectionKey]),
  ).toEqual([
    [0x1000, 0x2000, 3, false, 4, 0],
    [0x2000, 0x3000, 3, false, 8, 0],
    [0x3000, 0x4000, 1, false, 8, 1],
    [0x4000, 0x5000, 3, false, 4, 1],
    [0x6000, 0x7000, 1, true, 4, 0],
    [0x7000, 0x8000, 1, true, 0, 0],
    [0x7_0000, 0x8_0000, 1, true, 4, 0],
  ]);
  expect(parsed.map(({ vmFlags }) => [...vmFlags].join(' '))).toEqual([
    'rd wr',
    'rd wr',
    'rd wr',
    'rd',
    'rd wr',
    'rd wr mr',
    'rd wr',
  ]);
});

test('unknown keys and flags of newer kernels do no harm', () => {
  const [entry] = parseSmaps(
    '1000-2000 rw-p 0 0:0 0\nNewThing:   oops\nKernelPageSize:    8 kB\nAnotherLong:  1\nVmFlags: rd zz \nNewer: 1\n',
  );
  expect([entry?.kernelPageSizeKb, [...(entry?.vmFlags ?? [])]]).toEqual([8, ['rd', 'zz']]);
});

test('errors name file and line', () => {
  const text = '1000-2000 rw-p 0 0:0 0\nKernelPageSize:    x kB\nVmFlags: rd\n';
  expect(() => parseSmaps(text, '/proc/7/smaps')).toThrow(
    '/proc/7/smaps: cannot parse the kernel\'s text: a number of kB expected in line 2, found "KernelPageSize:    x kB"',
  );
  expect(() => parseSmaps('1000-2000 rw-p 0 0:0 0\n?\n')).toThrow(
    '/proc/PID/smaps: cannot parse the kernel\'s text: a line "VmFlags:" expected in line 2, found "?"',
  );
});

test('a part that cannot be parsed is named without a line', () => {
  const parser = new SmapsParser('/proc/7/smaps');
  parser.add('1000-2000 rw-p 0 0:0 0\nVmFlags: rd\n', false);
  expect(() => parser.add('oops\nVmFlags: rd\n', true)).toThrow(
    '/proc/7/smaps: cannot parse the kernel\'s text: a hexadecimal number expected, found "oops"',
  );
});

test('ten thousand areas take milliseconds', () => {
  const recorded = fixture('smaps');
  const one = recorded.slice(0, recorded.indexOf('VmFlags') + 30).replace(/\n[^\n]*$/, '');
  const areas = Array.from({ length: 10_000 }, (_, index) =>
    one.replace(/^\S+/, `${(index * 8192).toString(16)}-${(index * 8192 + 4096).toString(16)}`),
  );
  const text = `${areas.join('\n')}\n`;
  const header = /^[0-9a-f]+-.*$/gm;
  const maps = `${(text.match(header) ?? []).join('\n')}\n`;
  const mapsMs = milliseconds(() => expect(parseMaps(maps).length).toBe(10_000));
  const smapsMs = milliseconds(() => expect(parseSmaps(text).length).toBe(10_000));
  // Some ten times what it takes on an idle machine: this is to catch a quadratic loop.
  expect(mapsMs).toBeLessThan(100);
  expect(smapsMs).toBeLessThan(500);
});

function milliseconds(action: () => void): number {
  const start = performance.now();
  action();
  return performance.now() - start;
}
