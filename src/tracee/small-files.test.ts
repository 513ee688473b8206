import { afterAll, expect, test } from 'bun:test';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { O_CREAT, O_EXCL, O_WRONLY } from '../linux/abi/fcntl.ts';
import { SmallFiles } from './small-files.ts';

const folder = mkdtempSync(join(tmpdir(), 'criu-small-files-'));
afterAll(() => rmSync(folder, { recursive: true }));

const OPTIONS = { pathBytes: 128, bytes: 100, flags: O_WRONLY | O_CREAT | O_EXCL, mode: 0o600 };
const contentOf = (i: number) => new Uint8Array(i % 100).fill(i);

test('many files are written, each with its content', () => {
  const failed: string[] = [];
  using files = new SmallFiles({ ...OPTIONS, count: 250 }, (path) => failed.push(path));
  for (let i = 0; i < 250; i++) expect(files.tryAdd(`${folder}/${i}`, contentOf(i))).toBe(true);
  files.flush();
  expect(failed).toEqual([]);
  expect(readdirSync(folder).length).toBe(250);
  for (let i = 0; i < 250; i++) expect(new Uint8Array(readFileSync(`${folder}/${i}`))).toEqual(contentOf(i));
});

test('a file that cannot be written is told with its content', () => {
  const failed: [string, number][] = [];
  using files = new SmallFiles({ ...OPTIONS, count: 3 }, (path, content) => failed.push([path, content.length]));
  files.tryAdd(`${folder}/is-new`, contentOf(1));
  files.tryAdd(`${folder}/is-new`, contentOf(2)); // is there by then
  files.tryAdd(`${folder}/nowhere/3`, contentOf(3));
  expect(failed).toEqual([
    [`${folder}/is-new`, 2],
    [`${folder}/nowhere/3`, 3],
  ]);
});

test('what is too long is refused', () => {
  using files = new SmallFiles({ ...OPTIONS, count: 3 }, () => {});
  expect(files.tryAdd(`${folder}/${'x'.repeat(128)}`, contentOf(1))).toBe(false);
  expect(files.tryAdd(`${folder}/long`, new Uint8Array(101))).toBe(false);
});
