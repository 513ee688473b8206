/** A restore that is ended by a signal at any moment leaves nothing, or, when it was through, the program: never half of it. */
import { expect } from 'bun:test';
import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { readResult, spawnCriu } from '../harness/criu-command.ts';
import { dump, expectGone, expectSuccess, makeImagesDir, startProgram, trackProcess } from '../harness/harness.ts';
import { liveCase } from '../harness/live-test.ts';
import { isAlive, killAll, readOwnDescendants, readState } from '../harness/processes.ts';

const KILLS = Number(process.env['KILLS'] ?? 200);

/** Who is left of it when the dying are dead; the dead do not count. */
async function findSurvivors(pid: number): Promise<string[]> {
  const look = () =>
    [...new Set([pid, ...readOwnDescendants()])]
      .filter(isAlive)
      .map((one) => `${readFileSync(`/proc/${one}/comm`, 'latin1').trimEnd()} ${readState(one)}`);
  for (let waitedMs = 0; waitedMs < 2000 && look().some((one) => !/^static-counter [RS]$/.test(one)); waitedMs += 5) {
    await Bun.sleep(5);
  }
  return look();
}

for (const signal of ['SIGKILL', 'SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  liveCase(`a restore that is ended by ${signal} leaves the whole program or nothing`, () => endAtAnyMoment(signal));
}

async function endAtAnyMoment(signal: 'SIGKILL' | 'SIGINT' | 'SIGTERM' | 'SIGHUP'): Promise<void> {
  const specimen = await startProgram('static-counter');
  const imagesDir = makeImagesDir(specimen, 'images');
  expectSuccess(await dump(specimen, imagesDir));
  await expectGone([specimen.pid], 'after the dump');
  const run = { args: ['restore', '-d', '-D', imagesDir, '-o', 'restore.log'], imagesDir, logName: 'restore.log' };
  let usualMs = 0;
  const seen = { nothing: 0, program: 0, givenUp: 0 };
  for (let turn = 0; turn < KILLS; turn++) {
    const start = performance.now();
    const child = spawnCriu(run);
    trackProcess(specimen.pid);
    if (turn < 3) {
      await child.exited;
      usualMs = Math.max(usualMs, performance.now() - start);
    } else {
      const afterMs = (usualMs * turn) / KILLS;
      while (performance.now() - start < afterMs) {}
      child.kill(signal);
      await child.exited;
    }
    const survivors = await findSurvivors(specimen.pid);
    if (survivors.length > 0)
      expect([turn, survivors]).toEqual([turn, [expect.stringMatching(/^static-counter [RS]$/)]]);
    if (child.exitCode !== null && child.exitCode > 0) {
      expect([child.exitCode, survivors]).toEqual([128 + constants.signals[signal], []]);
      expect(readResult(run, child).output).toContain(`given up because of ${signal}; nothing is left of the tree`);
      seen.givenUp++;
    }
    seen[survivors.length === 0 ? 'nothing' : 'program']++;
    await killAll([specimen.pid, ...readOwnDescendants()]);
    await expectGone([specimen.pid], `after turn ${turn}`);
  }
  expect(seen.nothing).toBeGreaterThan(KILLS / 4);
  expect(seen.program).toBeGreaterThanOrEqual(3);
  // How many depends on how long the start takes beside the restore, on a busy machine almost all of it.
  if (signal !== 'SIGKILL') expect(seen.givenUp).toBeGreaterThan(0);
}
