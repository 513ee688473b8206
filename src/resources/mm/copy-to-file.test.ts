import { expect, test } from 'bun:test';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MAP_ANONYMOUS, MAP_PRIVATE, PROT_READ, PROT_WRITE } from '../../linux/abi/mman.ts';
import { memoryAt } from '../../linux/kernel.ts';
import { mmap, munmap } from '../../linux/syscalls/mm.ts';
import { getpid } from '../../linux/syscalls/process.ts';
import { type Copy, copyToFiles, shareOut } from './copy-to-file.ts';

const source = { pid: 1, memFd: undefined };
const copy = (fd: number, pages: number): Copy => ({ source, runs: [{ start: 0, end: pages << 12, offset: 0 }], fd });

test('threads share the files, the biggest first, so that all have about the same to do', () => {
  const lanes = shareOut([copy(3, 10), copy(4, 50), copy(5, 20), copy(6, 30)], 2);
  expect(lanes.map((lane) => lane.map(({ fd }) => fd))).toEqual([
    [4, 3],
    [6, 5],
  ]);
});

test('one file is written by one thread', () => {
  const lanes = shareOut([copy(3, 10), copy(4, 5), copy(3, 10)], 8);
  expect(lanes.map((lane) => lane.map(({ fd }) => fd))).toEqual([[3, 3], [4]]);
});

const PAGE = 4096;
/** Every second one is copied: enough for threads. */
const PAGES = 6000;

test('two threads that take turns with one file copy all pages to their places', () => {
  const memory = mmap(0, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const { buffer, byteOffset, byteLength } = memoryAt(memory, PAGES * PAGE);
  const words = new Uint32Array(buffer, byteOffset, byteLength / 4);
  for (let i = 0; i < words.length; i++) words[i] = i;
  const folder = mkdtempSync(join(tmpdir(), 'criu-copy-'));
  const file = join(folder, 'pages');
  const fd = openSync(file, 'w');
  try {
    const runs = Array.from({ length: PAGES / 2 }, (_, i) => {
      const start = memory + 2 * i * PAGE;
      return { start, end: start + PAGE, offset: i * PAGE };
    });
    let told = 0;
    const copies = [{ source: { pid: getpid(), memFd: undefined }, runs, fd }];
    const onCopied = (bytes: number) => {
      told += bytes;
    };
    expect(copyToFiles(copies, onCopied)).toBeUndefined();
    expect(told).toBe((PAGES / 2) * PAGE);
    const copied = new Uint32Array(new Uint8Array(readFileSync(file)).buffer);
    expect(copied.length).toBe(words.length / 2);
    const wrong = copied.findIndex((word, i) => word !== Math.floor(i / 1024) * 2048 + (i % 1024));
    expect(wrong).toBe(-1);
    munmap(memory + 3000 * PAGE, PAGE);
    expect(copyToFiles(copies)?.error.message).toContain((memory + 3000 * PAGE).toString(16).slice(0, 5));
  } finally {
    closeSync(fd);
    rmSync(folder, { recursive: true });
    munmap(memory, PAGES * PAGE);
  }
});
