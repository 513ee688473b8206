/**
 * Dumps with --leave-running that copy memory from a fork of the task: what is in the images is the state of the moment
 * at which the tree was frozen, and the program does not notice. The program writes to all of its memory all the time.
 */
import { expect } from 'bun:test';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { PLAIN_START } from '../../src/base/invocation.ts';
import { parseImage } from '../../src/image/image-file.ts';
import { PAGE_BYTES, PE_PRESENT, pagemapEntryFlags, pagemapEntryPages } from '../../src/image/pagemap.ts';
import { VMA_AREA_VDSO } from '../../src/image/vma-status.ts';
import { threadCount } from '../../src/tracee/parallel.ts';
import { CgroupFolder } from '../harness/cgroup-folder.ts';
import {
  checkRound,
  dump,
  expectGone,
  expectSuccess,
  makeImagesDir,
  restore,
  SkippedByProgram,
  type Specimen,
  startProgram,
} from '../harness/harness.ts';
import { liveCase } from '../harness/live-test.ts';
import { killAll, readTree } from '../harness/processes.ts';

const readLog = (imagesDir: string) => readFileSync(join(imagesDir, 'dump.log'), 'latin1');

/** Dumps it, and returns the images and the log. Afterwards there is nobody but the program. */
async function dumpRunning(specimen: Specimen, name: string, args: readonly string[] = []) {
  const imagesDir = makeImagesDir(specimen, name);
  expectSuccess(await dump(specimen, imagesDir, ['--leave-running', ...args]));
  expect(readTree(specimen.pid)).toEqual([specimen.pid]);
  return { imagesDir, log: readLog(imagesDir) };
}

async function restoreInstead(specimen: Specimen, imagesDir: string): Promise<void> {
  await killAll(readTree(specimen.pid));
  await expectGone([specimen.pid], 'after it was killed');
  expectSuccess(await restore(specimen, imagesDir));
}

for (const args of [[], ['seccomp'], ['forkable']]) {
  const name = ['a program that writes to all of its memory', ...args].join(', ');
  liveCase(`${name}: runs on, and the images have one moment of it`, async () => {
    const specimen = await startProgram('mem-busy', { args });
    const { imagesDir, log } = await dumpRunning(specimen, 'images-1');
    expect(log).toContain('1 task(s) have twins');
    expect(log.includes('1 task(s) have pages that are looked for when they run')).toBe(args.includes('forkable'));
    await checkRound(specimen, 1);
    await restoreInstead(specimen, imagesDir);
    await checkRound(specimen, 2);
    const second = await dumpRunning(specimen, 'images-2');
    await checkRound(specimen, 3);
    await restoreInstead(specimen, second.imagesDir);
    await checkRound(specimen, 4);
  });
}

/** The pages of the vdso in the images of a task. */
function readVdso(imagesDir: string, pid: number): Uint8Array {
  const [mm] = parseImage('mm', readFileSync(join(imagesDir, `mm-${pid}.img`)), 'mm');
  const vdso = mm?.vmas.find(({ status }) => (status & VMA_AREA_VDSO) !== 0);
  for (const folder of [imagesDir, join(imagesDir, 'base')]) {
    const read = (name: string) => readFileSync(join(folder, name));
    const { head, entries } = parseImage('pagemap', read(`pagemap-${pid}.img`), 'pagemap');
    let at = 0;
    for (const entry of entries) {
      if ((pagemapEntryFlags(entry) & PE_PRESENT) === 0) continue;
      const bytes = pagemapEntryPages(entry) * PAGE_BYTES;
      const from = at + (vdso?.start ?? 0) - entry.vaddr;
      if (from >= at && from < at + bytes) return read(`pages-${head.pages_id}.img`).subarray(from, at + bytes);
      at += bytes;
    }
  }
  throw new Error('the vdso is not in the images');
}

