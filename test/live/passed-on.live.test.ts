/**
 * Descriptors of each kind in tasks that did not open them, in one or in two of them, when who opened them has ended. The
 * program uses each of them after each round, and compares what two tasks have.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cleanUp, makeFolder, roundTrip } from '../harness/harness.ts';
import { liveCase, liveTest } from '../harness/live-test.ts';
import { inMountNamespace } from '../harness/mount-namespace.ts';
import { inQuietNamespace } from '../harness/network-namespace.ts';

// Numbers of inodes, pidfs, terminals, and names of deleted files are new ones; the program compares what counts.
const ignore = [/\/fd\/\d+$/, /\/fdinfo\/\d+$/];

liveTest('events that were passed on: eventfd, signalfd, epoll, inotify, fanotify, pidfd', 'passed-events', { ignore });
liveTest('timers that were passed on keep their deadlines, and count all expirations', 'passed-timers', { ignore });
liveTest(
  'sockets that were passed on: UNIX, TCP, UDP, UDP-Lite, raw, ping, packet, netlink; and a TUN device',
  'passed-sockets',
  {
    within: inQuietNamespace,
    dumpArgs: ['--tcp-established'],
    restoreArgs: ['--tcp-established'],
    ignore,
  },
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

/** Message queues are files of their namespace, in a folder where it is mounted. */
function withQueues(body: () => Promise<void>): Promise<void> {
  return inMountNamespace(async () => {
    const { exitCode, stderr } = Bun.spawnSync(['mount', '-t', 'mqueue', 'none', '/mnt'], { stderr: 'pipe' });
    if (exitCode !== 0) console.log(`skipped in part: message queues: ${stderr}`);
    await body();
  });
}

liveTest('pipes, terminals, memory, maps, namespaces and message queues that were passed on', 'passed-memory', {
  within: withQueues,
  args: ['/mnt'],
  ignore,
});
