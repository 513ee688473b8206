/**
 * Dumps that must fail. Each time: the exit code is not zero, the message says what is wrong, no inventory.img is left
 * (so nobody takes the folder for a checkpoint), and the program runs on as if nothing had happened.
 */
import { expect } from 'bun:test';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { RLIMIT_AS } from '../../src/linux/abi/resource.ts';
import { SYS } from '../../src/linux/abi/syscall-numbers.ts';
import { check, syscall } from '../../src/linux/kernel.ts';
import { type CriuResult, criuBinary, explain, readResult, spawnCriu } from '../harness/criu-command.ts';
import {
  checkRound,
  dump,
  expectGone,
  expectSamePicture,
  expectSuccess,
  makeImagesDir,
  restore,
  type Specimen,
  startProgram,
} from '../harness/harness.ts';
import { liveCase } from '../harness/live-test.ts';
import { mountPrivateTmpfs } from '../harness/private-mount.ts';
import { readProcSnapshot } from '../harness/proc-snapshot.ts';
import { isAlive, readTree } from '../harness/processes.ts';

/** Dumps into `imagesDir`, expects a failure, and that the program is as before and checks itself. */
async function expectRefusal(specimen: Specimen, imagesDir: string, args: readonly string[] = []): Promise<CriuResult> {
  const tree = readTree(specimen.pid);
  const before = readProcSnapshot(tree);
  const result = await dump(specimen, imagesDir, args);
  if (result.exitCode === 0 || result.exitCode === null) throw new Error(`the dump did not fail\n${explain(result)}`);
  expectSamePicture(before, readProcSnapshot(tree), []);
  for (const pid of tree) expect(isAlive(pid)).toBe(true);
  await checkRound(specimen, 1);
  expect(existsSync(join(imagesDir, 'inventory.img'))).toBe(false);
  return result;
}

const errorLines = (result: CriuResult): string[] => result.log.split('\n').filter((line) => line.includes('Error ('));

liveCase('objects that no checkpoint can hold are refused, all at once, by task and descriptor', async () => {
  const specimen = await startProgram('unsupported');
  const [parent, child] = readTree(specimen.pid);
  const result = await expectRefusal(specimen, makeImagesDir(specimen, 'images'));
  const errors = errorLines(result);
  const ring = errors.find((line) => line.includes('io_uring')) ?? explain(result);
  expect(ring).toMatch(/\bfd 41\b/);
  expect(ring).toContain(String(parent));
  const faults = errors.find((line) => line.includes('userfaultfd')) ?? explain(result);
  expect(faults).toMatch(/\bfd 42\b/);
  expect(faults).toContain(String(child));
  // Whoever started criu may never see the log.
  expect(result.output).toMatch(/\bfd 41\b.*\bfd 42\b/s);
});

liveCase('a 64-bit task that executes 32-bit code is refused', async () => {
  const specimen = await startProgram('compat-mode');
  const child = readTree(specimen.pid)[1];
  const result = await expectRefusal(specimen, makeImagesDir(specimen, 'images'));
  expect(result.log).toContain(
    `task ${child} 'compat-mode': cannot be dumped: it executes 32-bit code in a 64-bit program: such a mixture, as Wine ` +
      'makes it, is not supported by this criu; use a build of the program for x86-64',
  );
});

liveCase('a dump of an unsupported object fails and the program runs on', async () => {
  const specimen = await startProgram('unsupported');
  await expectRefusal(specimen, makeImagesDir(specimen, 'images'));
});

liveCase('sockets of families that cannot be kept are refused by name, with a remedy', async () => {
  const specimen = await startProgram('unsupported-sockets');
  const errors = errorLines(await expectRefusal(specimen, makeImagesDir(specimen, 'images')));
  const families = readFileSync(join(specimen.dir, 'families'), 'latin1').trim().split('\n');
  for (const family of families) {
    expect(errors.filter((line) => line.includes(family) && line.includes('; ')).length).toBe(1);
  }
});

