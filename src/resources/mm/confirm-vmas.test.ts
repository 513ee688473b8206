import { expect, test } from 'bun:test';
import { MADV_DONTDUMP, MADV_RANDOM, MAP_LOCKED } from '../../linux/abi/mman.ts';
import { parseSmaps } from '../../proc/smaps.ts';
import { confirmVmas } from './confirm-vmas.ts';
import { type DescribedVma, describeVmas, guardVmas } from './dump-vmas.ts';

/** smaps of areas; each has its range, flags, and maybe the kind and a key. */
function smaps(...areas: [range: string, flags: string, kind?: string, key?: number][]) {
  const text = areas.map(
    ([range, flags, kind = 'rw-p 00000000 00:00 0', key = 0]) =>
      `${range} ${kind} \nKernelPageSize: 4 kB\nProtectionKey: ${key}\nVmFlags: ${flags} \n`,
  );
  return parseSmaps(text.join(''));
}

function describeAll(...areas: Parameters<typeof smaps>): DescribedVma[] {
  return describeVmas(smaps(...areas), 'x').vmas;
}

const LABEL = "task 7 'x'";
const CHANGED = {
  action: 'cannot be dumped: madvise(2) has changed it while the dump began, and its content was not copied',
  remedy: 'try again',
};

test('flags that have changed are corrected, others stay as they are', () => {
  const vmas = describeAll(['1000-2000', 'rd wr lo rr'], ['2000-3000', 'rd wr'], ['3000-4000', 'rd wr']);
  const before = structuredClone(vmas.map(({ entry }) => entry));
  const now = smaps(['1000-2000', 'rd wr dd sl lf'], ['2000-3000', 'rd wr'], ['3000-4000', 'wr rd']);
  expect(before[0]?.flags ?? 0).toBe((before[1]?.flags ?? 0) | MAP_LOCKED);
  expect(before[0]?.madv).toBe(1n << BigInt(MADV_RANDOM));
  expect(confirmVmas(vmas, now, false, LABEL)).toEqual([]);
  const [first, ...others] = vmas.map(({ entry }) => entry);
  expect(first).toMatchObject({ flags: before[1]?.flags, madv: 1n << BigInt(MADV_DONTDUMP), sealed_ext: true });
  expect(first?.lock_on_fault_ext).toBe(true);
  expect(others).toEqual(before.slice(1));
});

test('a twin lacks shared mappings and those that it does not inherit', () => {
  const vmas = describeAll(
    ['1000-2000', 'rd wr dc'],
    ['2000-3000', 'rd wr sh', 'rw-s 00000000 00:05 9 /x'],
    ['5000-6000', 'rd'],
  );
  const before = structuredClone(vmas.map(({ entry }) => entry));
  expect(
    confirmVmas([...vmas, ...guardVmas([{ start: 0x5000, end: 0x6000 }])], smaps(['5000-6000', 'rd']), true, LABEL),
  ).toEqual([]);
  expect(vmas.map(({ entry }) => entry)).toEqual(before);
});

test('the agent may have been beside a mapping', () => {
  const vmas = describeAll(['3000-4000', 'rd wr'], ['6000-7000', 'rd']);
  expect(confirmVmas(vmas, smaps(['2000-5000', 'rd wr'], ['5000-8000', 'rd rr']), true, LABEL)).toEqual([]);
  expect(vmas.map(({ entry }) => entry.madv)).toEqual([undefined, 1n << BigInt(MADV_RANDOM)]);
});

test('content that is in no twin is not lost in silence', () => {
  const areas: Parameters<typeof smaps> = [
    ['1000-2000', 'rd wr'],
    ['2000-3000', 'rd wr'],
    ['3000-4000', 'rd wr wf'],
  ];
  const now = smaps(['2000-3000', 'rd wr wf'], ['3000-4000', 'rd wr wf']);
  expect(confirmVmas(describeAll(...areas), now, true, LABEL)).toEqual([
    { object: "task 7 'x': mapping 1000-2000", ...CHANGED },
    { object: "task 7 'x': mapping 2000-3000", ...CHANGED },
  ]);
  // The task itself was asked: its content is copied from there.
  const all = smaps(['1000-2000', 'rd wr'], ['2000-3000', 'rd wr wf'], ['3000-4000', 'rd wr']);
  expect(confirmVmas(describeAll(...areas), all, false, LABEL)).toEqual([]);
});

test('what can not be dumped any more is refused', () => {
  const now = smaps(['1000-2000', 'rd wr', 'rw-p 00000000 00:00 0', 3], ['2000-3000', 'rd wr um']);
  expect(confirmVmas(describeAll(['1000-2000', 'rd wr'], ['2000-3000', 'rd wr']), now, false, LABEL)).toEqual([
    {
      object: "task 7 'x': mapping 1000-2000",
      action: 'cannot be dumped',
      why: 'it has a memory protection key (man 7 pkeys)',
    },
    { object: "task 7 'x': mapping 2000-3000", action: 'cannot be dumped', why: 'it is registered with a userfaultfd' },
  ]);
});
