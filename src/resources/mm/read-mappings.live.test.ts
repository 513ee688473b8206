/**
 * Goal: mappings that are read by records and questions are the same as those that smaps shows.
 * Method: a stub makes mappings of many kinds, and both ways are compared; and those of all tasks that stand still here.
 */
import { afterEach, test as anyTest, expect } from 'bun:test';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Program } from '../../agent/program.ts';
import { AT_FDCWD, O_RDWR } from '../../linux/abi/fcntl.ts';
import {
  MADV_DONTDUMP,
  MADV_DONTFORK,
  MADV_HUGEPAGE,
  MADV_MERGEABLE,
  MADV_NOHUGEPAGE,
  MADV_RANDOM,
  MADV_SEQUENTIAL,
  MADV_WIPEONFORK,
  MAP_ANONYMOUS,
  MAP_DROPPABLE,
  MAP_FIXED_NOREPLACE,
  MAP_GROWSDOWN,
  MAP_NORESERVE,
  MAP_PRIVATE,
  MAP_SHARED,
  MLOCK_ONFAULT,
  PROT_EXEC,
  PROT_READ,
  PROT_WRITE,
} from '../../linux/abi/mman.ts';
import { PR_SET_VMA, PR_SET_VMA_ANON_NAME } from '../../linux/abi/prctl.ts';
import { SIGKILL } from '../../linux/abi/signal.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { readFile } from '../../linux/syscalls/fs.ts';
import { kill } from '../../linux/syscalls/process.ts';
import { tryReadTaskMappings } from '../../linux/task-mappings.ts';
import { parseSmaps, type SmapsEntry } from '../../proc/smaps.ts';
import { parseStat } from '../../proc/stat.ts';
import type { HostTask } from '../../tracee/host.ts';
import { endStubs, newStub } from '../../tracee/stub.test-support.ts';
import { isSameRaw, tryParseRaw, tryReadRaw } from './raw-mappings.ts';
import { readMappings } from './read-mappings.ts';
import { areBitsKnown } from './vm-flags.ts';

// The kernel lets root look at flags of mappings, unless BPF is locked down.
const test = anyTest.skipIf(tryReadTaskMappings(process.pid) === undefined);

const PLACE = 0x5000_0000;
const PAGE = 4096;
const RW = PROT_READ | PROT_WRITE;

afterEach(endStubs);

function run(host: HostTask, plan: (program: Program) => void): void {
  const program = new Program();
  plan(program);
  program.stop();
  host.run(program);
}

