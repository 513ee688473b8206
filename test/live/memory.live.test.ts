/**
 * Memory: every kind of mapping with its content, its holes, its flags and who shares it.
 * The programs check content; the harness compares maps and VmFlags.
 */

import { expect } from 'bun:test';
import { readdirSync, readFileSync, readlinkSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { threadCount } from '../../src/tracee/parallel.ts';
import {
  checkRound,
  dump,
  expectSuccess,
  makeImagesDir,
  restore,
  roundTrip,
  SkippedByProgram,
  startProgram,
} from '../harness/harness.ts';
import { liveCase, liveTest } from '../harness/live-test.ts';
import { dumpWithoutBpf } from '../harness/without-bpf.ts';

liveTest('private anonymous memory, heap, data, bss and stack keep their content', 'mem-private');
liveTest('private and shared maps of files keep their content', 'mem-file');
liveTest('maps of deleted files keep their content and stay shared', 'mem-deleted-file');
liveTest('memory of 64 MiB and a sparse GiB keep their content', 'mem-big');
liveCase('memory of a big task is spread over two files', async () => {
  if (threadCount() < 2) throw new SkippedByProgram('there is one processor only');
  const specimen = await startProgram('mem-big');
  const imagesDir = makeImagesDir(specimen, 'images');
  expectSuccess(await dump(specimen, imagesDir));
  const files = ['pages-1.img', 'base/pages-1.img'].map((name) => statSync(join(imagesDir, name)));
  for (const { size, mode } of files) {
    expect(size).toBeGreaterThan(32 << 20);
    expect(mode & 0o777).toBe(0o600);
  }
  expect(readlinkSync(join(imagesDir, 'parent'))).toBe('base');
});
liveTest('two thousand mappings come back', 'mem-many-vmas');
liveTest('mappings keep their madvise flags, locks and names', 'mem-flags');
liveTest('workers with the same mappings keep flags of their own', 'mem-alike');
liveTest('mlockall holds for later mappings', 'mem-lockall');
liveTest('sealed mappings stay sealed', 'mem-sealed');
liveTest('guard pages stay guarded', 'mem-guard');
liveTest('transparent huge pages keep their content', 'mem-thp');
liveTest('stacks that grow down still grow', 'mem-growsdown');
liveTest('copy-on-write pages stay shared by parent and children', 'mem-cow');
liveTest('many copy-on-write pages stay shared by parent and children', 'mem-cow', { args: ['64'] });
liveTest('huge copy-on-write pages stay shared by parent and children', 'mem-cow', { args: ['64', 'huge'] });
for (const args of [['64'], ['64', 'huge']]) {
  liveCase(`many ${args.length > 1 ? 'huge ' : ''}copy-on-write pages are spread over two files`, async () => {
    if (threadCount() < 2) throw new SkippedByProgram('there is one processor only');
    const specimen = await startProgram('mem-cow', { args });
    const imagesDir = makeImagesDir(specimen, 'images');
    expectSuccess(await dump(specimen, imagesDir));
    for (const name of ['base', 'base/base']) {
      const { size } = statSync(join(imagesDir, name, 'pages-1.img'));
      expect(size).toBeGreaterThan(31 << 20);
      expect(size).toBeLessThan(33 << 20);
    }
  });
}
liveCase('copy-on-write pages are written once', async () => {
  const specimen = await startProgram('mem-cow');
  const imagesDir = makeImagesDir(specimen, 'images');
  expectSuccess(await dump(specimen, imagesDir));
  const bytes = readdirSync(imagesDir, { recursive: true, encoding: 'utf8' })
    .filter((name) => /^(base\/)?pages-\d+\.img$/.test(name))
    .reduce((sum, name) => sum + statSync(join(imagesDir, name)).size, 0);
  // The program has 8 MiB, and three children with the same pages.
  expect(bytes).toBeGreaterThan(8 << 20);
  expect(bytes).toBeLessThan(10 << 20);
  const [pagemap] = readdirSync(join(imagesDir, 'base')).filter((name) => name.startsWith('pagemap-'));
  rmSync(join(imagesDir, 'base', `${pagemap}`));
  const result = await restore(specimen, imagesDir);
  expect(result.exitCode).not.toBe(0);
  expect(result.output).toContain('of the parent image folder, but they are not there');
});
liveTest('SysV shared memory in an IPC namespace stays shared', 'mem-shared', {
  args: ['sysv'],
  ignore: [/\/ns\/ipc$/],
});
for (const kind of ['anon', 'dev-zero', 'posix', 'memfd']) {
  liveTest(`shared memory (${kind}) stays shared by parent and child`, 'mem-shared', { args: [kind] });
}
liveTest('huge pages of the hugetlb pool keep their content', 'mem-hugetlb');

liveTest('SysV shared memory of the host that is marked for removal is made again', 'mem-sysv', { args: ['removed'] });
liveTest('SysV shared memory of huge pages is made again', 'mem-sysv', { args: ['huge'] });
liveCase(
  'SysV shared memory of the host that is still there is attached again, or made again with its id',
  async () => {
    const segments = new Set<string>();
    try {
      await roundTrip('mem-sysv', {
        args: ['kept'],
        rounds: 4,
        beforeRestore: ({ dir }) => {
          const id = readFileSync(join(dir, 'segment'), 'utf8');
          const isSecond = segments.has(id);
          segments.add(id);
          if (isSecond) expect(Bun.spawnSync(['ipcrm', '--shmem-id', id]).exitCode).toBe(0);
        },
      });
    } finally {
      for (const id of segments) Bun.spawnSync(['ipcrm', '--shmem-id', id]);
    }
  },
);

liveTest('memfds keep content, flags, seals, owner and mode, and a program that runs from one goes on', 'memfds');
liveTest('an AIO ring with events in it goes on where it was', 'aio-ring');
liveTest('poll requests of asynchronous I/O wait on', 'aio-polls');

liveCase('a poll request that has changed since it was submitted is refused, and the program runs on', async () => {
  const specimen = await startProgram('aio-polls', { args: ['stale'] });
  const result = await dump(specimen, makeImagesDir(specimen, 'images'));
  expect(result.exitCode).not.toBe(0);
  expect(result.log).toMatch(
    /ring of asynchronous I\/O at [0-9a-f]+: cannot be dumped: it waits for a poll request \(IOCB_CMD_POLL\), and what is at [0-9a-f]+, from where it was submitted, has changed; dump when it is complete/,
  );
  await checkRound(specimen, 1);
});

liveCase('a dump that may not look for poll requests says so', async () => {
  const specimen = await startProgram('aio-ring');
  const { exitCode, log } = dumpWithoutBpf(specimen, makeImagesDir(specimen, 'images'), ['-R']);
  expect(log).toContain(
    'poll requests of asynchronous I/O (IOCB_CMD_POLL) would be lost, and criu may not see whether',
  );
  expect(exitCode).toBe(0);
});

liveCase('thousands of mappings are the same without BPF, read by smaps', async () => {
  const specimen = await startProgram('mem-many-vmas');
  const [listed, asked] = [makeImagesDir(specimen, 'listed'), makeImagesDir(specimen, 'asked')];
  const { exitCode } = await dump(specimen, listed, ['--leave-running']);
  expect([exitCode, dumpWithoutBpf(specimen, asked, ['--leave-running']).exitCode]).toEqual([0, 0]);
  for (const kind of ['mm', 'pagemap']) {
    const name = `${kind}-${specimen.pid}.img`;
    expect([name, readFileSync(join(listed, name))]).toEqual([name, readFileSync(join(asked, name))]);
  }
  await checkRound(specimen, 1);
});
