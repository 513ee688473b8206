import { expect, test } from 'bun:test';
import { decode } from '../image/codec.ts';
import { CriuOpts } from '../image/gen/rpc.ts';
import { type CriuOptions, defaultOptions } from './criu-options.ts';
import { OPTION_TABLE } from './option-table.ts';
import { FIELDS_WITHOUT_OPTION, fieldsOf, parseRequest, type RequestContext } from './parse-request.ts';

const NONE = decode(CriuOpts, Uint8Array.of(0x08, ...Array(9).fill(0xff), 0x01), 'opts');
const FIELDS = CriuOpts.fields().map(([, name]) => name as keyof CriuOpts);

type Files = Readonly<Record<string, string>>;

function contextOf(more: Partial<RequestContext> = {}, files: Files = {}): RequestContext {
  return {
    command: 'dump',
    args: [],
    words: ['--no-default-config'],
    env: {},
    readFile: (path) => files[path],
    readClientFile: (path) => files[path],
    folder: (fd) => `/fd/${fd}`,
    clientPid: 77,
    isOwnWorker: true,
    ...more,
  };
}

const parse = (opts: Partial<CriuOpts>, more: Partial<RequestContext> = {}, files: Files = {}): CriuOptions =>
  parseRequest({ ...NONE, images_dir: '/img', ...opts }, contextOf(more, files)).options;

function refusal(opts: Partial<CriuOpts>, more: Partial<RequestContext> = {}): string {
  try {
    parse(opts, more);
  } catch (error) {
    return (error as Error).message;
  }
  return '';
}

const IMAGES = { imagesDir: '/img', logFile: 'criu.log', noDefaultConfig: true };

test('every field of criu_opts is an option of the table or known to have none', () => {
  const inTable = new Set(OPTION_TABLE.flatMap(fieldsOf));
  const unknown = FIELDS.filter((field) => !inTable.has(field) && !FIELDS_WITHOUT_OPTION.includes(field));
  expect(unknown).toEqual([]);
  expect(FIELDS_WITHOUT_OPTION.filter((field) => inTable.has(field))).toEqual([]);
  expect([...inTable, ...FIELDS_WITHOUT_OPTION].filter((field) => !FIELDS.includes(field))).toEqual([]);
});

/** A value of each field that says something, and what it does to the options, on dump or restore. */
const MEANING: Record<
  keyof CriuOpts,
  readonly [value: unknown, effect: Partial<CriuOptions> | string, on?: 'restore']