liveCase('what is on a mount that is attached nowhere is refused', async () => {
  const specimen = await startProgram('detached-mounts');
  const errors = errorLines(await expectRefusal(specimen, makeImagesDir(specimen, 'images')));
  const why =
    'cannot be dumped: it is on a mount that is attached nowhere here (man 2 fsmount, open_tree, umount2); have the program ' +
    'close it, or attach the mount (man 2 move_mount)';
  expect(errors.filter((line) => line.includes(why)).length).toBe(4);
});

liveCase('a full disk fails the dump and names the reason', async () => {
  const specimen = await startProgram('mem-big');
  const { path } = await mountPrivateTmpfs('size=4m');
  const imagesDir = join(path, 'images');
  await Bun.$`mkdir ${imagesDir}`.quiet();
  const result = await expectRefusal(specimen, imagesDir);
  expect(`${result.log}${result.output}`).toMatch(/ENOSPC|No space left/);
});

/** One of the last images cannot be written, when the files and terminals of the tree have long been looked at. */
function makeUnwritableDir(specimen: Specimen): string {
  const imagesDir = makeImagesDir(specimen, 'images');
  mkdirSync(join(imagesDir, 'pstree.img'));
  return imagesDir;
}

liveCase('a dump that fails late leaves no name behind that --link-remap has made', async () => {
  const specimen = await startProgram('link-remap');
  const result = await expectRefusal(specimen, makeUnwritableDir(specimen), ['--link-remap']);
  expect(result.log).toContain('pstree.img: cannot create the image: EISDIR');
  expect(readdirSync(specimen.dir).filter((name) => name.includes('link_remap'))).toEqual([]);
});

liveCase('a dump that fails late gives back what was on the way through pseudo terminals', async () => {
  const specimen = await startProgram('pty-queues');
  const result = await expectRefusal(specimen, makeUnwritableDir(specimen));
  expect(result.log).toContain('pstree.img: cannot create the image: EISDIR');
});

liveCase('a read-only folder fails the dump and names the folder', async () => {
  const specimen = await startProgram('static-counter');
  const { path } = await mountPrivateTmpfs('ro,size=1m');
  const outside = makeImagesDir(specimen, 'outside');
  const tree = readTree(specimen.pid);
  const before = readProcSnapshot(tree);
  const args = ['dump', '-t', String(specimen.pid), '-D', path, '-v4', '-o', join(outside, 'dump.log')];
  const run = { args, imagesDir: outside, logName: 'dump.log', logDir: outside };
  const child = spawnCriu(run);
  await child.exited;
  const result = readResult(run, child);
  expect(result.exitCode).not.toBe(0);
  expect(`${result.log}${result.output}`).toMatch(/EROFS|Read-only file system/);
  expectSamePicture(before, readProcSnapshot(tree), []);
  await checkRound(specimen, 1);
});

liveCase('what cannot be told about a dump or restore that is done is a warning, and nothing is lost', async () => {
  const specimen = await startProgram('static-counter');
  const { path } = await mountPrivateTmpfs('ro,size=1m');
  const imagesDir = makeImagesDir(specimen, 'images');
  const inFolder = (log: string) => ['-W', path, '-o', join(imagesDir, log)];
  const dumped = await dump(specimen, imagesDir, inFolder('dump.log'));
  expectSuccess(dumped);
  expect(dumped.log).toMatch(/Warn .*all is done, but .*stats-dump: .*(EROFS|Read-only file system)/);
  await expectGone([specimen.pid], 'after the dump');
  const restored = await restore(specimen, imagesDir, inFolder('restore.log'));
  expectSuccess(restored);
  expect(restored.log).toMatch(/Warn .*all is done, but .*stats-restore: /);
  await checkRound(specimen, 1);
});

