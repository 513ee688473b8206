/**
 * Restores that let a program run before its memory is there (--run-at-once): it finds its memory as it was, whatever it
 * does with it meanwhile, and it never goes on without.
 */
import { expect } from 'bun:test';
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
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

const SIGSTOP = 19;
const SIGCONT = 18;
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
  ['io-uring', []],
];
for (const [program, args] of programs) {
  liveTest(`run at once: ${program}`, program, { args, restoreArgs, afterRestore });
}

/** Until then its mappings can be told from those it had. */
async function afterRestore(_specimen: Specimen, imagesDir: string): Promise<void> {
  await waitForLine(imagesDir, /the memory is complete|there is not enough memory that could come later/);
}

/** Images of the program, which is gone then. */
async function dumpAway(specimen: Specimen, name: string): Promise<string> {
  const imagesDir = makeImagesDir(specimen, name);
  expectSuccess(await dump(specimen, imagesDir));
  // Children that it has just forked are zombies of ours now.
  await expectGone([specimen.pid, ...readOwnDescendants()], 'after the dump');
  return imagesDir;
}

/** The same of mem-at-once, when it has no children. It forks again as soon as it is back. */
async function dumpCalm(specimen: Specimen, name: string): Promise<string> {
  const calm = `${specimen.status}.calm`;
  writeFileSync(calm, '');
  for (const reporter of specimen.reporters) await saysCalm(join(specimen.dir, `${reporter}.is-calm`));
  const imagesDir = await dumpAway(specimen, name);
  rmSync(calm);
  return imagesDir;
}

