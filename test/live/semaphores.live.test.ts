/** System V semaphores: they belong to the machine, and go on without the program. */
import { expect } from 'bun:test';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { SETVAL } from '../../src/linux/abi/ipc.ts';
import { SYS } from '../../src/linux/abi/syscall-numbers.ts';
import { syscall } from '../../src/linux/kernel.ts';
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
import { readTree } from '../harness/processes.ts';
import { dumpWithoutBpf } from '../harness/without-bpf.ts';

/** Runs `body` with the program sysv-semaphore, and removes its semaphores. */
async function withSemaphores(
  args: readonly string[],
  body: (specimen: Specimen, id: number) => Promise<void>,
): Promise<void> {
  const specimen = await startProgram('sysv-semaphore', { args });
  const id = readFileSync(join(specimen.dir, 'semaphores'), 'utf8');
  try {
    await body(specimen, Number(id));
  } finally {
    Bun.spawnSync(['ipcrm', '--semaphore-id', id]);
  }
}

for (const [name, args] of [
  ['a program goes on with its SysV semaphores', []],
  ['what a program holds with SEM_UNDO is taken again', ['undo']],
  ['two tasks go on with the same SysV semaphores, for which one of them waits', ['shared']],
] as const) {
  liveCase(name, () =>
    withSemaphores(args, async (specimen) => {
      for (const round of [1, 2, 3]) {
        const images = makeImagesDir(specimen, `images-${round}`);
        const tree = readTree(specimen.pid);
        const dumped = await dump(specimen, images);
        expectSuccess(dumped);
        expect(dumped.log).not.toContain('System V semaphores');
        await expectGone(tree, 'after the dump');
        expectSuccess(await restore(specimen, images));
        await checkRound(specimen, round);
      }
    }),
  );
}

liveCase('a restore fails when somebody else has what a program held with SEM_UNDO', () =>
  withSemaphores(['undo'], async (specimen, id) => {
    const images = makeImagesDir(specimen, 'images');
    expectSuccess(await dump(specimen, images));
    await expectGone([specimen.pid], 'after the dump');
    expect(syscall(SYS.semctl, id, 0, SETVAL, 0)).toBe(0);
    const result = await restore(specimen, images);
    expect(result.exitCode).toBe(1);
    expect(result.log).toMatch(
      /task \d+ 'sysv-semaphore': cannot take System V semaphores again \(set \d+\), which somebody else may have by now \(semop: EAGAIN/,
    );
  }),
);

liveCase('where criu may not look, the log warns of what may be held with SEM_UNDO', () =>
  withSemaphores(['undo'], async (specimen) => {
    const { exitCode, log } = dumpWithoutBpf(specimen, makeImagesDir(specimen, 'images'), ['-R']);
    expect(exitCode).toBe(0);
    expect(log).toMatch(
      /Warn {2}\(dump\): task \d+ 'sysv-semaphore' uses System V semaphores: what it holds with SEM_UNDO is given back when the dump ends it, and not taken again by a restore: criu may not see what that is/,
    );
    await checkRound(specimen, 1);
  }),
);
