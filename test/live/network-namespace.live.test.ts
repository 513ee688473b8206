/** Trees with a network namespace of their own. The tests make it; nothing here touches the network of the machine. */
import { expect } from 'bun:test';
import { chmodSync, closeSync, openSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { criuBinary, spawnCriu } from '../harness/criu-command.ts';
import {
  checkRound,
  cleanUp,
  dump,
  expectGone,
  expectSuccess,
  makeImagesDir,
  restore,
  SkippedByProgram,
  type Specimen,
  startProgram,
} from '../harness/harness.ts';
import { liveCase, liveTest } from '../harness/live-test.ts';
import { inNetworkNamespace } from '../harness/network-namespace.ts';
import { readTree } from '../harness/processes.ts';

const ARGS = { dumpArgs: ['--tcp-established', '--network-lock', 'nftables'], restoreArgs: ['--tcp-established'] };
/** The namespace is a new one. */
const TCP = { ...ARGS, ignore: [/\/ns\/net$/] };

liveTest('a network namespace comes back with addresses, routes, rules, settings, filters', 'network-namespace', {
  ...TCP,
  args: ['filter'],
});
liveTest('a network namespace comes back with what CRIU loses, and another device', 'network-namespace', {
  ...TCP,
  args: ['more', 'device'],
});
liveTest('a network namespace is as it was after a dump with --leave-running', 'network-namespace', {
  ...ARGS,
  args: ['more', 'filter'],
  leaveRunning: true,
});

/** Runs a command of the shell in the namespace behind a path; its output, and its status at the end. */
function runIn(path: string, command: string): string {
  const { stdout, exitCode } = Bun.spawnSync(['nsenter', `--net=${path}`, 'sh', '-c', `${command} 2>&1`]);
  return `${stdout}${exitCode}`;
}

/** A dump after which the tree is gone. */
async function checkpoint(specimen: Specimen, images: string, args: readonly string[] = []): Promise<number[]> {
  const tree = readTree(specimen.pid);
  expectSuccess(await dump(specimen, images, args));
  await expectGone(tree, 'after the dump');
  return tree;
}

/** Whether a host answers: a port where nobody listens refuses at once, and a packet that is dropped waits in vain. */
function isAnswering(path: string, address: string, seconds = 10): boolean {
  const { exitCode } = Bun.spawnSync([
    ...['nsenter', `--net=${path}`, 'timeout', `${seconds}`, 'bash', '-c', `exec 3<>/dev/tcp/${address}/9`],
  ]);
  return exitCode === 1;
}

const LOCALHOST = '127.0.0.1';

const networkOf = (pid: number) => readlinkSync(`/proc/${pid}/ns/net`);

/** A program that lives in a namespace which stays when it is gone; `path` leads there. */
async function startInside(program: string, setUp = 'ip link set lo up') {
  if (Bun.which('nsenter') === null || Bun.which('ip') === null)
    throw new SkippedByProgram('there is no nsenter or ip');
  const fd = { kept: -1 };
  const specimen = await inNetworkNamespace(async () => {
    expect(Bun.spawnSync(['sh', '-c', setUp]).exitCode).toBe(0);
    fd.kept = openSync('/proc/self/ns/net', 'r');
    return await startProgram(program);
  });
  const path = `/proc/${process.pid}/fd/${fd.kept}`;
  return { specimen, path, network: networkOf(specimen.pid), [Symbol.dispose]: () => closeSync(fd.kept) };
}

/** An action script that writes down each hook and its own namespace, and does something in one of them. */
function makeScript(specimen: Specimen, hook: string, action: string): string {
  const script = join(specimen.dir, 'script');
  const note = `echo "$CRTOOLS_SCRIPT_ACTION $(readlink /proc/self/ns/net)" >> ${specimen.dir}/hooks`;
  writeFileSync(script, `#!/bin/sh\n${note}\n[ "$CRTOOLS_SCRIPT_ACTION" != ${hook} ] || ${action}\n`);
  chmodSync(script, 0o755);
  return script;
}

const readHooks = (specimen: Specimen) => readFileSync(join(specimen.dir, 'hooks'), 'utf8').trimEnd().split('\n');

liveCase('a namespace is locked from the dump to the restore, which joins it with --join-ns', async () => {
  using inside = await startInside('inet-sockets');
  const { specimen, path, network } = inside;
  const images = makeImagesDir(specimen, 'images');
  expect(isAnswering(path, LOCALHOST)).toBe(true);
  const tree = await checkpoint(specimen, images);
  expect(runIn(path, 'nft list tables')).toStartWith('table inet CRIU-');
  expect(isAnswering(path, LOCALHOST, 0.5)).toBe(false);
  const script = makeScript(specimen, 'post-restore', 'exit 3');
  const failed = await restore(specimen, images, ['--join-ns', `net:${path}`, '--action-script', script]);
  expect(failed.log).toContain('exited with 3 in hook post-restore');
  await expectGone(tree, 'after the failure');
  expect(runIn(path, 'nft list tables')).toStartWith('table inet CRIU-');
  expectSuccess(await restore(specimen, images, ['--join-ns', `net:${path}`]));
  expect(networkOf(specimen.pid)).toBe(network);
  expect(runIn(path, 'nft list tables')).toBe('0');
  expect(isAnswering(path, LOCALHOST)).toBe(true);
  await checkRound(specimen, 1);
});

liveCase('datagrams come back into a namespace that is locked', async () => {
  using inside = await startInside('udp-queued');
  const { specimen, path } = inside;
  const images = makeImagesDir(specimen, 'images');
  await checkpoint(specimen, images);
  expectSuccess(await restore(specimen, images, ['--join-ns', `net:${path}`]));
  await checkRound(specimen, 1);
});

liveCase('a tree of the host is restored in the namespace of a process with --join-ns', async () => {
  using other = await startInside('static-counter');
  const specimen = await startProgram('static-counter');
  const images = makeImagesDir(specimen, 'images');
  await checkpoint(specimen, images);
  const nobody = await restore(specimen, images, ['--join-ns', 'net:4194303']);
  expect(nobody.exitCode).toBe(1);
  expect(nobody.log).toContain(
    'the namespace of --join-ns net:4194303: cannot be opened (/proc/4194303/ns/net: ENOENT)',
  );
  const wrong = await restore(specimen, images, ['--join-ns', 'net:/dev/null']);
  expect(wrong.log).toContain('the namespace of --join-ns net:/dev/null: cannot be entered (setns: EINVAL)');
  expectSuccess(await restore(specimen, images, ['--join-ns', `net:${other.specimen.pid}`]));
  expect(networkOf(specimen.pid)).toBe(other.network);
  await checkRound(specimen, 1);
});

liveCase('a script fills a namespace that is left empty, and runs where criu lives', async () => {
  using inside = await startInside('static-counter');
  const { specimen, network } = inside;
  const images = makeImagesDir(specimen, 'images');
  const script = makeScript(specimen, 'setup-namespaces', 'nsenter -t $CRTOOLS_INIT_PID -n ip link set lo up');
  await checkpoint(specimen, images, ['--empty-ns', 'net', '--action-script', script]);
  expectSuccess(await restore(specimen, images, ['--empty-ns', 'net', '--action-script', script]));
  expect([network, networkOf(process.pid)]).not.toContain(networkOf(specimen.pid));
  expect(runIn(`/proc/${specimen.pid}/ns/net`, 'ip -o addr')).toContain('127.0.0.1/8');
  const own = networkOf(process.pid);
  const hooks = ['pre-dump', 'network-lock', 'post-dump', 'pre-restore', 'setup-namespaces', 'post-setup-namespaces'];
  const last = ['post-restore', 'network-unlock', 'pre-resume', 'post-resume'];
  expect(readHooks(specimen)).toEqual([...hooks, ...last].map((hook) => `${hook} ${own}`));
  await checkRound(specimen, 1);
});

liveCase('a namespace of others is found by its descriptor', async () => {
  using inside = await startInside('static-counter', 'ip link add v0 type veth peer name v1');
  const { specimen, path, network } = inside;
  const images = makeImagesDir(specimen, 'images');
  const inode = /\d+/.exec(network)?.[0];
  await checkpoint(specimen, images, ['--external', `net[${inode}]:pod`]);
  expect(runIn(path, 'nft list tables')).toBe('0');
  const refused = await restore(specimen, images);
  expect(refused.exitCode).toBe(1);
  expect(refused.log).toContain(
    'the external network namespace pod: is not there; open it and give its descriptor N with --inherit-fd fd[N]:pod, ' +
      'or use --join-ns net:FILE',
  );
  const command = `exec 9<${path}; exec ${criuBinary} restore -d -D ${images} -v4 -o r.log --inherit-fd 'fd[9]:pod'`;
  expect(Bun.spawnSync(['sh', '-c', command]).exitCode).toBe(0);
  expect(networkOf(specimen.pid)).toBe(network);
  await checkRound(specimen, 1);
});

liveCase('a pair of devices leads to the namespace of criu again, into a bridge, or to nowhere when that fails', () =>
  inNetworkNamespace(async () => {
    const own = '/proc/self/ns/net';
    const must = (path: string, command: string) => expect(runIn(path, command)).toBe('0');
    must(own, 'ip link add br0 type bridge && ip link set br0 up && ip addr add 10.55.0.1/24 dev br0');
    const specimen = await inNetworkNamespace(() => startProgram('static-counter'));
    must(own, `ip link add outer type veth peer name eth0 && ip link set eth0 netns ${specimen.pid}`);
    must(`/proc/${specimen.pid}/ns/net`, 'ip addr add 10.55.0.2/24 dev eth0 && ip link set eth0 up');
    must(own, 'ip link set outer master br0 up');
    expect(isAnswering(own, '10.55.0.2')).toBe(true);
    const images = makeImagesDir(specimen, 'images');
    await checkpoint(specimen, images);
    must(own, 'ip link add other type bridge');
    const taken = await restore(specimen, images, ['--external', 'veth[eth0]:other']);
    expect(taken.log).toContain(
      'network device other, the other end of eth0: cannot be made: there is one of that name; ' +
        'remove it, or give another name with --external veth[eth0]:NAME',
    );
    const wrong = await restore(specimen, images, ['--external', 'veth[eth0]:outer@br1']);
    expect(wrong.log).toContain(
      'network device outer, the other end of a device of the tree: cannot be put into the bridge br1 (ENODEV)',
    );
    await expectGone([specimen.pid], 'after the failure');
    expect(runIn(own, 'ip link show outer')).not.toContain('outer@');
    expectSuccess(await restore(specimen, images, ['--external', 'veth[eth0]:outer@br0']));
    expect(isAnswering(own, '10.55.0.2')).toBe(true);
    await checkRound(specimen, 1);
    await cleanUp();
  }),
);

liveCase('what cannot be saved of a namespace is refused by name, and all is left as it was', async () => {
  const setUp =
    'ip link set lo up && ip link add br0 type bridge && ip link add v0 type veth peer name v1 ' +
    '&& tc qdisc add dev lo root handle 1: pfifo limit 5 && ip xfrm policy add src 10.0.0.0/8 dst 10.0.0.0/8 dir out';
  using inside = await startInside('static-counter', setUp);
  const { specimen, path } = inside;
  const picture = () => runIn(path, 'ip -d link; ip addr; ip route; nft list ruleset');
  const before = picture();
  const script = makeScript(specimen, 'none', 'true');
  const result = await dump(specimen, makeImagesDir(specimen, 'images'), ['--action-script', script]);
  expect(result.exitCode).toBe(1);
  const remedy = 'leave the namespace to others: --empty-ns net, or --external net[INODE]:NAME';
  expect(result.log).toContain(
    `network device br0 (bridge): cannot be dumped: devices of this kind are not supported yet by this criu; ${remedy}`,
  );
  expect(result.log).toContain('queueing disciplines (tc qdisc) of the network namespace: cannot be dumped');
  expect(result.log).toContain('IPsec states or policies (ip xfrm) of the network namespace: cannot be dumped');
  expect(picture()).toBe(before);
  expect(readHooks(specimen).map((line) => line.split(' ')[0])).toEqual(['pre-dump', 'network-lock', 'network-unlock']);
  await checkRound(specimen, 1);
});

liveCase('a hook network-lock that fails ends the dump, and packets pass', async () => {
  using inside = await startInside('static-counter');
  const { specimen, path } = inside;
  const script = makeScript(specimen, 'network-lock', 'exit 1');
  const result = await dump(specimen, makeImagesDir(specimen, 'images'), ['--action-script', script]);
  expect(result.exitCode).toBe(1);
  expect(result.log).toContain('exited with 1 in hook network-lock');
  expect(runIn(path, 'nft list tables')).toBe('0');
  expect(isAnswering(path, LOCALHOST)).toBe(true);
  await checkRound(specimen, 1);
});

liveCase('a dump that is killed leaves no lock behind', async () => {
  using inside = await startInside('static-counter');
  const { specimen, path } = inside;
  for (let delayMs = 10; delayMs <= 150; delayMs += 10) {
    const imagesDir = makeImagesDir(specimen, `images-${delayMs}`);
    const args = ['dump', '-R', '-t', String(specimen.pid), '-D', imagesDir, '-v4', '-o', 'dump.log'];
    const child = spawnCriu({ args, imagesDir, logName: 'dump.log' });
    await Bun.sleep(delayMs);
    child.kill('SIGKILL');
    await child.exited;
    expect(runIn(path, 'nft list tables')).toBe('0');
  }
  await checkRound(specimen, 1);
});

liveCase('several network namespaces in a tree, or in a task, are refused', async () => {
  const specimen = await startProgram('network-namespaces');
  const result = await dump(specimen, makeImagesDir(specimen, 'images'));
  const child = readTree(specimen.pid)[1];
  expect(result.log).toContain(
    `task ${child} 'network-namespa': cannot be dumped: it is in another network namespace than the root of the tree: ` +
      'several network namespaces in a tree are not supported yet by this criu; dump it as a tree of its own',
  );
  await checkRound(specimen, 1);
  const threaded = await startProgram('network-namespaces', { args: ['thread'] });
  const refused = await dump(threaded, makeImagesDir(threaded, 'images'));
  expect(refused.log).toMatch(
    /threads \(\d+\) are in another network namespace than the first one: the images have one/,
  );
  await checkRound(threaded, 1);
});
