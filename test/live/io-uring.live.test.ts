/** Rings of io_uring: those that do nothing come back, all others are refused with what speaks against them. */
import { expect } from 'bun:test';
import { checkRound, dump, makeImagesDir, startProgram } from '../harness/harness.ts';
import { liveCase, liveTest } from '../harness/live-test.ts';
import { dumpWithoutBpf } from '../harness/without-bpf.ts';

const SQPOLL = 1 << 1;
const COOP_TASKRUN = 1 << 8;
const SQE128 = 1 << 10;
const CQE32 = 1 << 11;
const SINGLE_ISSUER = 1 << 12;
const DEFER_TASKRUN = 1 << 13;

liveTest('an idle io_uring survives, with what is in its queues', 'io-uring');
liveTest('an io_uring of one thread, with large entries', 'io-uring', {
  args: [String(COOP_TASKRUN | SQE128 | CQE32 | SINGLE_ISSUER | DEFER_TASKRUN), '8192'],
});

// The kernel makes its threads again when it needs them.
liveTest('an io_uring for which threads of the kernel have worked', 'io-uring', {
  args: ['0', '8', 'workers'],
  ignore: [/\/status\/Threads$/, /\/task\/\d+\/exists$/],
});

const REFUSALS = [
  ['busy', '1 of its requests are under way'],
  ['overflow', 'completions did not fit into its queue'],
  ['many', 'it has taken 264000 requests, and 262144 at most can be counted again'],
  ['buffers', 'buffers are registered'],
  ['buffer-ring', 'it has rings of buffers'],
  ['personality', 'it has credentials of its own (personalities)'],
  ['limits', 'the number of its workers is limited'],
  ['affinity', 'its workers have CPUs of their own'],
  ['eventfd', 'an eventfd is told of its completions'],
  ['files', 'files are registered'],
  ['registered', 'its descriptor is registered'],
] as const;

liveCase('an io_uring that is not idle, or has more than its memory, is refused', async () => {
  for (const [what, why] of REFUSALS) {
    const specimen = await startProgram('io-uring', { args: ['0', '8', what] });
    const result = await dump(specimen, makeImagesDir(specimen, 'images'));
    expect(result.exitCode).toBe(1);
    expect(result.log).toContain(`only an io_uring ring that does nothing can be made again: ${why};`);
    await checkRound(specimen, 1);
  }
});

liveCase('where criu may not look, an io_uring is refused', async () => {
  const specimen = await startProgram('io-uring');
  const { exitCode, log } = dumpWithoutBpf(specimen, makeImagesDir(specimen, 'images'));
  expect(exitCode).toBe(1);
  expect(log).toContain(
    'criu cannot see whether the io_uring ring is idle: that needs Linux 6.16, CAP_BPF, CAP_PERFMON',
  );
  // What is mapped is the same finding.
  expect(log).not.toContain('mapping');
  await checkRound(specimen, 1);
});

liveCase('an io_uring whose queue a thread of the kernel polls is refused', async () => {
  const specimen = await startProgram('io-uring', { args: [String(SQPOLL), '8', 'polled'] });
  const result = await dump(specimen, makeImagesDir(specimen, 'images'));
  expect(result.exitCode).toBe(1);
  expect(result.log).toContain('a thread of the kernel polls its queue');
  await checkRound(specimen, 1);
});
