/**
 * Goal: anonymous mappings come out as the images say, though neighbours are made together.
 * Method: a stub makes mappings of many kinds, side by side, in any order; smaps shows what they are.
 */
import { afterEach, test as anyTest, expect } from 'bun:test';
import fc from 'fast-check';
import { Program } from '../../agent/program.ts';
import type { VmaEntry } from '../../image/gen/vma.ts';
import { VMA_ANON_PRIVATE, VMA_AREA_REGULAR } from '../../image/vma-status.ts';
import {
  MAP_ANONYMOUS,
  MAP_GROWSDOWN,
  MAP_NORESERVE,
  MAP_PRIVATE,
  PROT_EXEC,
  PROT_READ,
  PROT_WRITE,
} from '../../linux/abi/mman.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { endStubs, newStub } from '../../tracee/stub.test-support.ts';
import { readMappings } from './read-mappings.ts';
import { planFinishMappings, planMappings } from './restore-vmas.ts';

const test = anyTest.skipIf(process.getuid?.() !== 0);

const PLACE = 0x5000_0000;
const PAGE = 4096;
const PAGES_MAX = 64;
const PRIVATE = MAP_PRIVATE | MAP_ANONYMOUS;

afterEach(endStubs);

interface Wanted {
  /** Pages between it and the one before. */
  readonly gap: number;
  readonly pages: number;
  readonly prot: number;
  readonly flags: number;
  /** It gets content. */
  readonly isWritten: boolean;
}

const anyMapping: fc.Arbitrary<Wanted> = fc.record({
  gap: fc.constantFrom(0, 0, 0, 1),
  pages: fc.constantFrom(1, 1, 2, 5),
  prot: fc.constantFrom(0, PROT_READ, PROT_WRITE, PROT_READ | PROT_WRITE, PROT_READ | PROT_EXEC),
  flags: fc.constantFrom(PRIVATE, PRIVATE, PRIVATE, PRIVATE | MAP_NORESERVE, PRIVATE | MAP_GROWSDOWN),
  isWritten: fc.boolean(),
});

function vmasOf(wanted: readonly Wanted[]): VmaEntry[] {
  let end = PLACE;
  return wanted.map(({ gap, pages, prot, flags }) => {
    const start = end + gap * PAGE;
    end = start + pages * PAGE;
    return { start, end, pgoff: 0, shmid: 0, prot, flags, status: VMA_AREA_REGULAR | VMA_ANON_PRIVATE, fd: -1 };
  });
}

/** Access and flags of each page, which do not depend on which mappings the kernel has made one. */
function seenPages(pid: number): Map<number, string> {
  const pages = new Map<number, string>();
  for (const { start, end, prot, vmFlags } of readMappings(pid)) {
    const text = `${prot}${vmFlags.has('nr') ? ' nr' : ''}${vmFlags.has('gd') ? ' gd' : ''}${vmFlags.has('ac') ? ' ac' : ''}`;
    const last = Math.min(end, PLACE + 8 * PAGES_MAX * PAGE);
    for (let page = Math.max(start, PLACE); page < last; page += PAGE) pages.set(page, text);
  }
  return pages;
}

const noFiles = () => {
  throw new Error('there are no files');
};

test('neighbours of all kinds', () => {
  const host = newStub();
  const run = (plan: (program: Program) => void) => {
    const program = new Program();
    plan(program);
    program.stop();
    host.run(program);
  };
  const make = (vmas: readonly VmaEntry[], writable: ReadonlySet<VmaEntry>, isOneByOne: boolean) => {
    run((program) => {
      program.must('unmap', SYS.munmap, PLACE, 8 * PAGES_MAX * PAGE);
      const groups = isOneByOne ? vmas.map((vma) => [vma]) : [vmas];
      for (const group of groups) planMappings(program, group, writable, noFiles, noFiles);
    });
    const before = seenPages(host.pid);
    run((program) => planFinishMappings(program, vmas, writable));
    return [before, seenPages(host.pid)];
  };
  fc.assert(
    fc.property(fc.array(anyMapping, { minLength: 1, maxLength: PAGES_MAX }), (wanted) => {
      const vmas = vmasOf(wanted);
      const writable = new Set(vmas.filter((_, i) => wanted[i]?.isWritten === true));
      const [before, after] = make(vmas, writable, false);
      expect([before, after]).toEqual(make(vmas, writable, true));
      for (const { start, prot } of vmas) expect(after?.get(start)?.split(' ')[0]).toBe(`${prot}`);
    }),
    { numRuns: 60 },
  );
});
