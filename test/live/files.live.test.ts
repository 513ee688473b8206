/** Files, pipes and other descriptors: where they stand, what is in them, who shares them. */

import { expect } from 'bun:test';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { criuBinary, explain, isOriginal } from '../harness/criu-command.ts';
import { dump, makeImagesDir, startProgram } from '../harness/harness.ts';
import { liveCase, liveTest } from '../harness/live-test.ts';
import { isAlive, readTree } from '../harness/processes.ts';
import { dumpWithoutBpf } from '../harness/without-bpf.ts';

// A deleted file's name may get a new suffix in /proc, and O_TMPFILE can't be set again; the program compares what counts.
const deletedNames = [/\/fd\/\d+$/, /\/fdinfo\/7$/];
// The original opens directories without O_DIRECTORY.
liveTest('open files keep position, flags and number', 'files-regular', {
  ignore: isOriginal ? [/fdinfo\/1[01]$/] : [],
});
liveTest('shared descriptions and tables stay shared', 'files-shared');
// From 64 on, most descriptors are not looked up in fdinfo.
liveTest('hundreds of descriptors of all kinds keep position, flags, locks and FD_CLOEXEC', 'many-descriptors', {
  dumpArgs: ['--file-locks'],
  restoreArgs: ['--file-locks'],
  ignore: deletedNames,
});
// From 1,000 on, the kernel lists them.
liveTest(
  'thousands of descriptors of all kinds keep position, flags, locks, owners and FD_CLOEXEC',
  'many-descriptors',
  {
    args: ['1200'],
    dumpArgs: ['--file-locks'],
    restoreArgs: ['--file-locks'],
    ignore: deletedNames,
  },
);
liveTest('pipes keep their data, size and ends', 'pipes');
liveTest('a pipe in packet mode keeps its packets', 'pipes', { args: ['packets'] });
liveTest('a pipe end opened again for reading and writing survives', 'pipe-rdwr');
// The kernel went on calling it deleted; opened again it has its name back.
liveTest('a file whose name was deleted and linked again survives', 'relinked', { ignore: [/\/fd\/\d+$/] });
liveTest('deleted files keep content, mode and sharing', 'ghost', { ignore: deletedNames });
liveTest('deleted folders, moved folders, files with two names or none, devices', 'odd-files', {
  // A file that had no name at first and got one has it from there only.
  dumpArgs: ['--link-remap'],
  ignore: [/\/fd\/\d+$/, /\/fdinfo\//],
});
liveTest('a deleted file of 3 MiB needs and takes --ghost-limit', 'ghost', {
  args: ['3072'],
  dumpArgs: ['--ghost-limit', '8M'],
  ignore: deletedNames,
});
liveTest('a file with another hard link survives with --link-remap', 'link-remap', {
  dumpArgs: ['--link-remap'],
  ignore: deletedNames,
});
liveTest('eventfd, timerfd, signalfd, epoll and inotify survive', 'events', { ignore: [/\/fdinfo\//] });
liveTest('an eventfd stays a semaphore', 'events', { args: ['semaphore'], ignore: [/\/fdinfo\//] });
liveTest('epoll keeps files that are closed, elsewhere, or in flight, and sets in sets', 'epolls', {
  ignore: [/\/fd\/\d+$/, /\/fdinfo\//],
});
// The ghost gets a new inode number, and its name a new suffix.
liveTest('inotify and fanotify survive, and see nothing of a dump', 'watches', {
  ignore: [/\/fd\/\d+$/, /\/fdinfo\//],
});
// Numbers in pidfs are new; nobody asks a zombie for its signals.
liveTest('pidfds and descriptors of namespaces survive', 'pidfds', {
  ignore: [/\/fdinfo\//, /\/status\/Sig(Blk|Ign)$/],
});
liveTest('an AIO ring survives', 'aio');
// The ids of maps are new.
liveTest('BPF maps keep their content, and stay one map for all who have it', 'bpf-maps', { ignore: [/\/fdinfo\//] });
liveTest('file locks survive with --file-locks', 'file-locks', {
  dumpArgs: ['--file-locks'],
  restoreArgs: ['--file-locks'],
  // Of the two who have the lock, /proc names the one that took it last; restored, another one has taken it.
  ignore: [/\/fdinfo\/6$/],
});

liveCase('hundreds of descriptors are dumped by a criu that may have few', async () => {
  const specimen = await startProgram('many-descriptors');
  const imagesDir = makeImagesDir(specimen, 'images');
  const script = 'ulimit -n 40 && exec "$0" "$@"';
  const args = ['dump', '-t', `${specimen.pid}`, '-D', imagesDir, '--leave-running', '--file-locks'];
  const result = Bun.spawnSync(['sh', '-c', script, criuBinary, ...args], { stdout: 'pipe', stderr: 'pipe' });
  expect([result.exitCode, result.stderr.toString()]).toEqual([0, '']);
});

for (const [what, program, args] of [
  ['thousands of descriptors', 'many-descriptors', ['1200']],
  ['UNIX sockets', 'many-sockets', []],
] as const) {
  liveCase(`what the kernel lists of ${what} is what it says of each`, async () => {
    const specimen = await startProgram(program, { args });
    const [listed, asked] = [makeImagesDir(specimen, 'listed'), makeImagesDir(specimen, 'asked')];
    const options = ['--leave-running', '--file-locks'];
    const { exitCode } = await dump(specimen, listed, options);
    expect([exitCode, dumpWithoutBpf(specimen, asked, options).exitCode]).toEqual([0, 0]);
    for (const name of readdirSync(asked).filter((file) => /^(files|fdinfo-|pipes-data|fifo-data|sk-)/.test(file))) {
      expect([name, readFileSync(join(listed, name))]).toEqual([name, readFileSync(join(asked, name))]);
    }
  });
}

liveCase('a deleted file above the limit is refused, naming --ghost-limit', async () => {
  const specimen = await startProgram('ghost', { args: ['3072'] });
  const imagesDir = makeImagesDir(specimen, 'images');
  const result = await dump(specimen, imagesDir);
  expect(result.exitCode).not.toBe(0);
  expect(result.log).toContain('ghost-limit');
  expect(existsSync(join(imagesDir, 'inventory.img'))).toBe(false);
  for (const pid of readTree(specimen.pid)) if (!isAlive(pid)) throw new Error(`${pid} ended\n${explain(result)}`);
});

liveCase('a file with another hard link is refused without --link-remap, naming it', async () => {
  const specimen = await startProgram('link-remap');
  const result = await dump(specimen, makeImagesDir(specimen, 'images'));
  expect(result.exitCode).not.toBe(0);
  expect(result.log).toContain('link-remap');
  expect(isAlive(specimen.pid)).toBe(true);
});

liveCase('file locks are refused without --file-locks, naming it', async () => {
  const specimen = await startProgram('file-locks');
  const result = await dump(specimen, makeImagesDir(specimen, 'images'));
  expect(result.exitCode).not.toBe(0);
  expect(result.log).toContain('file-locks');
  expect(isAlive(specimen.pid)).toBe(true);
});