for (const hook of ['pre-resume', 'post-resume']) {
  liveCase(`a ${hook} script that fails does not make a failure of the restore`, async () => {
    const specimen = await startProgram('static-counter');
    const imagesDir = makeImagesDir(specimen, 'images');
    expectSuccess(await dump(specimen, imagesDir));
    await expectGone([specimen.pid], 'after the dump');
    const script = join(specimen.dir, 'script');
    writeFileSync(script, `#!/bin/sh\n[ "$CRTOOLS_SCRIPT_ACTION" != ${hook} ]\n`, { mode: 0o755 });
    const restored = await restore(specimen, imagesDir, ['--action-script', script]);
    expectSuccess(restored);
    expect(restored.log).toMatch(new RegExp(`Warn .*all is done, but .*${hook}`));
    await checkRound(specimen, 1);
  });
}

liveCase('a pid that does not exist is refused', async () => {
  const specimen = await startProgram('static-counter');
  const imagesDir = makeImagesDir(specimen, 'images');
  const result = await dump({ ...specimen, pid: 4194303 }, imagesDir);
  expect(result.exitCode).not.toBe(0);
  expect(`${result.log}${result.output}`).toContain('4194303');
});

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  liveCase(`${signal} during a dump ends it and the program runs on`, async () => {
    const specimen = await startProgram('sweep');
    for (const delayMs of [2, 5, 10, 15, 20, 30, 45, 60]) await interrupt(specimen, signal, delayMs);
  });
}

liveCase('signals while an interrupted dump puts things in order leave nothing behind', async () => {
  const specimen = await startProgram('sweep');
  for (const delayMs of [10, 15, 20, 25, 30, 35, 40, 45, 50, 60]) await interrupt(specimen, 'SIGTERM', delayMs, true);
});

/**
 * Sends the signal after a delay, or from then on until the dump has ended. A dump that was already through is not a failure
 * of the test: it is --leave-running.
 */
async function interrupt(
  specimen: Specimen,
  signal: 'SIGINT' | 'SIGTERM',
  delayMs: number,
  isRepeated = false,
): Promise<void> {
  const imagesDir = makeImagesDir(specimen, `images-${delayMs}`);
  const args = ['dump', '-R', '-t', String(specimen.pid), '-D', imagesDir, '-v4', '-o', 'dump.log'];
  const run = { args, imagesDir, logName: 'dump.log' };
  const tree = readTree(specimen.pid);
  const before = readProcSnapshot(tree);
  const child = spawnCriu(run);
  await Bun.sleep(delayMs);
  child.kill(signal);
  while (isRepeated && child.exitCode === null && child.signalCode === null) {
    await Bun.sleep(0.2);
    child.kill(signal);
  }
  await child.exited;
  const result = readResult(run, child);
  expect(readTree(specimen.pid), explain(result)).toEqual(tree);
  expectSamePicture(before, readProcSnapshot(tree), []);
  await expectRunsOn(specimen, tree, explain(result));
  if (result.exitCode !== 0) expect(existsSync(join(imagesDir, 'inventory.img'))).toBe(false);
}

/** Every thread of test/programs/sweep.c counts on, and none of them is traced. */
async function expectRunsOn(specimen: Specimen, tree: readonly number[], context: string): Promise<void> {
  const read = (): BigUint64Array =>
    new BigUint64Array(readFileSync(join(specimen.dir, 'counters')).buffer.slice(0, 800));
  const before = read();
  let waiting = 100;
  for (let waitedMs = 0; waitedMs < 3000 && waiting > 0; waitedMs += 10) {
    await Bun.sleep(10);
    waiting = read().filter((value, index) => value === before[index]).length;
  }
  const dead = tree.filter((pid) => !isAlive(pid));
  if (waiting > 0 || dead.length > 0) throw new Error(`${waiting} threads stand still, ended: ${dead}\n${context}`);
}

liveCase('a task that can not be stopped fails the dump after --timeout', async () => {
  const specimen = await startProgram('unstoppable');
  const imagesDir = makeImagesDir(specimen, 'images');
  const start = performance.now();
  const result = await dump(specimen, imagesDir, ['--timeout', '2']);
  const tookMs = performance.now() - start;
  expect(result.exitCode).not.toBe(0);
  expect(tookMs).toBeGreaterThan(1500);
  expect(tookMs).toBeLessThan(15_000);
  await checkRound(specimen, 1);
  expect(readdirSync(imagesDir)).not.toContain('inventory.img');
});

