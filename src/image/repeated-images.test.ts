import { afterEach, expect, test } from 'bun:test';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ImageDir } from './image-dir.ts';
import { PE_PRESENT } from './pagemap.ts';
import { RepeatedImages } from './repeated-images.ts';

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

function newImages(): ImageDir {
  const folder = mkdtempSync(join(tmpdir(), 'criu-repeated-'));
  folders.push(folder);
  return ImageDir.open(folder);
}

const pages = (vaddr: number) => ({ vaddr, compat_nr_pages: 0, flags: PE_PRESENT, nr_pages: 2 });

test('the same bytes give the same object, others what is in them', () => {
  const images = newImages();
  images.write('fs', 1, [{ cwd_id: 3, root_id: 4, umask: 0o22 }]);
  images.write('fs', 2, [{ cwd_id: 3, root_id: 4, umask: 0o22 }]);
  images.write('fs', 3, [{ cwd_id: 5, root_id: 4, umask: 0o22 }]);
  const repeated = new RepeatedImages(images);
  const [first, second, third] = [1, 2, 3].map((pid) => repeated.readOne('fs', pid));
  expect(second).toBe(first as NonNullable<typeof first>);
  expect(third).toEqual({ cwd_id: 5, root_id: 4, umask: 0o22 });
  expect(() => repeated.readOne('fs', 4)).toThrow('fs-4.img');
});

test('pagemaps that differ in the number of their pages file share their entries', () => {
  const images = newImages();
  const write = (pid: number, pages_id: number, vaddr: number) =>
    images.write('pagemap', pid, { head: { pages_id }, entries: [pages(vaddr)] });
  write(1, 7, 0x1000);
  write(2, 8, 0x1000);
  write(3, 300, 0x1000);
  write(4, 301, 0x5000);
  const repeated = new RepeatedImages(images);
  const read = [1, 2, 3, 4].map((pid) => repeated.read('pagemap', pid));
  expect(read.map(({ head }) => head.pages_id)).toEqual([7, 8, 300, 301]);
  expect(read[1]?.entries).toBe(read[0]?.entries as NonNullable<(typeof read)[0]>['entries']);
  expect(read.map(({ entries }) => entries[0]?.vaddr)).toEqual([0x1000, 0x1000, 0x1000, 0x5000]);
  expect(repeated.tryRead('pagemap', 9)).toBeUndefined();
  expect(() => repeated.read('pagemap', 9)).toThrow('pagemap-9.img');
});
