/** The harness itself: it must notice what is wrong, else a green test means nothing. */
import { expect } from 'bun:test';
import { checkRound, expectGone, expectSamePicture, startProgram } from './harness.ts';
import { liveCase } from './live-test.ts';
import { readProcSnapshot } from './proc-snapshot.ts';
import { killAll } from './processes.ts';

/** The message of the error that a call ends with. */
async function failure(call: () => Promise<unknown> | unknown): Promise<string> {
  try {
    await call();
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  return 'nothing was found wrong';
}

liveCase('what a program finds wrong reaches the test', async () => {
  const specimen = await startProgram('always-wrong');
  await checkRound(specimen, 1);
  expect(await failure(() => checkRound(specimen, 2))).toBe(
    'status: FAIL 2: always-wrong.c:6: round: got 2 (0x2), wanted 1 (0x1)',
  );
});

liveCase('a task that is still there is noticed', async () => {
  const specimen = await startProgram('static-counter');
  expect(await failure(() => expectGone([specimen.pid], 'here'))).toContain(`here: still there: ${specimen.pid}`);
  await killAll([specimen.pid]);
  expect(await failure(() => expectGone([specimen.pid], 'here'))).toBe('nothing was found wrong');
});

liveCase('a difference in /proc is noticed, and no difference is no difference', async () => {
  const specimen = await startProgram('files-plain');
  const other = await startProgram('files-plain');
  const picture = readProcSnapshot([specimen.pid]);
  expect(await failure(() => expectSamePicture(picture, readProcSnapshot([specimen.pid]), []))).toBe(
    'nothing was found wrong',
  );
  const renamed = new Map(
    [...readProcSnapshot([other.pid])].map(([key, value]) => [
      key.replaceAll(`${other.pid}`, `${specimen.pid}`),
      value,
    ]),
  );
  expect(await failure(() => expectSamePicture(picture, renamed, []))).toContain(`${specimen.pid}/cwd: was`);
});