/** It says so all the time: what is left of the last time does not count. */
async function saysCalm(file: string): Promise<void> {
  rmSync(file, { force: true });
  for (let tries = 0; tries < 3000; tries++) {
    if (existsSync(file)) return;
    await Bun.sleep(5);
  }
  throw new Error(`waited for ${file}`);
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

liveCase('run at once: memory is right while it comes, in three rounds', async () => {
  const specimen = await startProgram('mem-at-once');
  for (let round = 1; round <= 3; round++) {
    const imagesDir = await dumpCalm(specimen, `images-${round}`);
    expectSuccess(await restore(specimen, imagesDir, restoreArgs));
    // The others are followed by a dump at once.
    if (round === 2) await checkRound(specimen, 1);
    if (round === 3) await checkRound(specimen, 2);
    expectNotCorrupt(specimen);
  }
});

/** Restores, and stops the filler before it is done. On a busy machine that may take several attempts. */
async function stopFiller(specimen: Specimen, imagesDir: string): Promise<number> {
  for (let attempt = 0; attempt < 10; attempt++) {
    expectSuccess(await restore(specimen, imagesDir, restoreArgs));
    const [filler, ...more] = findByName('criu-fill');
    expect(more).toEqual([]);
    if (filler !== undefined) {
      tryKill(filler, SIGSTOP);
      if (!readLog(imagesDir, 'restore.log').includes('the memory is complete')) return filler;
      tryKill(filler, SIGCONT);
    }
    tryKill(specimen.pid, SIGKILL);
    await expectGone([specimen.pid, ...readOwnDescendants()], 'at the end of an attempt');
  }
  throw new Error('the memory is always complete before the filler can be stopped');
}

liveCase('run at once: a dump waits until all of the memory is there', async () => {
  const specimen = await startProgram('mem-at-once');
  const first = await dumpCalm(specimen, 'images-1');
  const filler = await stopFiller(specimen, first);
  const second = makeImagesDir(specimen, 'images-2');
  const dumping = dump(specimen, second);
  await Bun.sleep(300);
  expect(readLog(second, 'dump.log')).toMatch(/the memory of task \d+ is still being filled .*: waiting\n$/);
  tryKill(filler, SIGCONT);
  expectSuccess(await dumping);
  expect(readLog(first, 'restore.log')).toMatch(/\d+ KiB of 1 task\(s\) come later(.|\n)*the memory is complete/);
  await expectGone([specimen.pid, ...readOwnDescendants()], 'after the dump');
  expectSuccess(await restore(specimen, second));
  await checkRound(specimen, 1);
  expectNotCorrupt(specimen);
});

liveCase('run at once: several tasks, each with memory of its own', async () => {
  const specimen = await startProgram('mem-at-once', { args: ['two'] });
  const imagesDir = await dumpCalm(specimen, 'images');
  expectSuccess(await restore(specimen, imagesDir, restoreArgs));
  await checkRound(specimen, 1);
  expect(await waitForLine(imagesDir, /the memory is complete/)).toMatch(/KiB of 2 task\(s\) come later/);
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
  const specimen = await startProgram('mem-at-once');
  const imagesDir = await dumpCalm(specimen, 'images');
  for (let round = 0; round < 8; round++) {
    // Once for certain before the memory is complete, then at any moment.
    const stopped = round === 0 ? await stopFiller(specimen, imagesDir) : undefined;
    if (stopped === undefined) expectSuccess(await restore(specimen, imagesDir, restoreArgs));
    await Bun.sleep(round < 3 ? 0 : round * 20);
    for (const pid of findByName('criu-fill')) tryKill(pid, SIGKILL);
    const log = await waitForLine(imagesDir, /the memory is complete|killed \d+ process/);
    // So much longer it runs, to find what is wrong.
    await Bun.sleep(200);
    expectNotCorrupt(specimen);
    expect(findByName('criu-fill')).toEqual([]);
    if (stopped === undefined && log.includes('the memory is complete')) {
      expect(isAlive(specimen.pid)).toBe(true);
      tryKill(specimen.pid, SIGKILL);
    } else {
      expect(log).toContain('the memory of the tree cannot be completed: the process that fills it was killed');
    }
    await expectGone([specimen.pid, ...readOwnDescendants()], 'at the end of a round');
  }
});

liveCase('run at once: a guard that is killed is replaced', async () => {
  const specimen = await startProgram('mem-at-once');
  const imagesDir = await dumpCalm(specimen, 'images');
  const filler = await stopFiller(specimen, imagesDir);
  const [guard = -1, ...more] = findByName('page-guard');
  expect(more).toEqual([]);
  tryKill(guard, SIGKILL);
  tryKill(filler, SIGCONT);
  const log = await waitForLine(imagesDir, /the memory is complete/);
  expect(log).toContain('somebody has killed the guard of the memory that is being filled; there is a new one');
  await checkRound(specimen, 1);
});

liveCase('run at once: a pages image that shrinks meanwhile is the end of the program, and says so', async () => {
  const specimen = await startProgram('mem-at-once');
  const whole = await dumpCalm(specimen, 'images');
  // The filler may have read all that there is when it is stopped: then once more.
  for (let attempt = 0; attempt < 10; attempt++) {
    const imagesDir = makeImagesDir(specimen, `images-${attempt}`);
    cpSync(whole, imagesDir, { recursive: true });
    const filler = await stopFiller(specimen, imagesDir);
    for (const name of readdirSync(imagesDir)) if (name.startsWith('pages-')) truncateSync(join(imagesDir, name), 4096);
    tryKill(filler, SIGCONT);
    const log = await waitForLine(imagesDir, /killed \d+ process|the memory is complete/);
    if (log.includes('the memory is complete')) {
      tryKill(specimen.pid, SIGKILL);
      await expectGone([specimen.pid, ...readOwnDescendants()], 'at the end of an attempt');
      continue;
    }
    expect(log).toMatch(/task \d+ 'mem-at-once': cannot get its memory at [0-9a-f]+ \(UFFDIO_COPY: EFAULT\)/);
    expect(log).toContain('the image is truncated, or cannot be read');
    await expectGone([specimen.pid], 'after the image was cut');
    expectNotCorrupt(specimen);
    return;
  }
  throw new Error('the memory was complete each time before the image could be cut');
});
