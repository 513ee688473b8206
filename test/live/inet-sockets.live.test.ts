/** Internet sockets: what they are bound and connected to, their options, and what is refused. */

import { expect } from 'bun:test';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { IPPROTO_UDP } from '../../src/linux/abi/inet.ts';
import { explain } from '../harness/criu-command.ts';
import {
  checkRound,
  cleanUp,
  dump,
  expectGone,
  expectSuccess,
  makeImagesDir,
  restore,
  roundTrip,
  SkippedByProgram,
  type Specimen,
  startProgram,
} from '../harness/harness.ts';
import { liveCase, liveTest } from '../harness/live-test.ts';
import { dropPackets, inNetworkNamespace, inQuietNamespace, raiseLoopback } from '../harness/network-namespace.ts';
import { isAlive, killAll, readState, readTree } from '../harness/processes.ts';

// A restored socket has another inode number; the program compares the rest.
const newInodes = [/\/fd\/\d+$/, /\/fdinfo\/\d+$/];
liveTest('UDP, raw, ping and listening sockets survive', 'inet-sockets', {
  within: inQuietNamespace,
  ignore: newInodes,
});

liveTest('UDP datagrams that nobody has received yet survive', 'udp-queued', { ignore: newInodes });

liveCase('UDP datagrams that were sent to groups survive', () =>
  inNetworkNamespace(async () => {
    const device =
      'ip link set lo up && ip link add v0 type veth peer name v1 && ip link set v1 up && ip link set v0 up && ' +
      'ip addr add 10.77.0.1/24 dev v0 && ip addr add fd00::1/64 dev v0 nodad';
    const { exitCode, stderr } = Bun.spawnSync(['sh', '-c', device], { stderr: 'pipe' });
    if (exitCode !== 0) throw new SkippedByProgram(`no pair of network devices: ${stderr}`);
    await roundTrip('udp-group', { ignore: newInodes });
    await cleanUp();
  }),
);

liveCase('a restore tells of datagrams that have not arrived again', () =>
  inNetworkNamespace(async () => {
    raiseLoopback();
    const specimen = await startProgram('udp-queued', { args: ['one'] });
    const dir = makeImagesDir(specimen, 'images');
    const tree = readTree(specimen.pid);
    expectSuccess(await dump(specimen, dir));
    await expectGone(tree, 'dump');
    dropPackets(IPPROTO_UDP);
    const result = await restore(specimen, dir);
    expectSuccess(result);
    expect(result.log).toMatch(
      /Warn {2}\(restore\): socket.*: 3 of 3 datagrams that nobody had received yet are lost: they were sent again, and something/,
    );
    await cleanUp();
  }),
);

liveTest('TCP connections inside the tree survive with --tcp-established', 'inet-connected', {
  dumpArgs: ['--tcp-established'],
  restoreArgs: ['--tcp-established'],
  ignore: newInodes,
});

for (const program of ['inet-sockets', 'udp-queued', 'inet-connected', 'inet-options']) {
  liveTest(`sockets survive in a task that did not open them: ${program}`, program, {
    args: ['passed'],
    dumpArgs: ['--tcp-established'],
    restoreArgs: ['--tcp-established'],
    ignore: newInodes,
  });
}

const established = ['--tcp-established', '--network-lock', 'nftables'];

for (const [family, argument] of [
  ['IPv4', '4'],
  ['IPv6', '6'],
  ['IPv4 in IPv6', 'm'],
] as const) {
  liveTest(`TCP connections to others survive in every state: ${family}`, 'inet-peers', {
    args: [argument],
    dumpArgs: established,
    restoreArgs: ['--tcp-established'],
    ignore: newInodes,
  });
}

for (const [who, has] of [
  ['passed', 'a child alone has them'],
  ['ended', 'the task that opened them has ended'],
  ['shared', 'a child has them too'],
] as const) {
  liveTest(`TCP connections to others survive in every state: ${has}`, 'inet-peers', {
    args: ['4', who],
    dumpArgs: established,
    restoreArgs: ['--tcp-established'],
    ignore: newInodes,
  });
}

/** An action script that fails at this hook. */
function failAt(hook: string, { dir }: Specimen): string[] {
  const script = join(dir, `fail-at-${hook}`);
  writeFileSync(script, `#!/bin/sh\ntest "$CRTOOLS_SCRIPT_ACTION" != ${hook}\n`, { mode: 0o755 });
  return ['--action-script', script];
}

liveTest('TCP connections go on after a dump with --leave-running', 'inet-peers', {
  args: ['4'],
  rounds: 2,
  leaveRunning: true,
  dumpArgs: established,
});

liveCase('TCP connections go on after a dump that ends with a script that fails', async () => {
  const specimen = await startProgram('inet-peers', { args: ['4'] });
  const result = await dump(specimen, makeImagesDir(specimen, 'images'), [
    ...established,
    ...failAt('post-dump', specimen),
  ]);
  expect(result.exitCode).not.toBe(0);
  expect(result.log).toContain('exited with 1 in hook post-dump');
  await checkRound(specimen, 1);
});

