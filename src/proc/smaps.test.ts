import { expect, test } from 'bun:test';
import { fixture } from './fixtures/fixture.ts';
import { parseMaps } from './maps.ts';
import { parseSmaps, VM_FLAG_MEANINGS } from './smaps.ts';

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
