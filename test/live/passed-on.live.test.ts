/**
 * Descriptors of each kind in tasks that did not open them, in one or in two of them, when who opened them has ended. The
 * program uses each of them after each round, and compares what two tasks have.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cleanUp, makeFolder, roundTrip } from '../harness/harness.ts';
import { liveCase, liveTest } from '../harness/live-test.ts';
import { inMountNamespace } from '../harness/mount-namespace.ts';
import { allowPing, inNetworkNamespace, raiseLoopback, silenceNewDevices } from '../harness/network-namespace.ts';

// Numbers of inodes, pidfs, terminals, and names of deleted files are new ones; the program compares what counts.
const ignore = [/\/fd\/\d+$/, /\/fdinfo\/\d+$/];

liveTest('events that were passed on: eventfd, signalfd, epoll, inotify, fanotify, pidfd', 'passed-events', { ignore });
liveTest('timers that were passed on keep their deadlines, and count all expirations', 'passed-timers', { ignore });
liveCase('sockets that were passed on: UNIX, TCP, UDP, UDP-Lite, raw, ping, packet, netlink; and a TUN device', () =>
  inNetworkNamespace(async () => {
    raiseLoopback();
    allowPing();
    silenceNewDevices();
    await roundTrip('passed-sockets', { dumpArgs: ['--tcp-established'], restoreArgs: ['--tcp-established'], ignore });
    await cleanUp();
  }),
);

/** A block device with content, or why there is none. */
function attachLoopDevice(): string | undefined {
  const file = join(makeFolder('loop'), 'content');
  writeFileSync(file, new Uint8Array(65536).fill(98));
  const { exitCode, stdout, stderr } = Bun.spawnSync(['losetup', '-f', '--show', file], { stderr: 'pipe' });
  if (exitCode === 0) return stdout.toString().trim();
  console.log(`skipped in part: a block device with content: ${stderr}`);
  return undefined;
}

liveCase(
  'files that were passed on: named, deleted, linked, folders, /proc, devices, with locks and a lease',
  async () => {
    const device = attachLoopDevice();
    try {
      await roundTrip('passed-files', {
        args: device === undefined ? [] : [device],
        dumpArgs: ['--file-locks', '--link-remap'],
        restoreArgs: ['--file-locks'],
        ignore,
      });
    } finally {
      await cleanUp();
      if (device !== undefined) Bun.spawnSync(['losetup', '-d', device]);
    }
  },
);

liveCase('pipes, terminals, memory, maps, namespaces and message queues that were passed on', () =>
  inMountNamespace(async () => {
    const queues = makeFolder('queues');
    const { exitCode, stderr } = Bun.spawnSync(['mount', '-t', 'mqueue', 'none', queues], { stderr: 'pipe' });
    if (exitCode !== 0) console.log(`skipped in part: message queues: ${stderr}`);
    await roundTrip('passed-memory', { args: [exitCode === 0 ? queues : join(queues, 'none')], ignore });
  }),
);
