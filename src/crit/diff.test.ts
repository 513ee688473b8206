import { describe, expect, test } from 'bun:test';
import { diffFolders } from './diff.ts';
import { core, type MemoryFiles, PAGES, sampleImages } from './image-files.test-support.ts';

function diff(change: (images: MemoryFiles) => void, linesMax = 20): string[] {
  const second = sampleImages();
  change(second);
  return diffFolders(sampleImages(), second, { linesMax });
}

describe('two folders', () => {
  test('that are the same have no differences, whatever the statistics say', () => {
    expect(diff(({ files }) => files.delete('stats-dump'))).toEqual([]);
  });

  test('differ in images', () => {
    expect(
      diff((images) => {
        images.files.delete('core-13.img');
        images.put('core', 14, [core('new')]);
      }),
    ).toEqual(['core-13.img: only in the first', 'core-14.img: only in the second']);
  });

  test('differ in fields and entries, which are matched by their numbers', () => {
    expect(
      diff((images) => {
        images.put('core', 10, [core('renamed')]);
        images.put('fdinfo', 10, [
          { fd: 4, id: 6, type: 4, flags: 1 },
          { fd: 9, id: 3, type: 1, flags: 0 },
        ]);
      }),
    ).toEqual([
      'core-10.img: [0].tc.comm: "server", "renamed" in the second',
      'fdinfo-10.img: [fd 1]: only in the first',
      'fdinfo-10.img: [fd 3]: only in the first',
      'fdinfo-10.img: [fd 4].flags: 0, 1 in the second',
      'fdinfo-10.img: [fd 9]: only in the second',
    ]);
  });

  test('differ in data', () => {
    expect(
      diff((images) => {
        const payload = new Uint8Array([0, 0, 1]);
        images.put('pipes-data', undefined, [{ message: { pipe_id: 900, bytes: 3 }, payload }]);
      })[0],
    ).toMatch(/^pipes-data.img: \[pipe_id 900\].data: "3 bytes with hash \w+", "3 bytes with hash \w+" in the second$/);
  });

  test('differ in memory, page by page', () => {
    expect(
      diff(({ files }) => {
        const pages = PAGES.slice();
        pages[4096 + 5] = 2;
        files.set('pages-1.img', pages);
      }),
    ).toEqual(['pagemap-10.img: 1 page (4.0 KiB) of 3 with other content']);
    expect(
      diff((images) => {
        const entries = [{ vaddr: 0x7f2000001000, compat_nr_pages: 2, flags: 4 }];
        images.put('pagemap', 10, { head: { pages_id: 1 }, entries });
      }),
    ).toEqual(['pagemap-10.img: 2 pages only in the first, 1 page only in the second']);
  });

  test('show only the first differences of each image', () => {
    expect(diff((images) => images.put('fdinfo', 10, []), 2)).toEqual([
      'fdinfo-10.img: [fd 1]: only in the first',
      'fdinfo-10.img: [fd 3]: only in the first',
      'fdinfo-10.img: and 1 more difference',
    ]);
  });

  test('must not be damaged', () => {
    expect(() => diff(({ files }) => files.set('core-10.img', new Uint8Array([1])))).toThrow(
      'core-10.img: the file is too short for an image',
    );
  });
});
