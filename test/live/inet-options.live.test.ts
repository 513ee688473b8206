/** Options of the command line for TCP connections, and options of the sockets themselves. */

import { expect } from 'bun:test';
import { writeFileSync } from 'node:fs';
import { ImageDir } from '../../src/image/image-dir.ts';
import { NETWORK_LOCK_NFTABLES, NETWORK_LOCK_SKIP } from '../../src/resources/network-lock/methods.ts';
import { checkRound, cleanUp, dump, makeImagesDir, roundTrip, startProgram } from '../harness/harness.ts';
import { liveCase, liveTest } from '../harness/live-test.ts';
import { inNetworkNamespace, raiseLoopback } from '../harness/network-namespace.ts';

// A restored socket has another inode number; the programs compare the rest.
const newInodes = [/\/fd\/\d+$/, /\/fdinfo\/\d+$/];

liveTest('TCP connections come back closed with --tcp-close, and the rest goes on', 'inet-closed', {
  dumpArgs: ['--tcp-close'],
  restoreArgs: ['--tcp-close'],
  ignore: newInodes,
});

// The images have all of them.
liveTest('TCP connections of a dump with --tcp-established can come back closed', 'inet-closed', {
  dumpArgs: ['--tcp-established'],
  restoreArgs: ['--tcp-close'],
  ignore: newInodes,
});

liveTest('TCP connections that nobody has accepted are forgotten with --skip-in-flight', 'inet-in-flight', {
  dumpArgs: ['--skip-in-flight'],
  ignore: newInodes,
});

liveTest('a client in the tree is reset when its connection is forgotten with --skip-in-flight', 'inet-in-flight', {
  args: ['inside'],
  dumpArgs: ['--skip-in-flight', '--tcp-established'],
  restoreArgs: ['--tcp-established'],
  ignore: newInodes,
});

liveCase('a TCP connection that nobody has accepted is refused, naming --skip-in-flight', async () => {
  const specimen = await startProgram('inet-in-flight', { args: ['kept'] });
  const result = await dump(specimen, makeImagesDir(specimen, 'images'));
  expect(result.exitCode).toBe(1);
  expect(result.log).toMatch(
    /1 connections to 127\.0\.0\.1:\d+ wait for accept\(2\); try again, or forget them with --skip-in-flight/,
  );
  await checkRound(specimen, 1);
});

// This criu has one way to hold packets back, which images have under the name of CRIU's second.
const methods = [
  { method: 'iptables', used: NETWORK_LOCK_NFTABLES },
  { method: 'nftables', used: NETWORK_LOCK_NFTABLES },
  { method: 'skip', used: NETWORK_LOCK_SKIP },
] as const;
for (const { method, used } of methods) {
  // Without a lock the peer must be silent: what it says before the restore is answered by a reset.
  liveTest(`TCP connections keep their options, and what was negotiated: --network-lock ${method}`, 'inet-options', {
    args: method === 'skip' ? ['quiet'] : [],
    dumpArgs: ['--tcp-established', '--network-lock', method],
    restoreArgs: ['--tcp-established'],
    afterRestore: async (_, images) => {
      expect(ImageDir.open(images).readOne('inventory').network_lock_method).toBe(used);
    },
    ignore: newInodes,
  });
}

liveTest('TCP connections to others survive in every state with --network-lock iptables', 'inet-peers', {
  args: ['4'],
  dumpArgs: ['--tcp-established', '--network-lock', 'iptables'],
  restoreArgs: ['--tcp-established'],
  ignore: newInodes,
});

const extensions = ['tcp_timestamps', 'tcp_sack', 'tcp_window_scaling'];
/** What the network namespace offers in new connections. */
function offer(value: 0 | 1): void {
  for (const name of extensions) writeFileSync(`/proc/sys/net/ipv4/${name}`, String(value));
}

liveCase('TCP connections that were made without extensions have none afterwards', () =>
  inNetworkNamespace(async () => {
    raiseLoopback();
    offer(0);
    await roundTrip('inet-options', {
      args: ['bare'],
      beforeDump: async () => offer(1),
      dumpArgs: ['--tcp-established'],
      restoreArgs: ['--tcp-established'],
      ignore: newInodes,
    });
    await cleanUp();
  }),
);
