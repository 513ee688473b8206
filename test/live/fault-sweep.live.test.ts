/** System calls of criu fail, one in each run, and neither the program nor a checkpoint is lost (FAULTS=n for more of them). */
import { SkippedByProgram } from '../harness/harness.ts';
import { liveCase } from '../harness/live-test.ts';
import { faultSweep, MODES } from './fault-sweep.ts';

const faults = Number(process.env['FAULTS'] ?? 10);

const what = { dump: 'a dump', keep: 'a dump with --leave-running', restore: 'a restore' };
for (const program of ['link-remap', 'pty-queues', 'unix-queues', 'inet-connected']) {
  for (const mode of MODES) {
    liveCase(`${program}: ${what[mode]} in which a system call fails`, async () => {
      if (Bun.which('strace') === null) throw new SkippedByProgram('there is no strace');
      const { findings, crashes } = await faultSweep(program, mode, faults, 1);
      if (findings.length + crashes.length > 0) throw new Error([...crashes, ...findings].join('\n'));
    });
  }
}
