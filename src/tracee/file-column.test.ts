import { afterAll, expect, test } from 'bun:test';
import { mkdtempSync, readlinkSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { byteString } from '../base/bytes.ts';
import { ERRNO } from '../linux/abi/errno.ts';
import { readSmallLinks, SmallFiles } from './file-column.ts';

const folder = mkdtempSync(join(tmpdir(), 'criu-files-'));
afterAll(() => rmSync(folder, { recursive: true }));

const path = (name: string) => join(folder, name);
/** More files than a table has rows. */
const many = Array.from({ length: 150 }, (_, i) => path(`file ${i}`));
for (const [i, name] of many.entries()) writeFileSync(name, `text ${i}`);
writeFileSync(path('long'), 'x'.repeat(100));
symlinkSync('file 1', path('link'));

function read(paths: readonly string[], mustBeRegular = false) {
  const found: (string | number)[] = [];
  const take = (content: Uint8Array | number) =>
    found.push(typeof content === 'number' ? content : byteString(content));
  new SmallFiles(64, { pathBytes: 256, mustBeRegular }).read(paths, take);
  return found;
}

test('many small files are read in the order of their paths', () => {
  expect(read(many)).toEqual(many.map((_, i) => `text ${i}`));
  expect(read([])).toEqual([]);
});

test('what was read before does not show', () => {
  const files = new SmallFiles(64, { pathBytes: 256 });
  const found: (string | number)[] = [];
  const take = (content: Uint8Array | number) =>
    found.push(typeof content === 'number' ? content : byteString(content));
  files.read([path('file 100')], (content) => {
    take(content);
    files.read([path('none')], take);
  });
  files.read([path('none'), path('file 1')], take);
  expect(found).toEqual(['text 100', -ERRNO.ENOENT, -ERRNO.ENOENT, 'text 1']);
});

test('a longer file is read as a whole, and a missing one says so', () => {
  expect(read([path('long'), path('none'), path('file 3')])).toEqual(['x'.repeat(100), -ERRNO.ENOENT, 'text 3']);
});

test('of unknown origin only short regular files are read', () => {
  const paths = [path('file 2'), path('link'), path('long'), folder, '/dev/null'];
  expect(read(paths, true)).toEqual(['text 2', -ERRNO.ELOOP, -ERRNO.EFBIG, -ERRNO.EISDIR, -ERRNO.EINVAL]);
});

test('links', () => {
  const found: (string | number)[] = [];
  readSmallLinks(['/proc/self/ns/net', '/proc/self/ns/none'], (target) => found.push(target));
  expect(found).toEqual([readlinkSync('/proc/self/ns/net'), -ERRNO.ENOENT]);
});