liveCase('memory of a big task that runs on is spread over two files', async () => {
  if (threadCount() < 2) throw new SkippedByProgram('there is one processor only');
  const specimen = await startProgram('mem-big');
  const { imagesDir, log } = await dumpRunning(specimen, 'images');
  expect(log).toContain('1 task(s) have pages that are looked for when they run');
  const [own = 0, inBase = 0] = ['pages-1.img', 'base/pages-1.img'].map((name) => statSync(join(imagesDir, name)).size);
  expect(Math.min(own, inBase)).toBeGreaterThan(32 << 20);
  // As CRIU counts: what is in a parent folder was not written here.
  const [stats] = parseImage('stats', readFileSync(join(imagesDir, 'stats-dump')), 'stats-dump');
  expect(stats?.dump?.pages_written).toBe(own / PAGE_BYTES);
  expect(Number(stats?.dump?.pages_skipped_parent)).toBe(inBase / PAGE_BYTES);
  await checkRound(specimen, 1);
  await restoreInstead(specimen, imagesDir);
  await checkRound(specimen, 2);
});

liveCase('nothing of the agent is in the memory that comes from a twin', async () => {
  const specimen = await startProgram('mem-busy', { args: ['forkable'] });
  const whole = await dumpRunning(specimen, 'whole', ['--no-cow-dump']);
  const twin = await dumpRunning(specimen, 'twin');
  expect(twin.log).toContain('1 task(s) have pages that are looked for when they run');
  const vdso = readVdso(twin.imagesDir, specimen.pid);
  expect(vdso.some((byte) => byte !== 0)).toBe(true);
  expect(Buffer.compare(vdso, readVdso(whole.imagesDir, specimen.pid))).toBe(0);
  await checkRound(specimen, 1);
});

liveCase('the part for which a program stands still is rehearsed before', async () => {
  const specimen = await startProgram('static-counter');
  // A start image has been rehearsed when it was made.
  process.env[PLAIN_START] = '1';
  const { imagesDir, log } = await dumpRunning(specimen, 'images-1').finally(() => delete process.env[PLAIN_START]);
  const [, rehearsedWith] = /dump: rehearsed with process (\d+)/.exec(log) ?? [];
  await expectGone([Number(rehearsedWith)], 'after the dump');
  expect(log.indexOf('rehearsed with')).toBeLessThan(log.indexOf('froze task'));
  // Only the program itself is mentioned by name.
  expect(log).not.toContain('criu-stub');
  await restoreInstead(specimen, imagesDir);
});

liveCase('--no-cow-dump and action scripts copy all memory while the program is frozen', async () => {
  const specimen = await startProgram('mem-busy');
  for (const option of ['--no-cow-dump', '--action-script=true']) {
    const { imagesDir, log } = await dumpRunning(specimen, option, [option]);
    expect(log).toContain('memory is copied');
    await restoreInstead(specimen, imagesDir);
  }
  await checkRound(specimen, 1);
});

/** Where the limit is: no room for a task more, or for the pages that a twin could cost. */
const limits = [
  {
    controller: 'pids',
    file: 'pids.max',
    value: (pids: number) => `${pids}`,
    says: /no copy-on-write twin \(clone3: EAGAIN\)/,
  },
  { controller: 'memory', file: 'memory.limit_in_bytes', value: () => '20M', says: /cgroup \S+ has room for/ },
] as const;

for (const { controller, file, value, says } of limits) {
  liveCase(`a program at its limit of ${controller} stays frozen longer instead`, async () => {
    const specimen = await startProgram('mem-busy');
    using cgroups = new CgroupFolder([controller]);
    cgroups.make('limited');
    cgroups.write('limited/cgroup.procs', `${specimen.pid}`);
    const threads = readdirSync(`/proc/${specimen.pid}/task`).length;
    cgroups.write(`limited/${file}`, value(threads));
    const { imagesDir, log } = await dumpRunning(specimen, 'images', ['--manage-cgroups=ignore']);
    expect(log).toMatch(says);
    expect(log).toContain('memory is copied');
    await checkRound(specimen, 1);
    await killAll([specimen.pid]);
    await expectGone([specimen.pid], 'after it was killed');
    expectSuccess(await restore(specimen, imagesDir, ['--manage-cgroups=ignore']));
    await checkRound(specimen, 2);
  });
}