/** An action script that has the peer of test/programs/inet-lost-reset.c reset the connection while the network is locked. */
function resetWhileLocked({ dir }: Specimen): string[] {
  const script = join(dir, 'reset-while-locked');
  const body = `kill -USR1 $(cat ${dir}/peer)\nuntil test -e ${dir}/reset; do sleep 0.01; done`;
  writeFileSync(script, `#!/bin/sh\n[ "$CRTOOLS_SCRIPT_ACTION" = post-dump ] || exit 0\n${body}\n`, { mode: 0o755 });
  return ['--action-script', script];
}

for (const end of ['--leave-running', 'a restore']) {
  liveCase(`a TCP connection that is reset during the dump is so after ${end}`, async () => {
    const specimen = await startProgram('inet-lost-reset');
    const images = makeImagesDir(specimen, 'images');
    const args = [...established, ...resetWhileLocked(specimen)];
    if (end === '--leave-running') args.push(end);
    expectSuccess(await dump(specimen, images, args));
    if (end === 'a restore') {
      await expectGone([specimen.pid], 'after the dump');
      expectSuccess(await restore(specimen, images, ['--tcp-established']));
    }
    await checkRound(specimen, 1);
  });
}

liveCase('TCP connections wait for the restore when the tree is left stopped, and is killed afterwards', async () => {
  const specimen = await startProgram('inet-peers', { args: ['4'] });
  const tree = readTree(specimen.pid);
  const images = makeImagesDir(specimen, 'images');
  const result = await dump(specimen, images, [...established, '--leave-stopped']);
  expectSuccess(result);
  expect(tree.map(readState)).toEqual(tree.map(() => 'T'));
  expect(result.log).toContain('they do not work any more if it is continued here');
  await killAll(tree);
  expectSuccess(await restore(specimen, images, ['--tcp-established', '--leave-stopped']));
  expect(tree.map(readState)).toEqual(tree.map(() => 'T'));
  for (const pid of tree) process.kill(pid, 'SIGCONT');
  await checkRound(specimen, 1);
});

liveCase('TCP connections stay locked when a restore fails, until one succeeds', async () => {
  const specimen = await startProgram('inet-peers', { args: ['4'] });
  const images = makeImagesDir(specimen, 'images');
  expectSuccess(await dump(specimen, images, established));
  await expectGone([specimen.pid], 'after the dump');
  const failed = await restore(specimen, images, ['--tcp-established', ...failAt('post-restore', specimen)]);
  expect(failed.exitCode).not.toBe(0);
  expect(failed.log).toContain('exited with 1 in hook post-restore');
  await expectGone([specimen.pid], explain(failed));
  expectSuccess(await restore(specimen, images, ['--tcp-established']));
  await checkRound(specimen, 1);
});

liveCase('an established TCP connection is refused, naming --tcp-established', async () => {
  const specimen = await startProgram('inet-connected');
  const result = await dump(specimen, makeImagesDir(specimen, 'images'));
  expect(result.exitCode).not.toBe(0);
  expect(result.log).toContain('tcp-established');
  if (!isAlive(specimen.pid)) throw new Error(`it ended\n${explain(result)}`);
});

liveCase('a TCP connection with an urgent byte is refused, and the program runs on', async () => {
  const specimen = await startProgram('inet-urgent');
  const result = await dump(specimen, makeImagesDir(specimen, 'images'), ['--tcp-established']);
  expect(result.exitCode).not.toBe(0);
  expect(result.log).toContain(
    'an urgent byte (MSG_OOB) waits in it, which cannot be put back; dump when it has been received',
  );
  await checkRound(specimen, 1);
});

liveCase('TCP sockets with keys are refused, all of them, and the program runs on', async () => {
  const specimen = await startProgram('tcp-signed');
  const result = await dump(specimen, makeImagesDir(specimen, 'images'), ['--tcp-established']);
  expect(result.exitCode).not.toBe(0);
  const refusals = result.log.match(/its segments are signed \(TCP_MD5SIG\), and keys are not supported yet/g);
  // Listener, client, server; the log and the summary.
  expect(new Set(result.log.match(/fd \d+[^\n]*TCP_MD5SIG/g)?.map((line) => line.slice(0, 5))).size).toBe(3);
  expect(refusals).not.toBeNull();
  await checkRound(specimen, 1);
});

liveCase('a datagram that is being put together is refused, and the program runs on', async () => {
  const specimen = await startProgram('corked');
  const result = await dump(specimen, makeImagesDir(specimen, 'images'));
  expect(result.exitCode).not.toBe(0);
  expect(result.log).toContain('UDP_CORK or MSG_MORE');
  await checkRound(specimen, 1);
});
