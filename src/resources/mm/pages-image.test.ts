import { afterAll, describe, expect, test } from 'bun:test';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ImageDir } from '../../image/image-dir.ts';
import { PAGE_BYTES as PAGE, PE_LAZY, PE_PARENT, PE_PRESENT } from '../../image/pagemap.ts';
import { cut, type PageRun, PagesIndex, pageRuns } from './pages-image.ts';

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

describe('pages in parent folders', () => {
  const root = mkdtempSync(join(tmpdir(), 'pages-index-'));
  afterAll(() => rmSync(root, { recursive: true }));
  const newDir = (name: string, parent: string) => {
    mkdirSync(join(root, name));
    symlinkSync(parent, join(root, name, 'parent'));
    return ImageDir.open(join(root, name));
  };

  test('are found in the folder before, or in the one before that', () => {
    mkdirSync(join(root, 'first'));
    const first = ImageDir.open(join(root, 'first'));
    first.write('pagemap', 7, { head: { pages_id: 3 }, entries: [entry(0x10000, 4, PE_PRESENT)] });
    const second = newDir('second', '../first');
    second.write('pagemap', 7, {
      head: { pages_id: 2 },
      entries: [entry(0x10000, 1, PE_PRESENT), entry(0x11000, 3, PE_PARENT)],
    });
    const third = newDir('third', '../second');
    const pagemap = { head: { pages_id: 1 }, entries: [entry(0x10000, 2, PE_PARENT), entry(0x12000, 1, PE_PRESENT)] };
    expect(new PagesIndex(third).runs('pagemap', 7, pagemap)).toEqual([
      run(0x10000, 1, 0, `${third.path}/../second/pages-2.img`),
      run(0x11000, 1, PAGE, `${third.path}/../second/../first/pages-3.img`),
      run(0x12000, 1, 0, `${third.path}/pages-1.img`),
    ]);
    const tooMuch = { head: { pages_id: 1 }, entries: [entry(0x13000, 2, PE_PARENT)] };
    expect(() => new PagesIndex(third).runs('pagemap', 7, tooMuch)).toThrow(
      `${third.path}/pagemap-7.img: refers to pages at 13000 of the parent image folder, but they are not there`,
    );
  });

  test('a link that leads in a circle is an error', () => {
    expect(() => new PagesIndex(newDir('circle', '.'))).toThrow('has a link "parent" that leads in a circle');
  });
});