/** Every second page a mapping, so that none become one. */
function map(program: Program, index: number, prot: number, flags: number): number {
  const address = PLACE + index * 2 * PAGE;
  program.call(SYS.mmap, address, PAGE, prot, flags | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  return address;
}

function mapFile(program: Program, index: number, path: string, flags: number): void {
  const fd = program.must('open a file', SYS.openat, AT_FDCWD, program.string(path), O_RDWR, 0);
  program.must('map a file', SYS.mmap, PLACE + index * 2 * PAGE, PAGE, PROT_READ, flags | MAP_FIXED_NOREPLACE, fd, 0);
}

const bySmaps = (pid: number) => parseSmaps(readFile(`/proc/${pid}/smaps`));
const comparable = (entries: readonly SmapsEntry[]) =>
  entries.map(({ kind: _, ...entry }) => ({ ...entry, vmFlags: [...entry.vmFlags].sort().join(' ') }));

function quickly(pid: number): SmapsEntry[] | undefined {
  const raw = tryReadRaw(pid);
  return raw && tryParseRaw(raw);
}

test('the bits are where they should be', () => {
  expect(areBitsKnown()).toBe(true);
});

test('kinds of mappings and advice', () => {
  const host = newStub();
  const advice = [
    MADV_RANDOM,
    MADV_SEQUENTIAL,
    MADV_DONTFORK,
    MADV_MERGEABLE,
    MADV_HUGEPAGE,
    MADV_NOHUGEPAGE,
    MADV_DONTDUMP,
    MADV_WIPEONFORK,
  ];
  const kinds: readonly [prot: number, flags: number][] = [
    [0, MAP_PRIVATE],
    [PROT_READ, MAP_PRIVATE],
    [PROT_READ | PROT_EXEC, MAP_PRIVATE],
    [RW, MAP_PRIVATE | MAP_GROWSDOWN],
    [RW, MAP_PRIVATE | MAP_NORESERVE],
    [RW, MAP_SHARED],
    [RW, MAP_DROPPABLE],
  ];
  run(host, (program) => {
    for (const [i, [prot, flags]] of kinds.entries()) map(program, i, prot, flags);
    for (const [i, one] of advice.entries())
      program.call(SYS.madvise, map(program, 100 + i, RW, MAP_PRIVATE), PAGE, one);
    program.call(SYS.mlock2, map(program, 200, RW, MAP_PRIVATE), PAGE, 0);
    program.call(SYS.mlock2, map(program, 201, RW, MAP_PRIVATE), PAGE, MLOCK_ONFAULT);
  });
  const seen = quickly(host.pid) ?? [];
  expect(seen.filter(({ start }) => start >= PLACE && start < PLACE + 402 * PAGE).length).toBeGreaterThan(14);
  expect(comparable(seen)).toEqual(comparable(bySmaps(host.pid)));
});

test('thousands of them', () => {
  const host = newStub();
  run(host, (program) => {
    for (let i = 0; i < 3000; i++) map(program, i, i % 3 === 0 ? PROT_READ : RW, MAP_PRIVATE);
  });
  expect(comparable(readMappings(host.pid))).toEqual(comparable(bySmaps(host.pid)));
  expect(quickly(host.pid)?.length).toBeGreaterThan(3000);
});

test('what only smaps tells is left to it', () => {
  const host = newStub();
  run(host, (program) => program.must('seal', SYS.mseal, map(program, 0, RW, MAP_PRIVATE), PAGE, 0));
  expect(quickly(host.pid)).toBeUndefined();
  const sealed = readMappings(host.pid).find(({ start }) => start === PLACE);
  expect([...(sealed?.vmFlags ?? [])]).toContain('sl');
});

test('heap, stack, files and names', () => {
  const host = newStub();
  const { startBrk } = parseStat(readFile(`/proc/${host.pid}/stat`));
  const folder = mkdtempSync(join(tmpdir(), 'criu-mappings-'));
  const path = join(folder, 'a (deleted) file');
  writeFileSync(path, 'x');
  run(host, (program) => {
    program.must('grow the heap', SYS.brk, startBrk + 5 * PAGE);
    program.must('divide the heap', SYS.mprotect, startBrk + 2 * PAGE, PAGE, PROT_READ);
    const [named, shared] = [map(program, 0, RW, MAP_PRIVATE), map(program, 1, RW, MAP_SHARED)];
    for (const start of [named, shared])
      program.call(SYS.prctl, PR_SET_VMA, PR_SET_VMA_ANON_NAME, start, PAGE, program.string('a name'));
    for (const [i, flags] of [MAP_PRIVATE, MAP_SHARED].entries()) mapFile(program, 10 + i, path, flags);
  });
  const { pid } = Bun.spawn(['sleep', '100'], { onExit: () => {} });
  try {
    // Before it sleeps it maps files of the locale.
    while (!readFile(`/proc/${pid}/syscall`).startsWith(`${SYS.clock_nanosleep} `)) Bun.sleepSync(1);
    for (const one of [host.pid, pid]) {
      expect(quickly(one)).toBeDefined();
      expect(comparable(quickly(one) ?? [])).toEqual(comparable(bySmaps(one)));
    }
    expect(quickly(host.pid)?.filter((entry) => entry.path === '[heap]').length).toBe(3);
    const before = tryReadRaw(host.pid);
    renameSync(path, `${path} as well`);
    const renamed = tryReadRaw(host.pid);
    if (before === undefined || renamed === undefined) throw new Error('mappings can be read');
    expect(isSameRaw(before, renamed)).toBe(false);
    rmSync(folder, { recursive: true });
    expect(
      quickly(host.pid)
        ?.filter((entry) => entry.isDeleted && entry.path.startsWith(folder))
        .map((entry) => entry.path),
    ).toEqual(new Array(2).fill(`${path} as well`));
  } finally {
    kill(pid, SIGKILL);
  }
});

test('what has changed is not the same', () => {
  const host = newStub();
  run(host, (program) => map(program, 0, RW, MAP_PRIVATE));
  const before = tryReadRaw(host.pid);
  const again = tryReadRaw(host.pid);
  run(host, (program) => program.must('protect', SYS.mprotect, PLACE, PAGE, PROT_READ));
  const after = tryReadRaw(host.pid);
  if (before === undefined || again === undefined || after === undefined) throw new Error('mappings can be read');
  expect(isSameRaw(before, again)).toBe(true);
  expect(isSameRaw(before, after)).toBe(false);
});

test('a task with the same mappings is not asked again', () => {
  const host = newStub();
  const raw = tryReadRaw(host.pid);
  expect(raw).toBeDefined();
  expect(tryReadRaw(host.pid, raw)?.asked).toBe(raw?.asked);
  run(host, (program) => map(program, 0, RW, MAP_PRIVATE));
  const other = tryReadRaw(host.pid, raw);
  expect(other?.asked).not.toBe(raw?.asked);
  expect(other).toEqual(tryReadRaw(host.pid));
});
