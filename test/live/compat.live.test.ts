/**
 * Programs of 32 bits: those of other tests that are portable, built with -m32, and what only they have. To run all other
 * live tests with them: CRIU_TEST_BITS=32.
 */
import { buildProgram } from '../harness/build-program.ts';
import { isInterop, isOriginal } from '../harness/criu-command.ts';
import { roundTrip, skipUnless32 } from '../harness/harness.ts';
import { liveCase, liveTest as liveTestOf64 } from '../harness/live-test.ts';

/** Restored by the original, files have O_LARGEFILE, and the address space is one of 64 bits, with its [vsyscall]. */
const ignore = isInterop || isOriginal ? [/\/fdinfo\//, /\/vma\/ffffffffff600000/] : [];

const liveTest: typeof liveTestOf64 = (name, program, options) =>
  liveTestOf64(`32 bits: ${name}`, program, { ignore, ...options, bits: 32 });

for (const kind of ['gpr', 'flags', 'sse', 'avx', 'x87', 'segments']) {
  liveTest(`registers (${kind}) keep their values`, 'registers-32', { args: [kind] });
}
liveTest('a static program counts on', 'static-counter');
liveTest('exe, cmdline, environ, auxv and the vdso survive', 'mm-fields', {
  env: { CRIU_TEST_VARIABLE: 'some value' },
});
liveTest('threads keep all that is their own', 'threads', { args: ['20'] });
liveTest('signals stay pending with their content, and actions are kept', 'signals');
liveTest('a task in a handler on its alternate stack goes on', 'signals-on-altstack');
liveTest('timers go on', 'timers', { ignore: [/(SigPnd|ShdPnd)$/] });
liveTest('a tree comes back', 'tree');
liveTest('memory keeps its content', 'mem-private');
liveTest('memory keeps its content with --run-at-once', 'mem-private', { restoreArgs: ['--run-at-once'] });
liveTest('an address space of 3 GiB stays one', 'limit-3gb');
liveTest('an AIO ring with events in it goes on where it was', 'aio-ring');
liveTest('files keep position, flags and content', 'files-regular');

/** Calls of each kind: with a restart block, restarted by the kernel, and with times of 32 bits. */
for (const call of ['nanosleep', 'clock_nanosleep-relative', 'poll-timeout', 'futex-timeout', 'select', 'read-pipe']) {
  liveTest(`a blocked ${call} goes on after the restore`, 'interrupted', { args: [call] });
}
liveTest('a blocked nanosleep does not notice a dump with --leave-running', 'interrupted', {
  args: ['nanosleep'],
  leaveRunning: true,
  rounds: 1,
});

liveTest('no call is made twice by threads that catch all signals', 'busy-calls', { leaveRunning: true });

for (const bits of [64, 32] as const) {
  liveCase(`programs of both kinds in a tree whose root has ${bits} bits`, async () => {
    skipUnless32();
    await roundTrip('mixed-tree', { bits, args: [buildProgram('mixed-tree', bits === 64 ? 32 : 64)] });
  });
}
