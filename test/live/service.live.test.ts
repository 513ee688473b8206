/**
 * The service: many clients, clients that are not root, that dump themselves or send garbage, and `--daemon`.
 */
import { expect } from 'bun:test';
import { chmodSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { decode, encode } from '../../src/image/codec.ts';
import { type CriuOpts, CriuReq, CriuReqType, CriuResp } from '../../src/image/gen/rpc.ts';
import { parseImage } from '../../src/image/image-file.ts';
import { serializeImage } from '../../src/image/serialize-image.ts';
import { CAP_CHECKPOINT_RESTORE } from '../../src/linux/abi/capability.ts';
import { criuBinary } from '../harness/criu-command.ts';
import {
  checkRound,
  dump,
  expectGone,
  makeFolder,
  makeImagesDir,
  restore,
  type Specimen,
  startProgram,
  trackProcess,
} from '../harness/harness.ts';
import { liveCase } from '../harness/live-test.ts';
import { readTree } from '../harness/processes.ts';
import { RpcClient, requestOptions } from '../harness/rpc-client.ts';
import { Service } from '../harness/service.ts';

const { DUMP, RESTORE, VERSION } = CriuReqType;

const parentOf = (pid: number) => Number(/^PPid:\t(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);

/** Has the program rpc-client send a request in its next round; the answer comes from `answerOf`. */
function tellClient(client: Specimen, request: string, round: number, content: CriuReq): void {
  writeFileSync(request, encode(CriuReq, content));
  writeFileSync(`${client.status}.go${round}`, '');
}

const answerOf = (client: Specimen, round: number) =>
  decode(CriuResp, readFileSync(`${client.status}.answer${round}`), 'answer');

liveCase('a client of the service dumps itself, and is answered again when it is restored', async () => {
  const service = await Service.start();
  const images_dir = makeFolder('self');
  const request = join(service.dir, 'request');
  const client = await startProgram('rpc-client', { args: [service.address, request] });
  for (const round of [1, 2]) {
    tellClient(client, request, round, { type: DUMP, opts: requestOptions({ images_dir, log_level: 4 }) });
    await expectGone([client.pid], 'after the dump of itself');
    expect((await restore(client, images_dir)).exitCode).toBe(0);
    await checkRound(client, round);
    expect(answerOf(client, round)).toEqual({ type: DUMP, success: true, dump: { restored: true } });
  }
  tellClient(client, request, 3, { type: DUMP, opts: requestOptions({ images_dir, leave_running: true }) });
  await checkRound(client, 3);
  expect(answerOf(client, 3).dump).toEqual({ restored: false });
  expect(await service.stop()).toBe(0);
  expect(existsSync(service.address)).toBe(false);
});

liveCase('a client that is not root can do what its user can do, and nothing else', async () => {
  const service = await Service.start();
  const images_dir = makeFolder('of-user');
  const rootOnly = makeFolder('of-root');
  chmodSync(rootOnly, 0o700);
  const request = join(service.dir, 'request');
  const args = [service.address, request, '1000'];
  const client = await startProgram('rpc-client', { args });
  const target = await startProgram('rpc-client', { args });
  const ofRoot = await startProgram('static-counter');
  let round = 0;
  const ask = async (type: CriuReqType, opts: Partial<CriuOpts>) => {
    tellClient(client, request, ++round, { type, opts: requestOptions(opts) });
    await checkRound(client, round);
    return answerOf(client, round);
  };
  expect(await ask(DUMP, { images_dir, pid: ofRoot.pid })).toMatchObject({ success: false, cr_errno: 1 });
  expect(readTree(ofRoot.pid)).toEqual([ofRoot.pid]);
  expect(await ask(DUMP, { images_dir: rootOnly, pid: target.pid })).toMatchObject({ success: false, cr_errno: 56 });
  expect((await ask(DUMP, { images_dir, pid: target.pid, log_level: 4 })).success).toBe(true);
  await expectGone([target.pid], 'after the dump');
  expect(statSync(join(images_dir, 'inventory.img')).uid).toBe(1000);
  expect(await ask(RESTORE, { images_dir })).toMatchObject({ success: true, restore: { pid: target.pid } });
  trackProcess(target.pid);
  tellClient(target, request, 1, { type: VERSION });
  await checkRound(target, 1);
  // Images that ask for the one capability that the worker has for its work.
  expect((await ask(DUMP, { images_dir, pid: target.pid })).success).toBe(true);
  await expectGone([target.pid], 'after the dump');
  const path = join(images_dir, `core-${target.pid}.img`);
  const core = parseImage('core', readFileSync(path), path);
  const creds = core[0]?.thread_core?.creds;
  if (creds !== undefined) creds.cap_prm = [0, 1 << (CAP_CHECKPOINT_RESTORE - 32)];
  writeFileSync(path, serializeImage('core', core));
  const refused = await ask(RESTORE, { images_dir });
  expect(refused.cr_errmsg).toBe(
    `Error (restore): task ${target.pid} 'rpc-client': has capabilities that the client of this request does not have`,
  );
  // Images of root, in which the program has all rights.
  const images = makeImagesDir(ofRoot, 'images');
  expect((await dump(ofRoot, images)).exitCode).toBe(0);
  await expectGone([ofRoot.pid], 'after the dump');
  for (const name of readdirSync(images)) chmodSync(join(images, name), 0o666);
  chmodSync(images, 0o777);
  expect(await ask(RESTORE, { images_dir: images })).toMatchObject({ success: false, cr_errno: 1 });
  await expectGone([ofRoot.pid], 'after a restore that failed');
});

/** Whether the bytes happen to be a request, which would be done. */
function isRequest(bytes: Uint8Array): boolean {
  try {
    decode(CriuReq, bytes, 'garbage');
    return true;
  } catch {
    return false;
  }
}

liveCase('the service outlives 1,000 packets of garbage', async () => {
  const service = await Service.start();
  const valid = encode(CriuReq, { type: DUMP, opts: requestOptions({ images_dir: '/nowhere', pid: 1 }) });
  const damaged = (i: number) => valid.map((byte, at) => (at === i % valid.length ? byte ^ (1 + (i % 255)) : byte));
  const noise = (i: number) => crypto.getRandomValues(new Uint8Array(1 + (i % 300)));
  const packets = Array.from({ length: 2000 }, (_, i) => (i % 4 === 0 ? damaged(i) : noise(i)));
  const sent = packets.filter((bytes) => !isRequest(bytes)).slice(0, 1000);
  expect(sent.length).toBe(1000);
  // Each client sends twenty of them.
  for (let at = 0; at < sent.length; at += 20) {
    using client = service.connect();
    for (const bytes of sent.slice(at, at + 20)) {
      client.sendBytes(bytes);
      const response = client.receive();
      expect(response).toMatchObject({ type: CriuReqType.EMPTY, success: false, cr_errno: 74 });
      expect(response?.cr_errmsg).toStartWith('Error (rpc): Failed unpacking request: ');
    }
    expect(client.call({ type: VERSION }).success).toBe(true);
  }
  expect(service.isRunning).toBe(true);
});

liveCase('the service serves 50 clients at once, and a worker that dies harms nobody', async () => {
  const service = await Service.start();
  const clients = Array.from({ length: 50 }, () => service.connect());
  for (const client of clients) client.send({ type: VERSION, keep_open: true });
  for (const client of clients) expect(client.receive()?.version?.major_number).toBe(4);
  for (const client of clients) expect(client.call({ type: VERSION }).success).toBe(true);
  for (const client of clients) client[Symbol.dispose]();
  const victim = service.connect();
  victim.call({ type: VERSION, keep_open: true });
  const worker = Number([...service.log.matchAll(/Connected: worker (\d+)/g)].at(-1)?.[1]);
  expect(parentOf(worker)).toBe(service.pid);
  process.kill(worker, 'SIGKILL');
  expect(victim.receive()).toBeUndefined();
  const workers = () => [...service.log.matchAll(/Worker\(pid \d+\) exited with 0/g)].length;
  for (let naps = 0; naps < 500 && workers() < 50; naps++) {
    using another = service.connect();
    another.call({ type: VERSION });
    await Bun.sleep(10);
  }
  expect(workers()).toBeGreaterThanOrEqual(50);
});

liveCase('relative paths begin in the folder of the client', async () => {
  const service = await Service.start();
  const specimen = await startProgram('static-counter');
  makeImagesDir(specimen, 'images');
  const startDir = process.cwd();
  process.chdir(specimen.dir);
  using client = service.connect();
  const opts = requestOptions({ images_dir: 'images', pid: specimen.pid, leave_running: true });
  const { success } = client.call({ type: DUMP, opts });
  process.chdir(startDir);
  expect([success, existsSync(join(specimen.dir, 'images', 'inventory.img'))]).toEqual([true, true]);
});

liveCase('the service goes to the background, and says why when it cannot', async () => {
  const dir = makeFolder('daemon');
  const start = (...args: string[]) =>
    Bun.spawnSync([criuBinary, 'service', '--daemon', '--address', 's', '-o', 'log', ...args], {
      cwd: dir,
      stderr: 'pipe',
    });
  const failed = start('--pidfile', '/nowhere/pid');
  expect(failed.exitCode).toBe(1);
  expect(failed.stderr.toString()).toContain("Can't open /nowhere/pid: ENOENT");
  const started = start('--pidfile', 'pid');
  expect([started.exitCode, started.stderr.toString()]).toEqual([0, '']);
  const pid = Number(readFileSync(join(dir, 'pid'), 'utf8'));
  trackProcess(pid);
  expect(readFileSync(`/proc/${pid}/stat`, 'utf8').split(' ')[5]).toBe(String(pid));
  const client = RpcClient.connect(join(dir, 's'));
  expect(client.call({ type: VERSION }).success).toBe(true);
  process.kill(pid, 'SIGTERM');
  await expectGone([pid], 'after SIGTERM');
  expect(existsSync(join(dir, 's'))).toBe(false);
  expect(start('--address', 'x'.repeat(120)).stderr.toString()).toContain('the path is too long for a socket');
});
