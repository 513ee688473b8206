/**
 * Restores that must fail: the exit code is not zero, the message names the file or the pid, and no process is left
 * behind. What can be refused is refused before a process exists.
 */
import { expect } from 'bun:test';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { type CriuResult, explain } from '../harness/criu-command.ts';
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
import { tryReap } from '../harness/libc.ts';
import { liveCase } from '../harness/live-test.ts';
import { isAlive, killAll, readOwnDescendants, readState, readTree, waitGone } from '../harness/processes.ts';

interface Checkpoint {
  readonly specimen: Specimen;
  readonly imagesDir: string;
  readonly tree: readonly number[];
}

async function makeCheckpoint(program: string, args: readonly string[] = []): Promise<Checkpoint> {
  const specimen = await startProgram(program, { args });
  const imagesDir = makeImagesDir(specimen, 'images');
  const tree = readTree(specimen.pid);
  expectSuccess(await dump(specimen, imagesDir));
  await expectGone(tree, 'after the dump');
  return { specimen, imagesDir, tree };
}

/** Restores, expects a failure without a trace, and returns what criu said. */
async function expectRefusal(
  { specimen, tree }: Checkpoint,
  imagesDir: string,
  args: readonly string[] = [],
): Promise<CriuResult> {
  const result = await restore(specimen, imagesDir, args);
  if (result.exitCode === 0 || result.exitCode === null)
    throw new Error(`the restore did not fail\n${explain(result)}`);
  await waitGone(tree, 500);
  const left = [...new Set([...tree, ...readOwnDescendants()])].filter(isAlive);
  if (left.length > 0) throw new Error(`processes are left: ${left}\n${explain(result)}`);
  return result;
}

const words = (result: CriuResult): string => `${result.log}\n${result.output}`;

liveCase('a tree that was killed a moment ago is waited for', async () => {
  const specimen = await startProgram('static-counter');
  const images = makeImagesDir(specimen, 'images');
  expectSuccess(await dump(specimen, images, ['--leave-stopped']));
  expect(readState(specimen.pid)).toBe('T');
  process.kill(specimen.pid, 'SIGKILL');
  const restoring = restore(specimen, images);
  await Bun.sleep(150);
  // Until now it was a zombie.
  expect(tryReap(specimen.pid)).toBe(true);
  expectSuccess(await restoring);
  await checkRound(specimen, 1);
});

liveCase('a pid that is in use is refused, and its holder is named', async () => {
  const checkpoint = await makeCheckpoint('static-counter');
  const { specimen, imagesDir } = checkpoint;
  expectSuccess(await restore(specimen, imagesDir));
  const again = makeImagesDir(specimen, 'again');
  cpSync(imagesDir, again, { recursive: true });
  const result = await restore(specimen, again);
  expect(result.exitCode).not.toBe(0);
  expect(words(result)).toContain(String(specimen.pid));
  expect(words(result)).toContain('static-counter');
  await checkRound(specimen, 1);
});

liveCase('a thread id that is in use is refused before a process exists', async () => {
  const checkpoint = await makeCheckpoint('threads-clear-tid');
  const { specimen, imagesDir } = checkpoint;
  expectSuccess(await restore(specimen, imagesDir));
  const again = makeImagesDir(specimen, 'again');
  cpSync(imagesDir, again, { recursive: true });
  const result = await restore(specimen, again);
  expect(result.exitCode).not.toBe(0);
  await checkRound(specimen, 1);
});

liveCase('each missing image is refused by name', async () => {
  const checkpoint = await makeCheckpoint('files-plain');
  const needed = readdirSync(checkpoint.imagesDir).filter((name) =>
    /^(inventory|pstree|core-\d+|mm-\d+|pagemap-\d+|pages-\d+|files|fs-\d+|ids-\d+|fdinfo-\d+)\.img$/.test(name),
  );
  expect(needed.length).toBeGreaterThan(8);
  for (const name of needed) {
    const damaged = damage(checkpoint, name, (path) => rmSync(path));
    const result = await expectRefusal(checkpoint, damaged);
    expect([name, words(result).includes(name.replace('.img', ''))]).toEqual([name, true]);
  }
});

liveCase('each truncated image is refused', async () => {
  const checkpoint = await makeCheckpoint('files-plain');
  for (const name of readdirSync(checkpoint.imagesDir).filter((file) =>
    /^(inventory|pstree|core|mm|pagemap|pages|files|fs|ids|fdinfo).*\.img$/.test(file),
  )) {
    for (const part of [0.5, 0.9]) {
      const damaged = damage(checkpoint, name, (path) => truncateSync(path, Math.floor(statSync(path).size * part)));
      const result = await expectRefusal(checkpoint, damaged).catch((error: Error) => {
        throw new Error(`${name} cut to ${part * 100} %: ${error.message}`);
      });
      expect(words(result)).toContain('Error');
    }
  }
});

liveCase('an image with a wrong magic is refused by name', async () => {
  const checkpoint = await makeCheckpoint('files-plain');
  for (const name of readdirSync(checkpoint.imagesDir).filter((file) =>
    /^(inventory|pstree|core|mm|pagemap|files|fs|ids).*\.img$/.test(file),
  )) {
    const damaged = damage(checkpoint, name, (path) => {
      const bytes = readFileSync(path);
      bytes.fill(0x7a, 0, 8);
      writeFileSync(path, bytes);
    });
    const result = await expectRefusal(checkpoint, damaged);
    expect([name, words(result).includes(name.replace('.img', ''))]).toEqual([name, true]);
  }
});

