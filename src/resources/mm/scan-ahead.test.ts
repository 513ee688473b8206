import { expect, test } from 'bun:test';
import { MADV_NOHUGEPAGE, MAP_ANONYMOUS, MAP_PRIVATE, PROT_READ, PROT_WRITE } from '../../linux/abi/mman.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { memoryAt, syscall } from '../../linux/kernel.ts';
import { readFile } from '../../linux/syscalls/fs.ts';
import { mmap, munmap } from '../../linux/syscalls/mm.ts';
import { getpid } from '../../linux/syscalls/process.ts';
import { parseMaps } from '../../proc/maps.ts';
import { threadCount } from '../../tracee/parallel.ts';
import { type FoundRegions, groupMappings, type MappingGroup, scanPages } from './page-scan.ts';
import { ScansAhead } from './scan-ahead.ts';

const PAGE = 4096;
/** Every second one is touched: more regions than are found ahead. */
const PAGES = 40_000;

/** Calls `look` with memory of which every second page is there, and its mappings. */
function withMemory(look: (address: number, group: MappingGroup) => void): void {
  const address = mmap(0, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  syscall(SYS.madvise, address, PAGES * PAGE, MADV_NOHUGEPAGE);
  const memory = memoryAt(address, PAGES * PAGE);
  for (let page = 0; page < PAGES; page += 2) memory[page * PAGE] = 1;
  const isAround = ({ start, end }: { start: number; end: number }) =>
    start <= address && end >= address + PAGES * PAGE;
  // The process is not stopped, so its mappings may change meanwhile.
  const [group] = groupMappings(parseMaps(readFile('/proc/self/maps'))).filter(isAround);
  if (group === undefined) throw new Error('there is much memory');
  look(address, group);
  munmap(address, PAGES * PAGE);
}

/** What was found ahead is the begin of what is there. */
function expectBegin(address: number, group: MappingGroup, found: FoundRegions | undefined): void {
  const isOurs = ({ start, end }: { start: number; end: number }) => start >= address && end <= address + PAGES * PAGE;
  expect(found?.walkEnd).toBeLessThan(address + PAGES * PAGE);
  const one = { ...group, isShared: false, inode: group.hasFiles ? 1 : 0 };
  const { content } = scanPages(getpid(), [one], undefined, () => found);
  expect(content.filter(isOurs)).toEqual(scanPages(getpid(), [one]).content.filter(isOurs));
  expect(content.filter(isOurs).length).toBe(PAGES / 2);
}

test.skipIf(threadCount() < 2)('pages are found by another thread, and the rest afterwards', () => {
  withMemory((address, group) => {
    using ahead = new ScansAhead();
    ahead.tryStart(getpid());
    const found = ahead.of(getpid())?.(group);
    expect(found?.count).toBe(16_384);
    expectBegin(address, group, found);
  });
});

test.skipIf(threadCount() < 2)('pages of many tasks are found by one thread', () => {
  withMemory((address, group) => {
    using ahead = new ScansAhead();
    const task = { pid: getpid(), residentPages: PAGES, mappings: parseMaps(readFile('/proc/self/maps')) };
    ahead.tryStartMany([task, task, task]);
    expect(ahead.of(getpid())).toBeUndefined();
    ahead.tryStartMany(new Array<typeof task>(8).fill(task));
    const found = ahead.of(getpid())?.(group);
    expect(found?.count).toBe(256);
    expectBegin(address, group, found);
  });
});
