/** Pseudo terminals inside the tree, and shell jobs whose terminal and session are outside of it. */
import { expect } from 'bun:test';
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildProgram } from '../harness/build-program.ts';
import { criuBinary } from '../harness/criu-command.ts';
import {
  checkRound,
  dump,
  expectGone,
  expectSuccess,
  makeImagesDir,
  type Specimen,
  startProgram,
} from '../harness/harness.ts';
import { liveCase, liveTest } from '../harness/live-test.ts';
import { isAlive, readTree } from '../harness/processes.ts';

liveTest('a pseudo terminal inside the tree survives', 'pty-pair');

liveTest('what is on the way through pseudo terminals survives', 'pty-queues');

liveCase('what is on the way through pseudo terminals stays there when the tree goes on', async () => {
  const specimen = await startProgram('pty-queues');
  expectSuccess(await dump(specimen, makeImagesDir(specimen, 'images'), ['--leave-running']));
  await checkRound(specimen, 1);
});

/** Gives the shell its command number N; returns its exit status and pid. */
async function runInShell(shell: Specimen, number: number, command: string): Promise<{ status: number; pid: number }> {
  const path = `${shell.status}.cmd${number}`;
  writeFileSync(`${path}.part`, command);
  renameSync(`${path}.part`, path);
  const answer = `${shell.status}.rc${number}`;
  for (let waitedMs = 0; waitedMs < 20_000 && !existsSync(answer); waitedMs += 5) await Bun.sleep(5);
  const [status = Number.NaN, pid = Number.NaN] = readFileSync(answer, 'utf8').trim().split(' ').map(Number);
  return { status, pid };
}

async function startJob(): Promise<{ shell: Specimen; job: Specimen }> {
  const shell = await startProgram('pty-shell');
  const status = join(shell.dir, 'job');
  const { pid } = await runInShell(shell, 1, `${buildProgram('pty-job')} ${status}&`);
  for (let waitedMs = 0; waitedMs < 10_000 && !existsSync(status); waitedMs += 5) await Bun.sleep(5);
  return { shell, job: { dir: shell.dir, pid, status, reporters: ['job'] } };
}

liveCase('a shell job survives three rounds with --shell-job', async () => {
  const { shell, job } = await startJob();
  for (let round = 1; round <= 3; round++) {
    const imagesDir = makeImagesDir(job, `images-${round}`);
    const tree = readTree(job.pid);
    expectSuccess(await dump(job, imagesDir, ['--shell-job']));
    await expectGone(tree, 'after the dump');
    const restore = `${criuBinary} restore -d --shell-job -D ${imagesDir} -v4 -o restore.log`;
    const { status } = await runInShell(shell, round + 1, restore);
    if (status !== 0) throw new Error(readFileSync(join(imagesDir, 'restore.log'), 'utf8').slice(-3000));
    await checkRound(job, round);
  }
  const wanted = 'hello from round 1\r\nhello from round 2\r\nhello from round 3\r\n';
  const screen = (): string => readFileSync(join(shell.dir, 'screen'), 'utf8');
  for (let waitedMs = 0; waitedMs < 2000 && !screen().includes(wanted); waitedMs += 10) await Bun.sleep(10);
  expect(screen()).toContain(wanted);
});

liveCase('a shell job is refused without --shell-job, naming it, and runs on', async () => {
  const { job } = await startJob();
  const result = await dump(job, makeImagesDir(job, 'images'));
  expect(result.exitCode).not.toBe(0);
  expect(result.log).toContain('--shell-job');
  expect(isAlive(job.pid)).toBe(true);
  await checkRound(job, 1);
});
