/** System V semaphores: they belong to the machine, and go on without the program. */
import { expect } from 'bun:test';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
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
import { liveCase } from '../harness/live-test.ts';

/** Runs `body` with the program sysv-semaphore, and removes its semaphores. */
async function withSemaphores(args: readonly string[], body: (specimen: Specimen) => Promise<void>): Promise<void> {
  const specimen = await startProgram('sysv-semaphore', { args });
  const id = readFileSync(join(specimen.dir, 'semaphores'), 'utf8');
  try {
    await body(specimen);
  } finally {
    Bun.spawnSync(['ipcrm', '--semaphore-id', id]);
  }
}

for (const undo of [false, true]) {
  const name = undo ? 'the log warns of what is held with SEM_UNDO' : 'a program goes on with its SysV semaphores';
  liveCase(name, () =>
    withSemaphores(undo ? ['undo'] : [], async (specimen) => {
      // What is held with SEM_UNDO would be given back at the end of the program.
      for (const round of undo ? [1] : [1, 2, 3]) {
        const images = makeImagesDir(specimen, `images-${round}`);
        const dumped = await dump(specimen, images, undo ? ['-R'] : []);
        expectSuccess(dumped);
        expect(dumped.log).toMatch(
          /Warn {2}\(dump\): task \d+ 'sysv-semaphore' uses System V semaphores \(set \d+\): what it holds with SEM_UNDO is given back when the dump ends it, and not taken again by a restore/,
        );
        if (!undo) {
          await expectGone([specimen.pid], 'after the dump');
          expectSuccess(await restore(specimen, images));
        }
        await checkRound(specimen, round);
      }
    }),
  );
}
