/** `criu check --tree`: it says what a dump would say, the tree goes on as before, and nothing is written anywhere. */
import { expect } from 'bun:test';
import { readdirSync } from 'node:fs';
import { criuBinary } from '../harness/criu-command.ts';
import { checkRound, expectSamePicture, type Specimen, startProgram } from '../harness/harness.ts';
import { liveCase } from '../harness/live-test.ts';
import { readProcSnapshot } from '../harness/proc-snapshot.ts';
import { readTree } from '../harness/processes.ts';

interface Answer {
  readonly exitCode: number | null;
  readonly output: string;
}

let rounds = 0;

/** Asks, and sees to it that nobody can tell. */
async function check(specimen: Specimen, ...options: string[]): Promise<Answer> {
  const tree = readTree(specimen.pid);
  const [before, files] = [readProcSnapshot(tree), readdirSync(specimen.dir)];
  const command = [criuBinary, 'check', '--tree', String(specimen.pid), ...options];
  const { exitCode, stdout, stderr } = Bun.spawnSync(command, { cwd: specimen.dir, stdin: 'ignore', timeout: 20_000 });
  expectSamePicture(before, readProcSnapshot(tree), []);
  expect(readdirSync(specimen.dir)).toEqual(files);
  await checkRound(specimen, ++rounds);
  return { exitCode, output: `${stdout}${stderr}` };
}

async function start(program: string): Promise<Specimen> {
  rounds = 0;
  return await startProgram(program);
}

liveCase('a tree that can be dumped', async () => {
  const specimen = await start('static-counter');
  const { exitCode, output } = await check(specimen);
  expect([exitCode, output]).toEqual([
    0,
    expect.stringMatching(/^task \d+ 'static-counter' can be dumped\. It stood still for \d+\.\d ms\.\n$/),
  ]);
});

liveCase('a tree of several tasks', async () => {
  const specimen = await start('tree');
  const { exitCode, output } = await check(specimen);
  expect([exitCode, output]).toEqual([
    0,
    expect.stringMatching(/^task \d+ 'tree' can be dumped with its \d+ descendants\. They /),
  ]);
});

liveCase('everything that speaks against a dump is said at once', async () => {
  const specimen = await start('unsupported');
  const { exitCode, output } = await check(specimen);
  expect(exitCode).toBe(1);
  expect(output).toMatch(/Error \(check\): fd 41 of task .*io_uring/);
  expect(output).toMatch(/Error \(check\): fd 42 of task .*userfaultfd/);
  expect(output).toMatch(/the process tree cannot be dumped\n$/);
});

liveCase('the options of a dump count', async () => {
  const specimen = await start('link-remap');
  const without = await check(specimen);
  expect([without.exitCode, without.output]).toEqual([1, expect.stringContaining('with --link-remap')]);
  expect((await check(specimen, '--link-remap')).exitCode).toBe(0);
});

liveCase('connections go on, and what is in terminals stays there', async () => {
  const connected = await start('inet-connected');
  expect((await check(connected)).output).toContain('--tcp-established');
  expect((await check(connected, '--tcp-established')).exitCode).toBe(0);
  expect((await check(await start('pty-queues'))).exitCode).toBe(0);
});

liveCase('nobody, and two questions at once', async () => {
  const ask = (...words: string[]) => {
    const { exitCode, stderr } = Bun.spawnSync([criuBinary, 'check', ...words], { stdin: 'ignore' });
    return [exitCode, stderr.toString()];
  };
  expect(ask('--tree', '4194303')).toEqual([1, expect.stringContaining('task 4194303: no such task')]);
  expect(ask('--tree', '1', '--extra')).toEqual([
    1,
    expect.stringContaining(
      '--tree asks about a tree, the other options of check about the kernel; ask one after the other',
    ),
  ]);
});
