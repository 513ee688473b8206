/**
 * Goal: the page tables that criu copies have the frames that the kernel shows.
 * Method: memory of our own, and that of a process of ours, by both ways.
 */
import { test as anyTest, expect } from 'bun:test';
import { MAP_ANONYMOUS, MAP_NORESERVE, MAP_PRIVATE, PROT_NONE, PROT_READ, PROT_WRITE } from './abi/mman.ts';
import { SYS } from './abi/syscall-numbers.ts';
import { check, memoryAt, syscall } from './kernel.ts';
import { expandHuge, HUGE_MARK, pageTables, TABLE_HALVES, TABLE_SPAN, TABLES_MAX } from './page-tables.ts';
import { close, open, pread } from './syscalls/fs.ts';
import { mmap, munmap } from './syscalls/mm.ts';
import { getpid } from './syscalls/process.ts';
import { tryReadTaskMappings } from './task-mappings.ts';

const PAGE = 4096;
const PAGES = TABLE_SPAN / PAGE;

// The kernel lets root look at them, unless BPF is locked down.
const test = anyTest.skipIf(pageTables() === undefined);

/** As pagemap shows them, for those that are there. */
function shown(pid: number, start: number, pages: number): bigint[] {
  const fd = open(`/proc/${pid}/pagemap`, 0);
  const words = new BigUint64Array(pages);
  expect(pread(fd, new Uint8Array(words.buffer), (start / PAGE) * 8)).toBe(pages * 8);
  close(fd);
  return [...words].map((word) => ((word >> 63n) & 1n) * (word & ((1n << 55n) - 1n)));
}

function copied(pid: number, starts: readonly number[]): bigint[][] {
  const tables = pageTables();
  const topTable = tryReadTaskMappings(pid)?.topTable ?? 0n;
  expect(topTable).not.toBe(0n);
  for (const [i, start] of starts.entries()) tables?.ask(i, topTable, start);
  tables?.run(starts.length);
  return starts.map((_, i) => {
    const halves = tables?.tables.subarray(i * TABLE_HALVES, (i + 1) * TABLE_HALVES) ?? new Uint32Array(0);
    if (((halves[1] ?? 0) & HUGE_MARK) !== 0) expandHuge(halves);
    const words: bigint[] = [];
    for (let at = 0; at < halves.length; at += 2) {
      words.push(((BigInt(halves[at + 1] ?? 0) << 32n) | BigInt(halves[at] ?? 0)) >> 12n);
    }
    return words;
  });
}

/** Room for so many tables, aligned. */
function reserve(tables: number): { start: number; bytes: number; aligned: number } {
  const bytes = (tables + 1) * TABLE_SPAN;
  const start = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return { start, bytes, aligned: Math.ceil(start / TABLE_SPAN) * TABLE_SPAN };
}

test('pages that may not be written, those without access, and what is not there', () => {
  const { start, bytes, aligned } = reserve(3);
  try {
    check('madvise', syscall(SYS.madvise, start, bytes, 15));
    for (let page = 0; page < PAGES; page += 3) memoryAt(aligned + page * PAGE, 1)[0] = page & 255;
    check('mprotect', syscall(SYS.mprotect, aligned, TABLE_SPAN / 2, PROT_READ));
    const before = shown(getpid(), aligned, PAGES);
    const [frames, none] = copied(getpid(), [aligned, aligned + TABLE_SPAN]);
    // What may be written is nobody else's.
    expect(frames).toEqual(before.map((frame, page) => (page < PAGES / 2 ? frame : 0n)));
    expect(frames?.[3]).not.toBe(0n);
    expect(none?.some((frame) => frame !== 0n)).toBe(false);
    check('mprotect', syscall(SYS.mprotect, aligned, PAGE, PROT_NONE));
    const [again] = copied(getpid(), [aligned]);
    expect(again?.slice(1)).toEqual(frames?.slice(1) ?? []);
    expect(again?.[0]).not.toBe(0n);
    expect(again?.[0]).not.toBe(frames?.[0] ?? 0n);
  } finally {
    munmap(start, bytes);
  }
});

test('a huge page', () => {
  const { start, bytes, aligned } = reserve(1);
  try {
    if (syscall(SYS.madvise, aligned, TABLE_SPAN, 14) !== 0) return;
    memoryAt(aligned, 1)[0] = 1;
    check('mprotect', syscall(SYS.mprotect, aligned, TABLE_SPAN, PROT_READ));
    const all = shown(getpid(), aligned, PAGES);
    const [frames] = copied(getpid(), [aligned]);
    expect(frames).toEqual(all);
  } finally {
    munmap(start, bytes);
  }
});

test('as many tables as there is room for, of another process', async () => {
  const child = Bun.spawn(['sleep', '60'], { stdout: 'ignore', stderr: 'ignore' });
  try {
    // Only then does it stand still.
    const asleep = `${SYS.clock_nanosleep} `;
    while (!(await Bun.file(`/proc/${child.pid}/syscall`).text()).startsWith(asleep)) await Bun.sleep(1);
    const maps = await Bun.file(`/proc/${child.pid}/maps`).text();
    const starts = maps
      .split('\n')
      .flatMap((line) => (line.includes(' r--p ') ? [Number(`0x${line.split('-')[0]}`)] : []));
    const places = [...new Set(starts.map((at) => Math.floor(at / TABLE_SPAN) * TABLE_SPAN))];
    const asked = Array.from({ length: TABLES_MAX }, (_, i) => places[i % places.length] ?? 0);
    const tables = copied(child.pid, asked);
    let seen = 0;
    tables.forEach((frames, i) => {
      const all = shown(child.pid, asked[i] ?? 0, PAGES);
      frames.forEach((frame, page) => {
        if (frame === 0n) return;
        seen++;
        expect(frame).toBe(all[page] ?? 0n);
      });
    });
    expect(seen).toBeGreaterThan(TABLES_MAX);
  } finally {
    child.kill();
    await child.exited;
  }
});
