/** The page that `crit report` makes, in a real browser: what is drawn there, and that nothing of an image runs. */
import { expect, test } from 'bun:test';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sampleImages } from '../../src/crit/image-files.test-support.ts';
import { criuBinary, isOriginal } from '../harness/criu-command.ts';

const browser = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((path) =>
  existsSync(path),
);
const mustRun = process.env['CRIU_TEST_NO_SKIP'] === '1';

function chromium(args: readonly string[], folder: string) {
  if (browser === undefined) throw new Error('there is no chromium');
  const { exitCode, stdout, stderr } = Bun.spawnSync(
    [browser, '--headless', '--no-sandbox', '--disable-gpu', `--user-data-dir=${join(folder, 'profile')}`, ...args],
    { timeout: 60_000, env: { ...process.env, HOME: folder } },
  );
  if (exitCode !== 0) throw new Error(`chromium: exit code ${exitCode}: ${stderr.toString('utf8').slice(-2000)}`);
  return stdout.toString('utf8');
}

function writePage(folder: string): string {
  const images = sampleImages();
  for (const [name, bytes] of images.files) writeFileSync(join(folder, name), bytes);
  const page = join(folder, 'report.html');
  const { exitCode, stderr } = Bun.spawnSync([criuBinary, 'crit', 'report', folder, '-o', page]);
  expect([exitCode, stderr.toString('utf8')]).toEqual([0, '']);
  return page;
}

const obstacle = isOriginal
  ? 'this is the original'
  : browser === undefined && !mustRun
    ? 'there is no chromium'
    : undefined;
const name = 'the report of crit is drawn by a browser';

if (obstacle !== undefined) test.skip(`${name} (${obstacle})`, () => {});
else
  test(name, () => {
    const folder = mkdtempSync(join(tmpdir(), 'criu-report-'));
    try {
      const page = writePage(folder);
      const dom = chromium(['--dump-dom', `file://${page}`], folder);
      expect(dom).toContain('<title>Checkpoint of server</title>');
      // What the browser has made of a file called like a script is text.
      expect(dom).not.toContain('<script>alert');
      expect(dom).toContain('&lt;script&gt;alert(1)&lt;/script&gt;');
      expect(dom.match(/<section class="card task" id="task-/g)).toHaveLength(3);
      expect(dom.match(/<ul class="tree">/g)).toHaveLength(1);
      expect(dom.match(/<table class="mappings">/g)).toHaveLength(2);
      expect(dom).toContain('TCP socket');
      expect(dom).toContain('@abstract&amp;');
      expect(dom).toContain('the tasks were frozen for 4.00 ms');
      const picture = join(folder, 'report.png');
      chromium([`--screenshot=${picture}`, '--window-size=1280,2000', `file://${page}`], folder);
      // A blank page of this size compresses to some kilobytes.
      expect(statSync(picture).size).toBeGreaterThan(40_000);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }, 120_000);
