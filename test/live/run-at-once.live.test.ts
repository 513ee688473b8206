/**
 * Restores that let a program run before its memory is there (--run-at-once): it finds its memory as it was, whatever it
 * does with it meanwhile, and it never goes on without.
 */
import { expect } from 'bun:test';
import { existsSync, readdirSync, readFileSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { criuBinary } from '../harness/criu-command.ts';
import {
  checkRound,
  dump,
  expectGone,
  expectSuccess,
  makeImagesDir,
  restore,
  type Specimen,
  startProgram,
} from '../harness/harness.ts';
import { tryKill } from '../harness/libc.ts';
import { liveCase, liveTest } from '../harness/live-test.ts';
import { isAlive, readOwnDescendants, SIGKILL } from '../harness/processes.ts';

const restoreArgs = ['--run-at-once'];

const programs: [program: string, args: string[]][] = [
  ['mem-private', []],
  ['mem-big', []],
  ['mem-flags', []],
  ['mem-thp', []],
  ['mem-growsdown', []],
  ['mem-cow', []],
  ['mem-lockall', []],
  ['mem-guard', []],
  ['threads', []],
  ['interrupted', []],
  ['aio-ring', []],
];
for (const [program, args] of programs) {
  liveTest(`run at once: ${program}`, program, { args, restoreArgs });
}

/** Images of the program, which is gone then. */
async function dumpAway(specimen: Specimen, name: string): Promise<string> {
  const imagesDir = makeImagesDir(specimen, name);
  expectSuccess(await dump(specimen, imagesDir));
  // Children that it has just forked are zombies of ours now.
  await expectGone([specimen.pid, ...readOwnDescendants()], 'after the dump');
  return imagesDir;
}

/** The same of a moment at which it has no child, which would share its memory. */
async function dumpAlone(specimen: Specimen): Promise<string> {
  for (let tries = 1; tries <= 20; tries++) {
    const imagesDir = await dumpAway(specimen, `images-${tries}`);
    if (readdirSync(imagesDir).filter((name) => name.startsWith('mm-')).length === 1) return imagesDir;
    expectSuccess(await restore(specimen, imagesDir));
  }
  throw new Error('it always has a child');
}

const readLog = (imagesDir: string, name: string) => readFileSync(join(imagesDir, name), 'latin1');

/** What the program found wrong. */
function expectNotCorrupt({ status }: Specimen): void {
  const path = `${status}.corrupt`;
  expect(existsSync(path) ? readFileSync(path, 'latin1') : '').toBe('');
}

/** Waits until the log has a line. */
async function waitForLine(imagesDir: string, line: RegExp): Promise<string> {
  for (let tries = 0; tries < 1000; tries++) {
    const log = readLog(imagesDir, 'restore.log');
    if (line.test(log)) return log;
    await Bun.sleep(5);
  }
  throw new Error(`waited for ${line}:\n${readLog(imagesDir, 'restore.log')}`);
}

liveCase('run at once: memory is right while it comes, and a dump waits until all of it is there', async () => {
  const specimen = await startProgram('mem-at-once');
  for (let round = 1; round <= 3; round++) {
    const imagesDir = await dumpAway(specimen, `images-${round}`);
    if (round > 1)
      expect(readLog(imagesDir, 'dump.log')).toContain('is still being filled (restore --run-at-once): waiting');
    expectSuccess(await restore(specimen, imagesDir, restoreArgs));
    // The next dump begins at once in the first two rounds.
    if (round === 3) {
      await checkRound(specimen, 1);
      const log = await waitForLine(imagesDir, /the memory is complete/);
      expect(log).toMatch(/\d+ KiB of 1 task\(s\) come later/);
    }
    expectNotCorrupt(specimen);
  }
});

liveCase('run at once: several tasks, each with memory of its own', async () => {
  const specimen = await startProgram('mem-at-once', { args: ['two'] });
  const imagesDir = await dumpAway(specimen, 'images');
  expectSuccess(await restore(specimen, imagesDir, restoreArgs));
  await checkRound(specimen, 1);
  expect(await waitForLine(imagesDir, /the memory is complete/)).toMatch(/KiB of [2-4] task\(s\) come later/);
  expectNotCorrupt(specimen);
});

liveCase('run at once: refused before anything is made where memory cannot come later', async () => {
  const specimen = await startProgram('mem-private');
  const imagesDir = await dumpAway(specimen, 'images');
  const without = ['setpriv', '--bounding-set=-sys_ptrace', '--inh-caps=-sys_ptrace'];
  const command = [...without, criuBinary, 'restore', '-d', '-D', imagesDir, ...restoreArgs];
  const result = Bun.spawnSync(command, { stderr: 'pipe' });
  expect(result.stderr.toString()).toMatch(
    /--run-at-once: cannot be done here \((userfaultfd|UFFDIO_API): EPERM\): it takes/,
  );
  expect(result.stderr.toString()).toContain(
    'it takes the capability CAP_SYS_PTRACE, and a seccomp filter (as containers have) may forbid it too; ' +
      'restore without it: then the program runs when its memory is there',
  );
  expect(result.exitCode).toBe(1);
  expect(readOwnDescendants()).toEqual([]);
});

/** Processes with a name, of those that a restore has started. */
const findByName = (name: string): number[] =>
  readOwnDescendants().filter((pid) => {
    const path = `/proc/${pid}/comm`;
    return isAlive(pid) && existsSync(path) && readFileSync(path, 'latin1') === `${name}\n`;
  });

liveCase('run at once: when the filler is killed the program is complete or dead', async () => {
  let ends = { complete: 0, dead: 0 };
  const first = await startProgram('mem-at-once');
  const imagesDir = await dumpAlone(first);
  for (let round = 0; round < 8; round++) {
    expectSuccess(await restore(first, imagesDir, restoreArgs));
    await Bun.sleep(round < 2 ? 0 : round * 20);
    for (const pid of findByName('criu-fill')) tryKill(pid, SIGKILL);
    const log = await waitForLine(imagesDir, /the memory is complete|killed \d+ process/);
    // So much longer it runs, to find what is wrong.
    await Bun.sleep(200);
    expectNotCorrupt(first);
    expect(findByName('criu-fill')).toEqual([]);
    if (log.includes('the memory is complete')) {
      expect(isAlive(first.pid)).toBe(true);
      ends = { ...ends, complete: ends.complete + 1 };
      tryKill(first.pid, SIGKILL);
    } else {
      expect(log).toContain('the memory of the tree cannot be completed: the process that fills it was killed');
      await expectGone([first.pid], 'after the filler was killed');
      ends = { ...ends, dead: ends.dead + 1 };
    }
    await expectGone([first.pid, ...readOwnDescendants()], 'at the end of a round');
    expect(findByName('page-guard')).toEqual([]);
  }
  expect(ends.dead).toBeGreaterThan(0);
});

liveCase('run at once: a guard that is killed is replaced', async () => {
  const specimen = await startProgram('mem-at-once');
  const imagesDir = await dumpAlone(specimen);
  expectSuccess(await restore(specimen, imagesDir, restoreArgs));
  for (const pid of findByName('page-guard')) tryKill(pid, SIGKILL);
  const log = await waitForLine(imagesDir, /the memory is complete/);
  expect(log).toContain('somebody has killed the guard of the memory that is being filled; there is a new one');
  await checkRound(specimen, 1);
});

liveCase('run at once: a pages image that shrinks meanwhile is the end of the program, and says so', async () => {
  const specimen = await startProgram('mem-at-once');
  const imagesDir = await dumpAway(specimen, 'images');
  expectSuccess(await restore(specimen, imagesDir, restoreArgs));
  for (const name of readdirSync(imagesDir)) if (name.startsWith('pages-')) truncateSync(join(imagesDir, name), 4096);
  const log = await waitForLine(imagesDir, /killed \d+ process/);
  expect(log).toMatch(/task \d+ 'mem-at-once': cannot get its memory at [0-9a-f]+ \(UFFDIO_COPY: EFAULT\)/);
  expect(log).toContain('the image is truncated, or cannot be read');
  await expectGone([specimen.pid], 'after the image was cut');
  expectNotCorrupt(specimen);
});
