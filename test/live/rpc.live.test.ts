/**
 * Requests (RPC) to `criu swrk`, from a client on SOCK_SEQPACKET, as CRIU's own clients are.
 */
import { expect } from 'bun:test';
import { chmodSync, closeSync, existsSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type CriuReq, CriuReqType, type CriuResp } from '../../src/image/gen/rpc.ts';
import { O_CLOEXEC } from '../../src/linux/abi/fcntl.ts';
import { pipe2, tryRead } from '../../src/linux/syscalls/pipe.ts';
import { criuBinary } from '../harness/criu-command.ts';
import { checkRound, expectGone, makeFolder, makeImagesDir, startProgram } from '../harness/harness.ts';
import { liveCase } from '../harness/live-test.ts';
import { readTree } from '../harness/processes.ts';
import { openTerminal, readTerminal } from '../harness/pseudo-terminal.ts';
import { callOnce, RpcClient, requestOptions } from '../harness/rpc-client.ts';

const { DUMP, RESTORE, CHECK, VERSION, FEATURE_CHECK, WAIT_PID, PAGE_SERVER, PAGE_SERVER_CHLD } = CriuReqType;

const parentOf = (pid: number) => Number(/^PPid:\t(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
const openFolder = (path: string) => openSync(path, 'r');

liveCase('swrk dumps and restores; the root task becomes a child of the client', async () => {
  const specimen = await startProgram('threads');
  for (const round of [1, 2, 3]) {
    const tree = readTree(specimen.pid);
    const images_dir_fd = openFolder(makeImagesDir(specimen, `images-${round}`));
    const dumped = callOnce({
      type: DUMP,
      opts: requestOptions({ images_dir_fd, pid: specimen.pid, log_level: 4, log_file: 'dump.log' }),
    });
    expect(dumped).toEqual({ type: DUMP, success: true, dump: { restored: false } });
    await expectGone(tree, 'after the dump');
    const restored = callOnce({
      type: RESTORE,
      opts: requestOptions({ images_dir_fd, rst_sibling: true, log_level: 4 }),
    });
    expect(restored).toEqual({ type: RESTORE, success: true, restore: { pid: specimen.pid } });
    closeSync(images_dir_fd);
    expect(parentOf(specimen.pid)).toBe(process.pid);
    expect(readFileSync(join(specimen.dir, `images-${round}`, 'criu.log'), 'utf8')).toContain('Restore finished');
    await checkRound(specimen, round);
  }
});

liveCase('notifications come in order, and the client can stop the work', async () => {
  const specimen = await startProgram('static-counter');
  const images_dir = makeImagesDir(specimen, 'images');
  const heard: string[] = [];
  const hear = ({ notify }: CriuResp) => heard.push(`${notify?.script} ${notify?.pid ?? '-'}`) > 0;
  const dump = { type: DUMP, opts: requestOptions({ images_dir, pid: specimen.pid, notify_scripts: true }) };
  const restoring = { type: RESTORE, opts: requestOptions({ images_dir, notify_scripts: true }) };
  const call = (request: CriuReq, onNotify: (response: CriuResp) => boolean) => {
    using client = RpcClient.spawn();
    return client.call(request, onNotify);
  };
  const refused = call(dump, () => false);
  expect({ success: refused.success, text: refused.cr_errmsg }).toEqual({
    success: false,
    text: 'Error (dump): Dumping FAILED. RPC client reported script error for hook pre-dump',
  });
  expect(readTree(specimen.pid)).toEqual([specimen.pid]);
  expect(call(dump, hear).success).toBe(true);
  await expectGone([specimen.pid], 'after the dump');
  expect(heard.splice(0)).toEqual(['pre-dump -', 'query-ext-files -', 'post-dump -']);
  const notRestored = call(restoring, ({ notify }) => notify?.script !== 'setup-namespaces');
  expect(notRestored.cr_errmsg).toBe(
    'Error (restore): Restoring FAILED. RPC client reported script error for hook setup-namespaces',
  );
  await expectGone([specimen.pid], 'after a restore that failed');
  expect(call(restoring, hear).success).toBe(true);
  expect(heard).toEqual([
    'pre-restore -',
    `setup-namespaces ${specimen.pid}`,
    'post-setup-namespaces -',
    `post-restore ${specimen.pid}`,
    'pre-resume -',
    'post-resume -',
  ]);
  await checkRound(specimen, 1);
});

liveCase('a failure has cr_errno and cr_errmsg', async () => {
  const specimen = await startProgram('static-counter');
  const images_dir = makeImagesDir(specimen, 'images');
  const fail = (type: CriuReqType, opts: Partial<CriuReq['opts']> | undefined, env?: Record<string, string>) => {
    const response = callOnce(
      { type, opts: opts === undefined ? undefined : requestOptions({ images_dir, ...opts }) },
      env === undefined ? {} : { env },
    );
    expect(response.success).toBe(false);
    return [response.type, response.cr_errno, response.cr_errmsg];
  };
  const [ESRCH, EPERM, EEXIST, EBADRQC, EOPNOTSUPP] = [3, 1, 17, 56, 95];
  expect(fail(DUMP, { pid: 4_194_304 })).toEqual([
    DUMP,
    ESRCH,
    'Error (dump): Dumping FAILED. task 4194304: no such task; give the pid of a running process with --tree',
  ]);
  expect(fail(DUMP, { log_file: '../x' })).toEqual([
    DUMP,
    EBADRQC,
    'Error (rpc): log_file: No subdirs are allowed in log_file name: ../x',
  ]);
  expect(fail(DUMP, { tls: true })).toEqual([DUMP, EBADRQC, 'Error (rpc): tls is not supported yet by this criu']);
  expect(fail(DUMP, undefined)).toEqual([DUMP, EBADRQC, 'Error (rpc): the request has no options (opts)']);
  expect(fail(DUMP, { images_dir_fd: 999 })).toEqual([
    DUMP,
    EBADRQC,
    'Error (rpc): images_dir_fd: descriptor 999 of the client cannot be used: EBADF',
  ]);
  expect(fail(PAGE_SERVER_CHLD, {})).toEqual([
    PAGE_SERVER,
    EOPNOTSUPP,
    'Error (rpc): page-server is not supported yet by this criu',
  ]);
  expect(fail(CriuReqType.NOTIFY, {})).toEqual([
    CriuReqType.EMPTY,
    EBADRQC,
    'Error (rpc): Invalid req: type NOTIFY is no request',
  ]);
  expect(EPERM).toBe(1);
  const running = requestOptions({ images_dir, pid: specimen.pid, leave_running: true });
  expect(callOnce({ type: DUMP, opts: running }).success).toBe(true);
  const [type, errno, text] = fail(RESTORE, {});
  expect([type, errno]).toEqual([RESTORE, EEXIST]);
  expect(text).toContain(`pid ${specimen.pid} is in use by process ${specimen.pid} 'static-counter'`);
});

liveCase('version, features, check and wait', async () => {
  using client = RpcClient.spawn();
  const version = client.call({ type: VERSION, keep_open: true });
  expect(version.version).toMatchObject({ major_number: 4, minor_number: 2 });
  expect(version.version?.gitid).toBeUndefined();
  const asked = { mem_track: true, lazy_pages: true, pidfd_store: true };
  const { features, success } = client.call({ type: FEATURE_CHECK, keep_open: true, features: asked });
  expect({ success, features }).toEqual({
    success: true,
    features: { mem_track: false, lazy_pages: false, pidfd_store: false },
  });
  expect(client.call({ type: WAIT_PID, pid: process.pid })).toMatchObject({
    type: WAIT_PID,
    success: false,
    cr_errno: 10,
  });
  expect(client.receive()).toBeUndefined();
  const kept = callOnce({ type: DUMP, keep_open: true });
  expect(kept.cr_errmsg).toBe(
    'Error (rpc): keep_open cannot be used with a request of type DUMP; open a connection for each of them',
  );
  expect(callOnce({ type: CHECK }).type).toBe(CHECK);
});

liveCase('a configuration file of the request overrides it, and its scripts run too', async () => {
  const specimen = await startProgram('static-counter');
  const images_dir = makeImagesDir(specimen, 'images');
  const [script, config] = [join(specimen.dir, 'hook.sh'), join(specimen.dir, 'criu.conf')];
  writeFileSync(script, `#!/bin/sh\necho $CRTOOLS_SCRIPT_ACTION >> ${specimen.dir}/hooks\n`);
  chmodSync(script, 0o755);
  writeFileSync(config, `log-file mine.log\naction-script ${script}\n`);
  const opts = { images_dir, pid: specimen.pid, leave_running: true, log_file: 'other.log', config_file: config };
  expect(callOnce({ type: DUMP, opts: requestOptions(opts) }).success).toBe(true);
  expect([existsSync(join(images_dir, 'mine.log')), existsSync(join(images_dir, 'other.log'))]).toEqual([true, false]);
  expect(readFileSync(join(specimen.dir, 'hooks'), 'utf8')).toBe('pre-dump\npost-dump\n');
});

liveCase('the master side of a terminal is handed to the client', async () => {
  let { master, path } = openTerminal();
  const specimen = await startProgram('pty-orphan', { args: [path] });
  for (const round of [1, 2, 3]) {
    const images_dir = makeImagesDir(specimen, `images-${round}`);
    const wish = { images_dir, notify_scripts: true, orphan_pts_master: true, log_level: 4 };
    expect(callOnce({ type: DUMP, opts: requestOptions({ images_dir, pid: specimen.pid }) }).success).toBe(false);
    expect(callOnce({ type: DUMP, opts: requestOptions({ ...wish, pid: specimen.pid }) }).success).toBe(true);
    closeSync(master);
    await expectGone([specimen.pid], 'after the dump');
    using client = RpcClient.spawn();
    const response = client.call({ type: RESTORE, opts: requestOptions(wish) }, ({ notify }) => {
      if (notify?.script === 'orphan-pts-master') master = client.passedFd ?? -1;
      return true;
    });
    expect(response).toMatchObject({ success: true });
    await checkRound(specimen, round);
    expect(await readTerminal(master, 'round')).toBe(`hello from round ${round}\r\n`);
  }
  closeSync(master);
});

liveCase('descriptors of a request are those of the client; a status descriptor is told when all is done', async () => {
  const specimen = await startProgram('static-counter');
  const [images, work] = [makeImagesDir(specimen, 'images'), makeImagesDir(specimen, 'work')];
  const [readEnd, writeEnd] = pipe2(O_CLOEXEC);
  const [images_dir_fd, work_dir_fd] = [openFolder(images), openFolder(work)];
  const opts = {
    images_dir_fd,
    work_dir_fd,
    status_fd: writeEnd,
    pid: specimen.pid,
    leave_running: true,
    log_level: 4,
  };
  expect(callOnce({ type: DUMP, opts: requestOptions(opts) }).success).toBe(true);
  const status = new Uint8Array(2);
  expect([tryRead(readEnd, status), status[0]]).toEqual([1, 0]);
  expect([existsSync(join(images, 'inventory.img')), existsSync(join(work, 'criu.log'))]).toEqual([true, true]);
  const wrong = callOnce({ type: DUMP, opts: requestOptions({ ...opts, status_fd: 999 }) });
  expect(wrong.cr_errmsg).toBe('Error (rpc): status_fd: descriptor 999 of the client cannot be used: EBADF');
  for (const fd of [readEnd, writeEnd, images_dir_fd, work_dir_fd]) closeSync(fd);
});

liveCase('cpuinfo is written and compared, on one connection', async () => {
  const images_dir = makeFolder('cpuinfo');
  using client = RpcClient.spawn();
  const opts = requestOptions({ images_dir });
  const { CPUINFO_DUMP, CPUINFO_CHECK } = CriuReqType;
  expect(client.call({ type: CPUINFO_DUMP, keep_open: true, opts })).toEqual({ type: CPUINFO_DUMP, success: true });
  expect(client.call({ type: CPUINFO_CHECK, keep_open: true, opts })).toEqual({ type: CPUINFO_CHECK, success: true });
  writeFileSync(join(images_dir, 'cpuinfo.img'), '');
  expect(client.call({ type: CPUINFO_CHECK, opts })).toMatchObject({
    type: CPUINFO_CHECK,
    success: false,
    cr_errno: 5,
  });
});

liveCase('swrk wants a socket', async () => {
  const run = (...args: string[]) => {
    const { exitCode, stderr } = Bun.spawnSync([criuBinary, 'swrk', ...args], { stdio: ['ignore', 'ignore', 'pipe'] });
    return [exitCode, stderr.toString()];
  };
  expect(run('0')).toEqual([
    1,
    'Error (swrk): fd 0: cannot be used for requests: it is no UNIX socket of type SOCK_SEQPACKET or SOCK_STREAM\n',
  ]);
  expect(run('77')[0]).toBe(1);
  expect(run('x')).toEqual([1, 'Error (swrk): fd x: is no descriptor; Usage: criu swrk <fd>\n']);
  expect(run()).toEqual([1, 'Error (criu): Usage: criu swrk <fd>\n']);
});
