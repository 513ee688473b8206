/** The library: its examples as they stand, on Node.js and Bun, and the functions that work inside of this process. */
import { expect } from 'bun:test';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { CriuClient, CriuError, CriuRequestError, check, checkpoint, openImages, restore } from '../../src/index.ts';
import { criuBinary } from '../harness/criu-command.ts';
import { checkRound, expectGone, makeImagesDir, SkippedByProgram, startProgram } from '../harness/harness.ts';
import { liveCase } from '../harness/live-test.ts';
import { readTree } from '../harness/processes.ts';

const repository = resolve(import.meta.dir, '..', '..');
const node = Bun.which('node');

const nodeMajor = () => Number(/^v(\d+)/.exec(Bun.spawnSync(['node', '--version']).stdout.toString())?.[1]);

/** Runs an example; its output, or what it said on stderr when it failed. */
async function runExample(command: readonly string[], args: readonly string[]): Promise<string> {
  const child = Bun.spawn([...command, ...args], {
    cwd: repository,
    env: { ...process.env, CRIU: criuBinary },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const [out, errors] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return out + errors;
}

for (const [runtime, command] of [
  ['Node.js', node],
  ['Bun', process.execPath],
] as const) {
  liveCase(`the example of the client works on ${runtime}`, async () => {
    if (command === null) throw new SkippedByProgram('there is no Node.js on this machine');
    if (command === node && nodeMajor() < 20) throw new SkippedByProgram('Node.js is older than 20');
    const specimen = await startProgram('threads');
    const folder = makeImagesDir(specimen, 'images');
    const example = (...args: string[]) => runExample([command, 'examples/client.mjs'], args);
    expect(await example('checkpoint', folder, String(specimen.pid))).toBe(
      `hook pre-dump\nhook query-ext-files\nhook post-dump\nprocess ${specimen.pid} is in ${folder}\n`,
    );
    await expectGone([specimen.pid], 'after the checkpoint');
    expect(await example('restore', folder)).toBe(`process ${specimen.pid} runs again\n`);
    await checkRound(specimen, 1);
  });
}

liveCase('the example that works inside of its process does', async () => {
  const specimen = await startProgram('tree');
  const folder = makeImagesDir(specimen, 'images');
  const said = await runExample([process.execPath, 'examples/in-process.ts'], [String(specimen.pid), folder]);
  const lines = said.trimEnd().split('\n');
  expect(lines[0]).toMatch(new RegExp(`^${specimen.pid} tree: \\d+ threads, \\d+ mappings$`));
  expect(lines.length).toBeGreaterThan(2);
  await checkRound(specimen, 1);
});

liveCase('checkpoint and restore inside of this process, three times', async () => {
  const specimen = await startProgram('threads');
  const other = Bun.spawn(['sleep', '1000'], { stdio: ['ignore', 'ignore', 'ignore'] });
  const startDir = process.cwd();
  for (const round of [1, 2, 3]) {
    const images_dir = makeImagesDir(specimen, `images-${round}`);
    const tree = readTree(specimen.pid);
    await checkpoint({ pid: specimen.pid, images_dir, log_level: 4 });
    await expectGone(tree, 'after the checkpoint');
    expect((await openImages(images_dir)).tree()).toMatchObject({ pid: specimen.pid, name: 'threads' });
    expect(await restore({ images_dir })).toEqual({ pid: specimen.pid });
    await checkRound(specimen, round);
  }
  expect(process.cwd()).toBe(startDir);
  expect(other.exitCode).toBeNull();
  other.kill();
});

liveCase('what fails inside of this process leaves it as it was', async () => {
  const specimen = await startProgram('static-counter');
  const images_dir = makeImagesDir(specimen, 'images');
  const other = Bun.spawn(['sleep', '1000'], { stdio: ['ignore', 'ignore', 'ignore'] });
  const startDir = process.cwd();
  const heard: string[] = [];
  const onSignal = () => heard.push('SIGHUP');
  process.on('SIGHUP', onSignal);
  const failure = (work: Promise<unknown>) =>
    work.then(
      () => undefined,
      (error: unknown) => error,
    );
  expect(await failure(checkpoint({ pid: 4_194_304, images_dir }))).toBeInstanceOf(CriuError);
  await checkpoint({ pid: specimen.pid, images_dir, leave_running: true });
  const taken = (await failure(restore({ images_dir }))) as CriuError;
  expect(taken.crErrno).toBe(17);
  const text = readFileSync(join(images_dir, 'criu.log'), 'utf8');
  expect(text).toContain('Error (restore): Restoring FAILED.');
  // A restore that fails when tasks exist already: another child of this process is not waited for.
  await checkpoint({ pid: specimen.pid, images_dir });
  await expectGone([specimen.pid], 'after the checkpoint');
  const config = join(specimen.dir, 'criu.conf');
  writeFileSync(config, 'action-script /bin/false\n');
  expect(await failure(restore({ images_dir, config_file: config }))).toBeInstanceOf(CriuError);
  expect(await failure(openImages('/nowhere'))).toBeInstanceOf(CriuError);
  expect((await check()).missing).toBeArray();
  process.kill(process.pid, 'SIGHUP');
  await Bun.sleep(20);
  process.off('SIGHUP', onSignal);
  expect({ heard, cwd: process.cwd(), other: other.exitCode }).toEqual({
    heard: ['SIGHUP'],
    cwd: startDir,
    other: null,
  });
  other.kill();
});

liveCase('the client tells what went wrong', async () => {
  const specimen = await startProgram('static-counter');
  const images_dir = makeImagesDir(specimen, 'images');
  const client = new CriuClient({ criu: criuBinary });
  const failure = async (work: Promise<unknown>) => {
    const error = await work.then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(CriuRequestError);
    const { errno, message } = error as CriuRequestError;
    return [errno, message];
  };
  expect(await failure(client.checkpoint({ pid: specimen.pid, images_dir }, () => false))).toEqual([
    5,
    'Error (dump): Dumping FAILED. RPC client reported script error for hook pre-dump',
  ]);
  expect(await failure(client.restore({ images_dir: join(images_dir, 'nowhere') }))).toEqual([
    56,
    expect.stringContaining("Error (rpc): Couldn't open image dir"),
  ]);
  const [errno, message] = await failure(new CriuClient({ criu: '/nonexistent' }).version());
  expect([errno, String(message).startsWith('criu cannot be started: ')]).toEqual([32, true]);
  expect(readTree(specimen.pid)).toEqual([specimen.pid]);
  expect(existsSync(join(images_dir, 'inventory.img'))).toBe(false);
});
