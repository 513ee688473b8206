/** Registers that hold a pattern while the task is checkpointed, and calls that it is blocked in. */
import type { Specimen } from '../harness/harness.ts';
import { liveTest } from '../harness/live-test.ts';

liveTest('exe, cmdline, environ, auxv and the vdso survive', 'mm-fields', {
  env: { CRIU_TEST_VARIABLE: 'some value' },
});

for (const kind of ['gpr', 'flags', 'sse', 'avx', 'avx512', 'x87', 'bases', 'amx']) {
  liveTest(`registers (${kind}) keep their values`, 'registers', { args: [kind] });
}

const calls = [
  'nanosleep',
  'clock_nanosleep',
  'poll-timeout',
  'poll',
  'ppoll',
  'select',
  'select-timeout',
  'read-pipe',
  'futex',
  'futex-timeout',
  'pause',
  'sigsuspend',
  'epoll_wait',
  'sigtimedwait',
  'waitpid',
];
/** signal(7) lists these as ending with EINTR after a stop, even without a handler: their thread may have gone on. */
const mayEnd = new Set(['epoll_wait', 'sigtimedwait']);

for (const call of calls) {
  const ignore = mayEnd.has(call) ? [/\/fd/, /\/task\//] : [];
  liveTest(`a blocked ${call} goes on after the restore`, 'interrupted', { args: [call], ignore });
  liveTest(`a blocked ${call} does not notice a dump with --leave-running`, 'interrupted', {
    args: [call],
    ignore,
    leaveRunning: true,
    rounds: 1,
  });
}

liveTest('no call is made twice by threads that catch all signals', 'busy-calls');
liveTest('no call is made twice by threads that catch all signals and are left running', 'busy-calls', {
  leaveRunning: true,
});

/** Dumped late in its second: made again with all of it, the call would take longer. Being stopped hides which one it is. */
async function letTimePass({ pid }: Specimen): Promise<void> {
  await Bun.sleep(600);
  process.kill(pid, 'SIGSTOP');
  process.kill(pid, 'SIGCONT');
}
for (const call of ['nanosleep', 'clock_nanosleep-relative', 'poll-timeout', 'futex-timeout']) {
  liveTest(`a blocked ${call} goes on for the rest of its time only`, 'interrupted', {
    args: [call, '1.5'],
    rounds: 1,
    beforeDump: letTimePass,
  });
}
