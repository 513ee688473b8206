/** UNIX sockets: pairs, names, connections, queues, options. */
import { expect } from 'bun:test';
import {
  checkRound,
  dump,
  expectGone,
  expectSuccess,
  makeImagesDir,
  restore,
  startProgram,
} from '../harness/harness.ts';
import { liveCase, liveTest } from '../harness/live-test.ts';
import { isAlive, readTree } from '../harness/processes.ts';
import { dumpWithoutBpf } from '../harness/without-bpf.ts';

// Inodes of sockets are new.
// From 1,000 descriptors on, only those sockets are asked for their options that are not like the one before.
liveTest('each of a thousand UNIX sockets keeps its own options', 'many-sockets');
liveTest('UNIX sockets keep peers, names, queues and options', 'unix-sockets', {
  ignore: [/\/fd\/\d+$/, /\/fdinfo\//],
});

liveCase('a dump leaves what is in the queues of UNIX sockets', async () => {
  const specimen = await startProgram('unix-sockets');
  const result = await dump(specimen, makeImagesDir(specimen, 'images'), ['--leave-running']);
  expect(result.exitCode).toBe(0);
  await checkRound(specimen, 1);
  expect(isAlive(specimen.pid)).toBe(true);
});

liveTest('UNIX sockets keep senders, credentials, empty messages, users and renamed files', 'unix-queues', {
  ignore: [/\/fd\/\d+$/, /\/fdinfo\//],
});

// Inodes of sockets are new.
liveTest('UNIX connections that nobody has accepted keep what was sent, in order', 'unix-backlog', {
  ignore: [/\/fd\/\d+$/, /\/fdinfo\//],
});

liveCase('a dump leaves what waits to be accepted', async () => {
  const specimen = await startProgram('unix-backlog');
  const result = await dump(specimen, makeImagesDir(specimen, 'images'), ['--leave-running']);
  expect(result.exitCode).toBe(0);
  await checkRound(specimen, 1);
  expect(isAlive(specimen.pid)).toBe(true);
});

liveTest('UNIX sockets show the task that connected them as their peer, with its groups', 'unix-peers', {
  ignore: [/\/fd\/\d+$/, /\/fdinfo\//],
});

liveCase('a peer that is going to be another task is told of', async () => {
  const specimen = await startProgram('unix-peers', { args: ['mixed'] });
  const dir = makeImagesDir(specimen, 'images');
  const tree = readTree(specimen.pid);
  expectSuccess(await dump(specimen, dir));
  await expectGone(tree, 'dump');
  const restored = await restore(specimen, dir);
  expectSuccess(restored);
  expect(restored.log).toMatch(
    /Warn {2}\(.*\): socket:\[\d+\]: the peer \(SO_PEERCRED\) is task \d+ from now on, instead of task \d+: one task makes all/,
  );
  await checkRound(specimen, 1);
});

const WAITS = 'a connection that nobody has accepted yet waits in it, and';
for (const [what, why] of [
  ['dead', `${WAITS} a message for it has credentials of task \\d+, which is not in the tree`],
  ['rights', `${WAITS} a message for it carries descriptors \\(SCM_RIGHTS\\)`],
  ['urgent', `${WAITS} urgent data \\(MSG_OOB\\) was sent to it`],
] as const) {
  liveCase(`what waits to be accepted and cannot be kept is refused: ${what}`, async () => {
    const specimen = await startProgram('unix-backlog-refused', { args: [what] });
    const result = await dump(specimen, makeImagesDir(specimen, 'images'));
    expect(result.exitCode).not.toBe(0);
    expect(result.log).toMatch(new RegExp(`${why}; dump when it has been accepted`));
    await checkRound(specimen, 1);
  });
}

liveCase('an urgent byte in the queue of a UNIX socket is refused', async () => {
  const specimen = await startProgram('unix-backlog-refused', { args: ['accepted'] });
  const result = await dump(specimen, makeImagesDir(specimen, 'images'));
  expect(result.exitCode).not.toBe(0);
  expect(result.log).toContain(
    'an urgent byte (MSG_OOB) waits in it, whose place cannot be seen; dump when it has been received',
  );
  await checkRound(specimen, 1);
});

liveCase('where criu may not look, what waits to be accepted is refused, and the program runs on', async () => {
  const specimen = await startProgram('unix-backlog');
  const { exitCode, log } = dumpWithoutBpf(specimen, makeImagesDir(specimen, 'images'));
  expect(exitCode).not.toBe(0);
  const remedy =
    'accept the connection first, or run criu with CAP_BPF and CAP_PERFMON on a kernel with /sys/kernel/btf/vmlinux, ' +
    'where it can see what waits';
  expect(log).toContain(`a connection in its backlog was closed by the other side before it was accepted; ${remedy}`);
  expect(log).toContain(`it waits to be accepted and has sent something, which criu may not read; ${remedy}`);
  await checkRound(specimen, 1);
});

liveTest('descriptors on their way from one task to another arrive, and sockets among them go on', 'flight-tasks', {
  dumpArgs: ['--tcp-established'],
  restoreArgs: ['--tcp-established'],
  ignore: [/\/fd\/\d+$/, /\/fdinfo\//],
});

liveCase('sockets in flight to each other are refused, and the program runs on', async () => {
  const specimen = await startProgram('flight-circle');
  const result = await dump(specimen, makeImagesDir(specimen, 'images'));
  expect(result.exitCode).not.toBe(0);
  expect(result.log).toContain('wait to be received from each other');
  await checkRound(specimen, 1);
});
