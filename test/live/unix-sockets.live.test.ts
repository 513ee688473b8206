/** UNIX sockets: pairs, names, connections, queues, options. */
import { expect } from 'bun:test';
import { checkRound, dump, makeImagesDir, startProgram } from '../harness/harness.ts';
import { liveCase, liveTest } from '../harness/live-test.ts';
import { isAlive } from '../harness/processes.ts';

// Inodes of sockets are new.
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

liveCase('sockets in flight to each other are refused, and the program runs on', async () => {
  const specimen = await startProgram('flight-circle');
  const result = await dump(specimen, makeImagesDir(specimen, 'images'));
  expect(result.exitCode).not.toBe(0);
  expect(result.log).toContain('wait to be received from each other');
  await checkRound(specimen, 1);
});
