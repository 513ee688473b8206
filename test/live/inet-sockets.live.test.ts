/** Internet sockets: what they are bound and connected to, their options, and what is refused. */

import { expect } from 'bun:test';
import { explain } from '../harness/criu-command.ts';
import { dump, makeImagesDir, startProgram } from '../harness/harness.ts';
import { liveCase, liveTest } from '../harness/live-test.ts';
import { isAlive } from '../harness/processes.ts';

// A restored socket has another inode number; the program compares the rest.
const newInodes = [/\/fd\/\d+$/, /\/fdinfo\/\d+$/];
liveTest('UDP, raw, ping and listening sockets survive', 'inet-sockets', { ignore: newInodes });

liveTest('TCP connections inside the tree survive with --tcp-established', 'inet-connected', {
  dumpArgs: ['--tcp-established'],
  restoreArgs: ['--tcp-established'],
  ignore: newInodes,
});

for (const [family, argument] of [
  ['IPv4', '4'],
  ['IPv6', '6'],
  ['IPv4 in IPv6', 'm'],
] as const) {
  liveTest(`TCP connections to others survive in every state: ${family}`, 'inet-peers', {
    args: [argument],
    dumpArgs: ['--tcp-established', '--network-lock', 'nftables'],
    restoreArgs: ['--tcp-established'],
    ignore: newInodes,
  });
}

liveCase('an established TCP connection is refused, naming --tcp-established', async () => {
  const specimen = await startProgram('inet-connected');
  const result = await dump(specimen, makeImagesDir(specimen, 'images'));
  expect(result.exitCode).not.toBe(0);
  expect(result.log).toContain('tcp-established');
  if (!isAlive(specimen.pid)) throw new Error(`it ended\n${explain(result)}`);
});