liveCase('wrong command lines are refused with one clear line', async () => {
  const specimen = await startProgram('static-counter');
  const cases: [string[], RegExp][] = [
    [['dump', '-t', '0', '-D', specimen.dir], /invalid argument for -t/i],
    [['dump', '-D', specimen.dir], /-t|tree|pid not specified/],
    [['dump', '-t', String(specimen.pid), '-D', '/no/such/folder'], /\/no\/such\/folder|image dir/],
    [['no-such-command'], /unknown command/i],
  ];
  for (const [args, wanted] of cases) {
    const child = Bun.spawnSync([criuBinary, ...args], { cwd: specimen.dir, stdout: 'pipe', stderr: 'pipe' });
    const output = `${child.stdout}${child.stderr}`;
    expect([args.join(' '), child.exitCode === 0, wanted.test(output) || output]).toEqual([
      args.join(' '),
      false,
      true,
    ]);
  }
  await checkRound(specimen, 1);
});

const refusals = {
  'secret-memory': 'nobody but the program can read secret memory (man 2 memfd_secret)',
  'message-queue': 'a POSIX message queue that is not opened by a path cannot be opened again; mount the queues',
  'pressure-trigger': 'a pressure trigger that was written to it cannot be read; have the program close it',
  'perf-event': 'performance counters cannot be set to a value; have the program close them',
  'pending-trap':
    'a SIGTRAP is pending, which a restore could not tell from its own; have the program take that signal',
  segments: 'it has a local descriptor table (man 2 modify_ldt), as programs with 16-bit code have',
};
for (const [object, text] of Object.entries(refusals)) {
  liveCase(`a ${object} is refused, saying why`, async () => {
    const specimen = await startProgram('refused', { args: [object] });
    const { output } = await expectRefusal(specimen, makeImagesDir(specimen, 'images'));
    expect(output).toContain(text);
  });
}

/** The last bytes of a task's vdso, where criu puts code for its first call. */
function readVdsoTail(pid: number): Buffer {
  const [, end = ''] = /^\w+-(\w+) .*\[vdso\]$/m.exec(readFileSync(`/proc/${pid}/maps`, 'latin1')) ?? [];
  const tail = Buffer.alloc(512, 0xff);
  const fd = openSync(`/proc/${pid}/mem`, 'r');
  expect(readSync(fd, tail, 0, tail.length, Number.parseInt(end, 16) - tail.length)).toBe(tail.length);
  closeSync(fd);
  return tail;
}

liveCase('a task without room for the agent is refused, and nothing of criu is left in it', async () => {
  const specimen = await startProgram('static-counter');
  const { pid } = specimen;
  const zeros = Buffer.alloc(512);
  expect(readVdsoTail(pid)).toEqual(zeros);
  const [, kilobytes = ''] = /^VmSize:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1')) ?? [];
  const limit = new BigUint64Array(2);
  const full = BigUint64Array.of(BigInt(kilobytes) * 1024n, 0xffff_ffff_ffff_ffffn);
  check('prlimit64', syscall(SYS.prlimit64, pid, RLIMIT_AS, full, limit));
  const result = await dump(specimen, makeImagesDir(specimen, 'images'));
  expect(result.exitCode).toBe(1);
  expect(result.log).toContain(
    `task ${pid}: cannot map memory for the agent (mmap: ENOMEM): the task is at its limit of address space or mappings; ` +
      'raise RLIMIT_AS or vm.max_map_count',
  );
  expect(readVdsoTail(pid)).toEqual(zeros);
  check('prlimit64', syscall(SYS.prlimit64, pid, RLIMIT_AS, limit, 0));
  await checkRound(specimen, 1);
});
