/** UNIX sockets whose peer is outside of the tree: connected to again, or replaced by what the restore is given. */
import { expect } from 'bun:test';
import { closeSync, readdirSync, readlinkSync } from 'node:fs';
import { SOCK_STREAM } from '../../src/linux/abi/socket.ts';
import { unixSocketPair } from '../../src/linux/syscalls/messages.ts';
import {
  checkRound,
  dump,
  expectGone,
  expectSuccess,
  makeImagesDir,
  restore,
  type Specimen,
  startProgram,
  trackProcess,
} from '../harness/harness.ts';
import { liveCase, liveTest } from '../harness/live-test.ts';
import { readTree } from '../harness/processes.ts';

liveTest('datagram sockets are connected again to names outside of the tree with --ext-unix-sk', 'unix-outside', {
  args: ['named'],
  dumpArgs: ['--ext-unix-sk'],
  restoreArgs: ['-x'],
  // Inodes of sockets are new.
  ignore: [/\/fd\/\d+$/, /\/fdinfo\//],
});

liveCase('a datagram peer outside of the tree is refused, naming --ext-unix-sk, on dump and on restore', async () => {
  const specimen = await startProgram('unix-outside', { args: ['named'] });
  const refused = await dump(specimen, makeImagesDir(specimen, 'refused'));
  expect(refused.exitCode).toBe(1);
  expect(refused.log).toMatch(
    /its peer socket:\[\d+\] \(outside\.sock\) is outside the tree, fd \d+ of task \d+ 'unix-outside'; give --ext-unix-sk to connect/,
  );
  await checkRound(specimen, 1);
  const images = makeImagesDir(specimen, 'images');
  expectSuccess(await dump(specimen, images, ['-x']));
  await expectGone([specimen.pid], 'after the dump');
  const missing = await restore(specimen, images);
  expect(missing.exitCode).toBe(1);
  expect(missing.log).toMatch(/its peer \(outside\.sock\) is outside the tree; give --ext-unix-sk to connect to it/);
  expectSuccess(await restore(specimen, images, ['-x']));
  await checkRound(specimen, 2);
});

/** The one socket that the program has. */
function socketOf({ pid }: Specimen): number {
  const links = readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`));
  const [inode] = links.flatMap((link) => /^socket:\[(\d+)\]$/.exec(link)?.[1] ?? []);
  return Number(inode);
}

/** One end of a pair, whose other end has somebody who sends back what he gets. */
function answeredEnd(): number {
  const [end, other] = unixSocketPair(SOCK_STREAM);
  const cat = Bun.spawn(['cat'], { stdio: [other, other, 'ignore'] });
  trackProcess(cat.pid);
  closeSync(other);
  return end;
}

liveCase('a pair with one end outside is refused, and is another one with --external and --inherit-fd', async () => {
  const specimen = await startProgram('unix-outside', { args: ['pair'] });
  for (const round of [1, 2, 3]) {
    const inode = socketOf(specimen);
    const tree = readTree(specimen.pid);
    const refused = await dump(specimen, makeImagesDir(specimen, `refused-${round}`));
    expect(refused.exitCode).toBe(1);
    expect(refused.log).toContain(`--external unix[${inode}] here and --inherit-fd fd[N]:socket:[${inode}] at restore`);
    const images = makeImagesDir(specimen, `images-${round}`);
    expectSuccess(await dump(specimen, images, ['--external', `unix[${inode}]`]));
    await expectGone(tree, 'after the dump');
    const missing = await restore(specimen, images);
    expect(missing.exitCode).toBe(1);
    expect(missing.log).toMatch(
      new RegExp(`its peer socket:\\[\\d+\\] was outside the tree; give --inherit-fd fd\\[N\\]:socket:\\[${inode}\\]`),
    );
    const end = answeredEnd();
    expectSuccess(await restore(specimen, images, ['--inherit-fd', `fd[3]:socket:[${inode}]`], [end]));
    closeSync(end);
    await checkRound(specimen, round);
  }
});
