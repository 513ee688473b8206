/**
 * Start-up time is paid by every user. Method: medians of interleaved runs of `criu --version` and of an empty program
 * compiled in the same way; the former may take half as long again.
 */

import { afterAll, beforeAll, expect, test } from 'bun:test';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { buildExecutable } from '../../tools/build.ts';

const CRIU = resolve(import.meta.dir, '../../dist/criu');
const RUNS = 41;
const RATIO_MAX = 1.5;
let folder = '';
let empty = '';

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'criu-startup-'));
  empty = join(folder, 'empty');
  writeFileSync(`${empty}.ts`, 'process.exit();\n');
  await buildExecutable(`${empty}.ts`, empty);
}, 60_000);
afterAll(() => {
  rmSync(folder, { recursive: true });
});

function runMs(program: string): number {
  const start = performance.now();
  Bun.spawnSync([program, '--version'], { stdio: ['ignore', 'ignore', 'ignore'] });
  return performance.now() - start;
}

function median(values: number[]): number {
  return values.sort((a, b) => a - b)[values.length >> 1] ?? 0;
}

test('criu --version starts nearly as fast as an empty program', () => {
  const criuMs: number[] = [];
  const emptyMs: number[] = [];
  for (let run = 0; run < RUNS; run++) {
    criuMs.push(runMs(CRIU));
    emptyMs.push(runMs(empty));
  }
  const ratio = median(criuMs) / median(emptyMs);
  console.log(
    `criu ${median(criuMs).toFixed(2)} ms, empty ${median(emptyMs).toFixed(2)} ms, ratio ${ratio.toFixed(2)}`,
  );
  expect(ratio).toBeLessThan(RATIO_MAX);
}, 60_000);
