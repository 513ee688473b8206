/**
 * Images that were recorded once and for all (test/image-sets): whoever has images of an older version of this criu must
 * be able to read and restore them with a newer one.
 */
import { expect } from 'bun:test';
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { detectImageKind, parseImage } from '../../src/image/image-file.ts';
import { serializeImage } from '../../src/image/serialize-image.ts';
import { explain, runCriu } from '../harness/criu-command.ts';
import { makeFolder, SkippedByProgram, trackProcess } from '../harness/harness.ts';
import { liveCase } from '../harness/live-test.ts';
import { isAlive } from '../harness/processes.ts';
import { COUNT, counted, FOLDER, IMAGES, PID, PROGRAM, waitForCounts } from '../image-sets/image-set.ts';

liveCase('recorded images are read, and written again byte by byte', async () => {
  const files = readdirSync(IMAGES).filter((name) => name.endsWith('.img') && !name.startsWith('pages-'));
  expect(files.length).toBeGreaterThan(15);
  for (const file of files) {
    const bytes = readFileSync(join(IMAGES, file));
    const kind = detectImageKind(bytes) ?? expect.unreachable(`${file} is of no known kind`);
    expect(`${file} ${Buffer.from(serializeImage(kind, parseImage(kind, bytes, file))).toString('hex')}`).toBe(
      `${file} ${bytes.toString('hex')}`,
    );
  }
});

/** What is not the same on every machine, and no fault of the images. */
const OF_THE_MACHINE = /another one: in it|CPU|is in use by|set_tid/;

liveCase('recorded images are restored, and the program goes on', async () => {
  if (existsSync(FOLDER)) throw new SkippedByProgram(`${FOLDER} is in use`);
  mkdirSync(FOLDER);
  try {
    copyFileSync(PROGRAM, join(FOLDER, basename(IMAGES)));
    writeFileSync(COUNT, '');
    const logs = makeFolder('image-set');
    const args = ['restore', '-d', '-D', IMAGES, '-W', logs, '--manage-cgroups=ignore', '-v4', '-o', 'restore.log'];
    const result = await runCriu({ args, imagesDir: logs, logName: 'restore.log' });
    if (result.exitCode !== 0 && OF_THE_MACHINE.test(result.output)) throw new SkippedByProgram(result.output.trim());
    if (result.exitCode !== 0) throw new Error(explain(result));
    trackProcess(PID);
    const from = counted() + 1;
    expect((await waitForCounts(3)).slice(0, 3)).toEqual([from, from + 1, from + 2]);
    expect(isAlive(PID)).toBe(true);
  } finally {
    rmSync(FOLDER, { recursive: true });
  }
});