> = {
  images_dir_fd: [5, { imagesDir: '/fd/5' }],
  images_dir: ['/other', { imagesDir: '/other' }],
  pid: [12, { treePid: 12 }],
  leave_running: [true, { finalState: 'alive' }],
  ext_unix_sk: [true, { externalUnixSockets: true }],
  tcp_established: [true, { tcpEstablished: true }],
  evasive_devices: [true, { evasiveDevices: true }],
  shell_job: [true, { shellJob: true }],
  file_locks: [true, { fileLocks: true }],
  log_level: [4, { logLevel: 4 }],
  log_file: ['x.log', { logFile: 'x.log' }],
  ps: [
    { address: '1.2.3.4', port: 9 },
    { pageServer: true, address: '1.2.3.4', port: 9 },
  ],
  notify_scripts: [true, {}],
  root: ['/root', { root: '/root' }, 'restore'],
  parent_img: ['../1', { prevImagesDir: '../1' }],
  track_mem: [true, { trackMem: true }],
  auto_dedup: [true, { autoDedup: true }],
  work_dir_fd: [6, { workDir: '/fd/6' }],
  link_remap: [true, { linkRemap: true }],
  veths: [
    [{ if_in: 'a', if_out: 'b' }],
    { external: [{ key: 'veth[a]:b', type: 'veth', id: 'a', value: 'b' }] },
    'restore',
  ],
  cpu_cap: [5, { cpuCap: { fpu: true, cpu: false, ins: true, image: true } }],
  force_irmap: [true, { forceIrmap: true }],
  exec_cmd: [['ls'], { execCmd: true }, 'restore'],
  ext_mnt: [[{ key: 'a', val: 'b' }], { external: [{ key: 'mnt[a]:b', type: 'mnt', id: 'a', value: 'b' }] }],
  manage_cgroups: [false, { manageCgroups: 'ignore' }],
  cg_root: [[{ path: '/a' }], { cgroupRoots: [{ controller: undefined, path: '/a' }] }],
  rst_sibling: [true, { restoreSibling: true }, 'restore'],
  inherit_fd: [[{ key: 'pipe:[7]', fd: 3 }], { inheritFds: [{ key: 'pipe:[7]', fd: 3 }] }, 'restore'],
  auto_ext_mnt: [true, { externalMountsAuto: true }],
  ext_sharing: [true, { externalSharing: true }],
  ext_masters: [true, { externalMasters: true }],
  skip_mnt: [['/a'], { skipMounts: ['/a'] }],
  enable_fs: [['xfs'], { enableFilesystems: ['xfs'] }],
  unix_sk_ino: [[{ inode: 8 }], { externalUnixSockets: true, externalUnixInodes: [8] }],
  manage_cgroups_mode: [0, { manageCgroups: 'ignore' }],
  ghost_limit: [4096, { ghostLimitBytes: 4096 }],
  irmap_scan_paths: [['/a', '/b'], { irmapScanPaths: ['/a', '/b'] }],
  external: [['tty[1:2]'], { external: [{ key: 'tty[1:2]', type: 'tty', id: '1:2', value: undefined }] }],
  empty_ns: [0x4000_0000, { emptyNamespaces: ['net'] }],
  join_ns: [
    [{ ns: 'net', ns_file: '12' }],
    { joinNamespaces: [{ type: 'net', source: '12', uid: undefined, gid: undefined }] },
    'restore',
  ],
  cgroup_props: ['x', { cgroupProps: 'x' }],
  cgroup_props_file: ['x', { cgroupPropsFile: 'x' }],
  cgroup_dump_controller: [['cpu'], { cgroupDumpControllers: ['cpu'] }],
  freeze_cgroup: ['/cg', { freezeCgroup: '/cg' }],
  timeout: [3, { timeoutSeconds: 3 }],
  tcp_skip_in_flight: [true, { skipInFlight: true }],
  weak_sysctls: [true, { weakSysctls: true }, 'restore'],
  lazy_pages: [true, { lazyPages: true }],
  status_fd: [9, { statusFd: 9 }],
  orphan_pts_master: [true, {}],
  config_file: ['/nowhere', {}],
  tcp_close: [true, { tcpClose: true }],
  lsm_profile: ['apparmor:x', { lsmProfile: 'apparmor:x' }, 'restore'],
  tls_cacert: ['x', { tlsCaCert: 'x' }],
  tls_cacrl: ['x', { tlsCaCrl: 'x' }],
  tls_cert: ['x', { tlsCert: 'x' }],
  tls_key: ['x', { tlsKey: 'x' }],
  tls: [true, { tls: true }],
  tls_no_cn_verify: [true, { tlsNoCnVerify: true }],
  cgroup_yard: ['/y', { cgroupYard: '/y' }],
  pre_dump_mode: [2, { preDumpMode: 'read' }],
  pidfd_store_sk: [4, 'pidfd_store_sk is not supported yet by this criu'],
  lsm_mount_context: ['x', { lsmMountContext: 'x' }, 'restore'],
  network_lock: [3, { networkLock: 'skip' }],
  mntns_compat_mode: [true, { mntnsCompatMode: true }, 'restore'],
  skip_file_rwx_check: [true, { skipFileRwxCheck: true }, 'restore'],
  unprivileged: [true, { unprivileged: true }],
  leave_stopped: [true, { finalState: 'stopped' }],
  display_stats: [true, { displayStats: true }],
  log_to_stderr: [true, { logFile: undefined }],
};

const NOT_YET = / is not supported yet by this criu$/;

test.each(FIELDS)('%s is handled or refused', (field) => {
  const [value, effect, command = 'dump'] = MEANING[field];
  const opts = { [field]: value } as Partial<CriuOpts>;
  const rows = OPTION_TABLE.filter((spec) => fieldsOf(spec).includes(field));
  const mayBeRefused = rows.some(({ capability, laterWhen }) => capability === 'later' || laterWhen !== undefined);
  const refused = refusal(opts, { command });
  if (typeof effect === 'string') expect(refused).toBe(effect);
  if (typeof effect === 'string' || (mayBeRefused && NOT_YET.test(refused))) return;
  const always = command === 'dump' ? { treePid: 77 } : { detached: true };
  expect(parse(opts, { command })).toEqual({ ...defaultOptions(), ...IMAGES, ...always, ...effect });
});

