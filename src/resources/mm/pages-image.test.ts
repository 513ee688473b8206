import { describe, expect, test } from 'bun:test';
import { PAGE_BYTES as PAGE, PE_LAZY, PE_PARENT, PE_PRESENT } from '../../image/pagemap.ts';
import { cut, type PageRun, pageRuns } from './pages-image.ts';

const entry = (vaddr: number, nr_pages: number, flags: number) => ({ vaddr, compat_nr_pages: 0, nr_pages, flags });
const run = (address: number, pages: number, offset: number, file = 'a'): PageRun => ({
  address,
  bytes: pages * PAGE,
  file,
  offset,
});

describe('runs of pages', () => {
  test('present pages follow each other in the file, those of the parent are elsewhere', () => {
    const entries = [
      entry(0x10000, 2, PE_PRESENT | PE_LAZY),
      entry(0x12000, 1, PE_PARENT),
      entry(0x20000, 1, PE_PRESENT),
    ];
    const runs = pageRuns({ head: { pages_id: 1 }, entries }, 'a', (address, bytes) => [
      { address, bytes, file: 'base', offset: 0x7000 },
    ]);
    expect(runs).toEqual([run(0x10000, 2, 0), run(0x12000, 1, 0x7000, 'base'), run(0x20000, 1, 2 * PAGE)]);
  });

  test('a part of runs is cut out of those that cover it', () => {
    const runs = [run(0x10000, 2, 0), run(0x12000, 2, 0x9000, 'b'), run(0x20000, 1, 0x2000)];
    expect(cut(runs, 0x11000, 2 * PAGE)).toEqual([run(0x11000, 1, 0x1000), run(0x12000, 1, 0x9000, 'b')]);
    expect(cut(runs, 0x20000, PAGE)).toEqual([run(0x20000, 1, 0x2000)]);
  });

  test('there is no part where pages are missing', () => {
    const runs = [run(0x10000, 2, 0), run(0x13000, 2, 0x9000)];
    expect(cut(runs, 0x11000, 2 * PAGE)).toBeUndefined();
    expect(cut(runs, 0xf000, PAGE)).toBeUndefined();
    expect(cut(runs, 0x14000, 2 * PAGE)).toBeUndefined();
    expect(cut([], 0x14000, PAGE)).toBeUndefined();
  });
});