liveCase('a folder with something else in it is refused', async () => {
  const checkpoint = await makeCheckpoint('files-plain');
  const empty = makeImagesDir(checkpoint.specimen, 'empty');
  expect(words(await expectRefusal(checkpoint, empty))).toContain('inventory');
  const foreign = makeImagesDir(checkpoint.specimen, 'foreign');
  writeFileSync(join(foreign, 'inventory.img'), 'This is a letter to my grandmother, not an image.\n'.repeat(20));
  expect(words(await expectRefusal(checkpoint, foreign))).toContain('inventory');
});

liveCase('images with random damage never hang a restore and never leave a half-made process', async () => {
  const checkpoint = await makeCheckpoint('tree', ['names']);
  const names = readdirSync(checkpoint.imagesDir).filter(
    (file) => file.endsWith('.img') && !/^(pages-|stats)/.test(file),
  );
  const random = seededRandom(20_240_817);
  for (let turn = 0; turn < Number(process.env['DAMAGES'] ?? 60); turn++) {
    const name = names[Math.floor(random() * names.length)] ?? '';
    const damaged = damage(checkpoint, name, (path) => {
      const bytes = readFileSync(path);
      for (let flips = 0; flips < 3 && bytes.length > 8; flips++) {
        bytes[8 + Math.floor(random() * (bytes.length - 8))] = Math.floor(random() * 256);
      }
      writeFileSync(path, bytes);
    });
    await restoreDamaged(checkpoint, damaged, `turn ${turn}, ${name}`);
  }
});

/** Either it fails and nothing is left, or it works: then the processes are complete, and are killed here. */
async function restoreDamaged(checkpoint: Checkpoint, damaged: string, context: string): Promise<void> {
  const result = await restore(checkpoint.specimen, damaged);
  if (result.signal !== null) throw new Error(`${context}: criu ended by ${result.signal}\n${explain(result)}`);
  if (result.exitCode !== 0) {
    await waitGone(checkpoint.tree, 1000);
    const left = [...new Set([...checkpoint.tree, ...readOwnDescendants()])].filter(isAlive);
    if (left.length > 0) throw new Error(`${context}: processes are left: ${left}\n${explain(result)}`);
  }
  await killAll([...checkpoint.tree, ...readOwnDescendants()]);
}

/** A copy of the images with one of them changed. */
function damage({ specimen, imagesDir }: Checkpoint, name: string, change: (path: string) => void): string {
  const copy = makeImagesDir(specimen, 'damaged');
  rmSync(copy, { recursive: true });
  cpSync(imagesDir, copy, { recursive: true });
  rmSync(join(copy, 'dump.log'), { force: true });
  change(join(copy, name));
  return copy;
}

/** mulberry32: the same numbers in each run. */
function seededRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

liveCase('a file that grew since the dump is refused by name and size', async () => {
  const checkpoint = await makeCheckpoint('files-plain');
  writeFileSync(join(checkpoint.specimen.dir, 'data-file'), '0123456789 and more');
  const result = await expectRefusal(checkpoint, checkpoint.imagesDir);
  expect(words(result)).toContain('data-file');
  expect(words(result)).toMatch(/\b10\b/);
  expect(words(result)).toMatch(/\b19\b/);
});

liveCase('a file with another mode is refused, unless --skip-file-rwx-check is given', async () => {
  const checkpoint = await makeCheckpoint('files-plain');
  chmodSync(join(checkpoint.specimen.dir, 'data-file'), 0o640);
  const result = await expectRefusal(checkpoint, checkpoint.imagesDir);
  expect(words(result)).toContain('data-file');
  expectSuccess(await restore(checkpoint.specimen, checkpoint.imagesDir, ['--skip-file-rwx-check']));
  await checkRound(checkpoint.specimen, 1);
});

liveCase('a file that is gone since the dump is refused by name', async () => {
  const checkpoint = await makeCheckpoint('files-plain');
  rmSync(join(checkpoint.specimen.dir, 'data-file'));
  const result = await expectRefusal(checkpoint, checkpoint.imagesDir);
  expect(words(result)).toContain('data-file');
  expect(existsSync(join(checkpoint.specimen.dir, 'data-file'))).toBe(false);
});

liveCase('a restored program can be restored again from the same images', async () => {
  const checkpoint = await makeCheckpoint('static-counter');
  for (let time = 1; time <= 3; time++) {
    expectSuccess(await restore(checkpoint.specimen, checkpoint.imagesDir));
    await checkRound(checkpoint.specimen, 1);
    await killAll([checkpoint.specimen.pid]);
    rmSync(`${checkpoint.specimen.status}.go1`);
    writeFileSync(checkpoint.specimen.status, 'not yet');
  }
});

liveCase('a dump that fails on its way leaves no older checkpoint that looks good', async () => {
  const older = await makeCheckpoint('static-counter');
  const specimen = await startProgram('static-counter');
  mkdirSync(join(older.imagesDir, `mm-${specimen.pid}.img`)); // in the way of an image
  const result = await dump(specimen, older.imagesDir);
  expect(result.exitCode).toBe(1);
  expect(words(result)).toContain(`mm-${specimen.pid}.img`);
  expect(existsSync(join(older.imagesDir, 'inventory.img'))).toBe(false);
  await checkRound(specimen, 1);
});

liveCase('images of an older dump in the same folder are no part of the new one', async () => {
  const older = await makeCheckpoint('pipes');
  expect(existsSync(join(older.imagesDir, 'pipes-data.img'))).toBe(true);
  const specimen = await startProgram('static-counter');
  expectSuccess(await dump(specimen, older.imagesDir));
  expect(existsSync(join(older.imagesDir, 'pipes-data.img'))).toBe(false);
  await expectGone([specimen.pid], 'after the dump');
  expectSuccess(await restore(specimen, older.imagesDir));
  await checkRound(specimen, 1);
});