test('what is false or empty changes nothing, whatever it is', () => {
  const off = Object.fromEntries(
    CriuOpts.fields().flatMap(([, name, type]) =>
      type === 'bool' && name !== 'manage_cgroups' ? [[name, false]] : [],
    ),
  );
  expect(parse({ ...off, empty_ns: 0 })).toEqual({ ...defaultOptions(), ...IMAGES, treePid: 77 });
});

test('numbers of modes are those of the command line', () => {
  const modes = [0, 1, 5, 6].map((mode) => parse({ manage_cgroups_mode: mode } as Partial<CriuOpts>).manageCgroups);
  expect(modes).toEqual(['ignore', 'none', 'strict', 'default']);
  expect([1, 2, 3].map((network_lock) => parse({ network_lock } as Partial<CriuOpts>).networkLock)).toEqual([
    'iptables',
    'nftables',
    'skip',
  ]);
  expect([0, 1, 0xffff_ffff].map((cpu_cap) => parse({ cpu_cap }).cpuCap)).toEqual([
    { fpu: false, cpu: false, ins: false, image: false },
    { fpu: true, cpu: false, ins: false, image: true },
    { fpu: true, cpu: true, ins: true, image: true },
  ]);
});

test('mistakes name the field', () => {
  expect(refusal({ pid: 0 })).toBe('pid: invalid argument for pid: 0');
  expect(refusal({ log_file: '../x' })).toBe('log_file: No subdirs are allowed in log_file name: ../x');
  expect(refusal({ empty_ns: 1 })).toBe('empty_ns: Unsupported empty namespace: 0x1');
  expect(refusal({ external: ['file[x'] })).toStartWith('external: ');
  expect(refusal({ images_dir: undefined })).toBe('Neither images_dir_fd nor images_dir was passed by RPC client');
});

test('a service has no descriptors and no parent to share with its clients', () => {
  const foreign = { command: 'restore', isOwnWorker: false } as const;
  const remedy = 'start criu yourself, with criu swrk FD';
  expect(refusal({ rst_sibling: true }, foreign)).toBe(`rst_sibling is not allowed in standalone service; ${remedy}`);
  expect(refusal({ inherit_fd: [{ key: 'a', fd: 1 }] }, foreign)).toBe(
    `inherit_fd is not allowed in standalone service; ${remedy}`,
  );
});

test('the request wins over configuration files, and its own file over the request', () => {
  const files = {
    '/etc/criu/default.conf': 'log-file default.log\ntcp-established\nlink-remap\nimages-dir /never',
    '/env.conf': 'shell-job\nverbosity 1',
    '/mine.conf': 'no-shell-job\nlog-file mine.log',
  };
  const env = { CRIU_CONFIG_FILE: '/env.conf' };
  const request = { images_dir: '/img', tcp_established: false, log_file: 'x.log' };
  expect(parse(request, { words: [], env }, files)).toEqual({
    ...defaultOptions(),
    imagesDir: '/img',
    treePid: 77,
    logFile: 'x.log',
    linkRemap: true,
    shellJob: true,
    logLevel: 1,
  });
  const { logFile, shellJob } = parse({ ...request, config_file: '/mine.conf' }, { words: [], env }, files);
  expect({ logFile, shellJob }).toEqual({ logFile: 'mine.log', shellJob: false });
});

test('a configuration file of the request may be missing, and may name the images folder', () => {
  expect(parseRequest({ ...NONE, images_dir: '/a', config_file: '/x' }, contextOf()).notes[0]).toEqual({
    level: 'info',
    text: 'The configuration file of the request does not exist: /x',
  });
  expect(parse({ config_file: '/c' }, {}, { '/c': 'images-dir /conf' }).imagesDir).toBe('/conf');
});

test('a check needs neither folder nor log', () => {
  expect(parse({ images_dir: undefined }, { command: 'check' })).toEqual({
    ...defaultOptions(),
    noDefaultConfig: true,
  });
});
