/**
 * Real scripts: what they see, where their output goes, and what becomes of their status.
 */

import { afterAll, beforeAll, expect, test } from 'bun:test';
import { chmodSync, closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CriuErrors } from '../base/errors.ts';
import { silentLogger } from '../base/log.ts';
import { type Hook, postDumpStatus, runActionScripts, type ScriptRun } from './action-script.ts';

let folder = '';
let outputFd = -1;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'criu-scripts-'));
  outputFd = openSync(join(folder, 'log'), 'a');
});
afterAll(() => {
  closeSync(outputFd);
  rmSync(folder, { recursive: true });
});

function script(name: string, body: string): string {
  const path = join(folder, name);
  writeFileSync(path, `#!/bin/sh\n${body}\n`);
  chmodSync(path, 0o755);
  return path;
}

const runOf = (hook: Hook, ...scripts: string[]): ScriptRun => ({
  scripts,
  hook,
  imagesDir: '/images',
  log: silentLogger,
  outputFd,
});

function failure(run: ScriptRun): string[] {
  try {
    runActionScripts(run);
    return [];
  } catch (error) {
    return error instanceof CriuErrors ? error.lines : [(error as Error).message];
  }
}

test('a script learns the hook, the images and the pid, and writes to the log', () => {
  const path = script('env', 'echo "$# $CRTOOLS_SCRIPT_ACTION $CRTOOLS_IMAGE_DIR $CRTOOLS_INIT_PID."; cat; echo e >&2');
  runActionScripts({ ...runOf('post-restore', path), initPid: 12 });
  runActionScripts(runOf('pre-dump', path));
  expect(readFileSync(join(folder, 'log'), 'latin1')).toBe('0 post-restore /images 12.\ne\n0 pre-dump /images .\ne\n');
});

test('a script that fails is named with hook and status', () => {
  const path = script('three', 'exit 3');
  expect(failure(runOf('pre-dump', path))).toEqual([`Script ${path}: exited with 3 in hook pre-dump`]);
  expect(failure(runOf('pre-resume', path))).toEqual([
    `Script ${path}: exited with 3 in hook pre-resume; a pre-resume script must not fail`,
  ]);
});

test('all scripts run, in order, even when one fails', () => {
  const bad = script('bad', 'exit 1');
  const mark = script('mark', `echo mark >> ${folder}/marks`);
  expect(failure(runOf('pre-dump', bad, mark, bad))).toEqual([
    '2 action scripts failed for hook pre-dump',
    `Script ${bad}: exited with 1 in hook pre-dump`,
    `Script ${bad}: exited with 1 in hook pre-dump`,
  ]);
  expect(readFileSync(`${folder}/marks`, 'latin1')).toBe('mark\n');
});

test('a script that cannot be started or dies of a signal has failed', () => {
  expect(failure(runOf('pre-dump', '/nonexistent'))).toEqual([
    'Script /nonexistent: cannot be started for hook pre-dump: ENOENT',
  ]);
  const path = script('killed', 'kill -9 $$');
  expect(failure(runOf('pre-dump', path))).toEqual([`Script ${path}: was killed by SIGKILL in hook pre-dump`]);
});

test('a script without a line for the kernel is read by a shell, and a plain name is found in the PATH', () => {
  const path = join(folder, 'plain-text');
  writeFileSync(path, 'exit 4\n', { mode: 0o755 });
  expect(failure(runOf('pre-dump', path))).toEqual([`Script ${path}: exited with 4 in hook pre-dump`]);
  expect(failure(runOf('pre-dump', 'false'))).toEqual(['Script false: exited with 1 in hook pre-dump']);
  expect(failure(runOf('pre-dump', 'no-such-name'))).toEqual([
    'Script no-such-name: cannot be started for hook pre-dump: ENOENT',
  ]);
});

test('post-dump hands the status on instead of throwing', () => {
  const { hook: _hook, ...run } = runOf('post-dump', script('ok', 'exit 0'), script('seven', 'exit 7'));
  expect(postDumpStatus(run)).toBe(7);
  expect(postDumpStatus({ ...run, scripts: [script('killed', 'kill -9 $$')] })).toBe(137);
  expect(postDumpStatus({ ...run, scripts: [] })).toBe(0);
});
