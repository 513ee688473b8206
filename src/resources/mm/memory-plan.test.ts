import { describe, expect, test } from 'bun:test';
import type { VmaEntry } from '../../image/gen/vma.ts';
import { PAGE_BYTES as PAGE } from '../../image/pagemap.ts';
import { VMA_ANON_PRIVATE, VMA_AREA_REGULAR } from '../../image/vma-status.ts';
import { planMemory } from './memory-plan.ts';

const RW = 3;
const READ = 1;
const PRIVATE_ANONYMOUS = 0x22;

function vma(start: number, pages: number, prot = RW): VmaEntry {
  const status = VMA_AREA_REGULAR | VMA_ANON_PRIVATE;
  const end = start + pages * PAGE;
  return { start, end, pgoff: 0, shmid: 0, prot, flags: PRIVATE_ANONYMOUS, status, fd: -1 };
}

const run = (address: number, pages: number, offset: number, file = 'a') => ({
  address,
  bytes: pages * PAGE,
  file,
  offset,
});
const never = () => false;

/** Memory of a parent, as a child sees it. */
const parentOf = (vmas: VmaEntry[], runs: ReturnType<typeof run>[]) => ({ vmas, runs, writable: new Set<VmaEntry>() });

describe('the memory of a task', () => {
  test('without a parent is all new; a mapping that may not be written gets that right for its content', () => {
    const vmas = [vma(0x10000, 2), vma(0x20000, 2, READ)];
    const plan = planMemory({ vmas, runs: [run(0x10000, 1, 0), run(0x21000, 1, PAGE)] }, undefined, never);
    expect(plan.fresh).toEqual(vmas);
    expect(plan.write).toEqual([run(0x10000, 1, 0), run(0x21000, 1, PAGE)]);
    expect([...plan.writable]).toEqual(vmas.slice(1));
  });

  test('a run that lies over two mappings is cut in two', () => {
    const vmas = [vma(0x10000, 1), vma(0x11000, 1)];
    const plan = planMemory({ vmas, runs: [run(0x10000, 2, 0)] }, undefined, never);
    expect(plan.write).toEqual([run(0x10000, 1, 0), run(0x11000, 1, PAGE)]);
  });

  test('equal mappings are inherited: equal pages stay, others are overwritten, missing ones are dropped', () => {
    const vmas = [vma(0x10000, 4)];
    const parent = parentOf([vma(0x10000, 4)], [run(0x10000, 3, 0, 'b')]);
    const child = { vmas, runs: [run(0x10000, 2, 0x5000), run(0x13000, 1, 0x7000)] };
    const plan = planMemory(child, parent, (own) => own.offset === 0x5000);
    expect([...plan.inherited]).toEqual(vmas);
    expect(plan.overwrite).toEqual([run(0x11000, 1, 0x6000), run(0x13000, 1, 0x7000)]);
    expect(plan.drop).toEqual([{ start: 0x12000, end: 0x13000 }]);
    expect(plan.fresh).toEqual([]);
  });

  test('pages from the same place of an image stay shared without a look at them', () => {
    const vmas = [vma(0x10000, 8)];
    const parent = parentOf([vma(0x10000, 8)], [run(0x10000, 4, 0, 'base'), run(0x14000, 2, 0, 'b')]);
    const runs = [run(0x10000, 1, 0x9000), run(0x11000, 3, 0x1000, 'base'), run(0x15000, 2, 0xa000)];
    const plan = planMemory({ vmas, runs }, parent, never);
    expect(plan.sharedPages).toBe(3);
    expect(plan.overwrite).toEqual([run(0x10000, 1, 0x9000), run(0x15000, 2, 0xa000)]);
    expect(plan.drop).toEqual([{ start: 0x14000, end: 0x15000 }]);
  });

  test('mappings with other bounds or rights are made anew', () => {
    const vmas = [vma(0x10000, 2), vma(0x20000, 1, READ)];
    const parent = parentOf([vma(0x10000, 3), vma(0x20000, 1)], []);
    expect(planMemory({ vmas, runs: [] }, parent, never).fresh).toEqual(vmas);
  });
});
