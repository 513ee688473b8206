import { expect, test } from 'bun:test';
import { FdTypes, type FileEntry } from './gen/fdinfo.ts';
import type { ImageDir } from './image-dir.ts';
import { readOpenFiles, typeOf } from './open-files.ts';
import { serializeImage } from './serialize-image.ts';

const fown = { uid: 0, euid: 0, signum: 0, pid_type: 0, pid: 0 };
const regular = (id: number, more = {}): FileEntry => ({
  type: FdTypes.REG,
  id,
  reg: { id, flags: 0, pos: BigInt(id), fown, name: `/files/${id}`, build_id: [], ...more },
});
const event = (id: number): FileEntry => ({ type: FdTypes.EVENTFD, id, efd: { id, flags: 0, fown, counter: 1n } });

function read(files: FileEntry[]) {
  const bytes = serializeImage('files', files);
  return readOpenFiles({ tryReadBytes: () => bytes } as unknown as ImageDir);
}

const many = (count: number) => Array.from({ length: count }, (_, i) => regular(10 + i));

test('of many files the plain ones are rows, and all are found', () => {
  const files = read([regular(1, { ext: true }), event(2), ...many(1000), event(5000), regular(5001, { mnt_id: 7 })]);
  expect(files.plain?.count).toBe(1000);
  expect([...files.values()].map(({ id }) => id)).toEqual([1, 2, 5000, 5001]);
  expect(files.get(500)).toEqual(regular(500));
  expect(files.get(2)).toEqual(event(2));
  expect([files.has(10), files.has(5001), files.has(5002)]).toEqual([true, true, false]);
  expect([typeOf(files, 10), typeOf(files, 2), typeOf(files, 5002)]).toEqual([FdTypes.REG, FdTypes.EVENTFD, undefined]);
});

test('of few files there are only entries', () => {
  const files = read([event(2), ...many(10)]);
  expect(files.plain).toBeUndefined();
  expect(files.get(15)).toEqual(regular(15));
});

test('of two files with one number the last counts', () => {
  const files = read([...many(1000), event(500), regular(20, { name: '/other' })]);
  expect(files.get(500)).toEqual(event(500));
  expect(files.get(20)?.reg?.name).toBe('/other');
  expect(files.get(21)).toEqual(regular(21));
});

test('what is damaged is named by its entry', () => {
  const bytes = serializeImage('files', [...many(1000), event(5000)]).slice(0, -1);
  const damaged = () => readOpenFiles({ tryReadBytes: () => bytes } as unknown as ImageDir);
  expect(damaged).toThrow('files.img: entry 1000: the file is truncated');
});
