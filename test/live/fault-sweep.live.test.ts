/** System calls of criu fail, one in each run, and neither the program nor a checkpoint is lost (FAULTS=n for more of them). */
import { SkippedByProgram } from '../harness/harness.ts';
import { liveCase } from '../harness/live-test.ts';
import { faultSweep, MODES, type Mode } from './fault-sweep.ts';

const faults = Number(process.env['FAULTS'] ?? 10);

async function expectNothingLost(program: string, mode: Mode, count = faults, only?: string): Promise<void> {
  if (Bun.which('strace') === null) throw new SkippedByProgram('there is no strace');
  const { findings, crashes } = await faultSweep(program, mode, count, 1, only);
  if (findings.length + crashes.length > 0) throw new Error([...crashes, ...findings].join('\n'));
}

const what = { dump: 'a dump', keep: 'a dump with --leave-running', restore: 'a restore' };
for (const program of ['link-remap', 'pty-queues', 'unix-queues', 'inet-connected']) {
  for (const mode of MODES) {
    liveCase(`${program}: ${what[mode]} in which a system call fails`, () => expectNothingLost(program, mode));
  }
}

// Connections that nobody can unlock any more would wait for ever.
liveCase('connections to others: a restore that cannot open a socket', () =>
  expectNothingLost('inet-peers', 'restore', Math.ceil(faults / 2), 'socket'),
);

// When packets pass again, what was not fetched before is reset.
liveCase('connections to others: a restore that cannot fetch one of them', () =>
  expectNothingLost('inet-peers', 'restore', Math.ceil(faults / 2), 'pidfd_getfd'),
);
