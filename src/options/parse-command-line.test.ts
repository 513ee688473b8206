import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import { CriuError } from '../base/errors.ts';
import type { CriuOptions } from './criu-options.ts';
import { defaultOptions } from './criu-options.ts';
import { OPTION_TABLE } from './option-table.ts';
import { type CommandLine, type Environment, parseCommandLine, UsageError } from './parse-command-line.ts';

type Files = Readonly<Record<string, string>>;

const parse = (words: string, files: Files = {}, env: Environment = {}): CommandLine =>
  parseCommandLine(words === '' ? [] : words.split(' '), env, (path) => files[path]);
const options = (words: string, files: Files = {}, env: Environment = {}): CriuOptions =>
  parse(words, files, env).options;
const refusal = (words: string, files: Files = {}, env: Environment = {}): CriuError => {
  try {
    parse(words, files, env);
  } catch (error) {
    if (error instanceof CriuError) return error;
    throw error;
  }
  throw new Error(`accepted: criu ${words}`);
};

test('the defaults are those of CRIU', () => {
  expect(options('check')).toEqual(defaultOptions());
});

test('every option of a dump', () => {
  const given = options(
    'dump -t 12 -D /img -W /work -R -j -o dump.log -v4 --display-stats --close 7 --status-fd 8 --action-script /a ' +
      '--action-script /b --external file[1:2] --evasive-devices --ghost-limit 2M --link-remap --cpu-cap=none ' +
      '--freeze-cgroup /cg --timeout 30 --file-validation filesize --network-lock skip --manage-cgroups=ignore -L /lib',
  );
  expect(given).toEqual({
    ...defaultOptions(),
    treePid: 12,
    imagesDir: '/img',
    workDir: '/work',
    finalState: 'alive',
    shellJob: true,
    logFile: 'dump.log',
    logLevel: 4,
    displayStats: true,
    closeFds: [7],
    statusFd: 8,
    actionScripts: ['/a', '/b'],
    external: [{ key: 'file[1:2]', type: 'file', id: '1:2', value: undefined }],
    evasiveDevices: true,
    ghostLimitBytes: 2 * 1024 * 1024,
    linkRemap: true,
    cpuCap: { fpu: false, cpu: false, ins: false, image: false },
    freezeCgroup: '/cg',
    timeoutSeconds: 30,
    fileValidation: 'filesize',
    networkLock: 'skip',
    manageCgroups: 'ignore',
    pluginDir: '/lib',
  });
});

test('every option of a restore', () => {
  const given = options(
    'restore -d -S -s -r /root --pidfile p --inherit-fd fd[3]:pipe:[5] --inherit-fd fd[4]:tmp/x --skip-file-rwx-check ' +
      '--log-pid -vv --deprecated',
  );
  expect(given).toEqual({
    ...defaultOptions(),
    detached: true,
    restoreSibling: true,
    finalState: 'stopped',
    root: '/root',
    pidfile: 'p',
    inheritFds: [
      { fd: 3, key: 'pipe:[5]' },
      { fd: 4, key: 'tmp/x' },
    ],
    skipFileRwxCheck: true,
    logPid: true,
    logLevel: 4,
    deprecatedOk: true,
  });
});

test('the later of two options wins', () => {
  expect(options('dump -t 1 -R -s').finalState).toBe('stopped');
  expect(options('dump -t 1 --shell-job --no-shell-job').shellJob).toBe(false);
  expect(options('dump -t 1 --tcp-established --no-tcp-established').tcpEstablished).toBe(false);
});

describe('help and version', () => {
  test('help wins over every mistake', () => {
    expect(parse('--bogus -t 0 --help').command).toBe('help');
    expect(parse('-h', { '/etc/criu/default.conf': 'nonsense' }).command).toBe('help');
  });
  test('after a command, help is about it', () => {
    expect(parse('dump --help').topic).toBe('dump');
    expect(parse('--help').topic).toBeUndefined();
    expect(parse('dump -t 1 --hel').topic).toBe('dump');
  });
  test('behind "--" it is not an option', () => {
    expect(refusal('restore --exec-cmd -- ls --help').message).toBe('--exec-cmd is not supported yet by this criu');
  });
  test('version wins over the command', () => {
    expect(parse('dump -t 1 -V').command).toBe('version');
  });
});

describe('wrong input: text, exit status 1, and whether the usage is shown', () => {
  const cases: [words: string, message: string, showUsage: boolean][] = [
    ['', 'command is required', true],
    ['foo', 'unknown command: foo', true],
    ['dump -t 0', 'invalid argument for -t: 0', false],
    ['dump -t -5', 'invalid argument for -t: -5', false],
    ['dump --tre=x', 'invalid argument for --tree: x', false],
    ['dump --bogus', "unrecognized option '--bogus'", true],
    ['dump --leave', "option '--leave' is ambiguous; possibilities: '--leave-running' '--leave-stopped'", true],
    ['dump -Z', "invalid option -- 'Z'", true],
    ['dump extra', 'excessive parameter for command dump: extra', true],
    ['dump a b', 'excessive parameters for command dump: a b', true],
    ['cpuinfo', 'cpuinfo requires an action: dump or check', true],
    ['cpuinfo foo', 'unknown cpuinfo sub-command: foo', true],
    ['cpuinfo dump foo', 'excessive parameter for command cpuinfo: foo', true],
    ['swrk', 'Usage: criu swrk <fd>', false],
    ['dump --port 0', 'invalid argument for --port: 0', false],
    ['dump --port http', 'invalid argument for --port: http', false],
    ['dump --close x', 'invalid argument for --close: x', false],
    ['dump --status-fd x', 'Unable to parse a value of --status-fd', false],
    ['dump --ghost-limit 1T', 'invalid argument for --ghost-limit: 1T', false],
    ['dump --cpu-cap=foo', "Unknown FPU mode `foo' selected", true],
    ['dump --manage-cgroups=foo', "Unknown cgroups mode `foo' selected", true],
    ['dump --file-validation foo', "Unknown file validation method `foo' selected", true],
    ['dump --network-lock foo', 'Invalid value for --network-lock: foo', false],
    ['dump --pre-dump-mode foo', 'Unable to parse value of --pre-dump-mode', false],
    ['dump --empty-ns pid', 'Unsupported empty namespace: pid', false],
    ['dump --ms', '--ms is deprecated; see "Check options" of criu --help', false],
    ['dump -M foo', 'invalid argument for -M: foo', false],
    ['dump -t 1 --external net[x]:y', 'Could not add external resource when initializing config: net[x]:y', false],
    ['restore --external veth[x]:@b', 'Could not add external resource when initializing config: veth[x]:@b', false],
    ['restore --veth-pair foo', 'invalid argument for --veth-pair: foo', false],
    ['dump -xabc', 'Failed to parse unix socket inode from optarg: abc', false],
    ['dump --external mnt[]:x', 'Could not add external resource when initializing config: mnt[]:x', false],
    ['dump --external file[x]', 'Could not add external resource when initializing config: file[x]', false],
    ['restore --inherit-fd x', 'Invalid inherit fd argument: x', false],
    ['restore -J net', 'invalid argument for -J: net', false],
    ['restore --lsm-profile foo:x', 'invalid argument for --lsm-profile: foo:x', false],
    ['dump --cgroup-root x', 'invalid argument for --cgroup-root: x', false],
    ['dump --enable-fs ,', 'invalid argument for --enable-fs: ,', false],
    ['check --feature foo', 'Unknown feature foo', false],
    ['dump --log-file=', 'invalid argument for --log-file: ', false],
  ];
  test.each(cases)('criu %s', (words, message, showUsage) => {
    const error = refusal(words);
    expect(error.message).toBe(message);
    expect(error.exitCode).toBe(1);
    expect(error instanceof UsageError && error.showUsage).toBe(showUsage);
  });
});

describe('contradictions', () => {
  const cases: [string, string][] = [
    ['dump', 'pid not specified; name the root of the tree with -t PID'],
    ['restore -S', '--restore-sibling only makes sense with --restore-detached'],
    ['restore --exec-cmd', '--exec-cmd requires a command; write it after "--"'],
    ['dump --exec-cmd -- ls', '--exec-cmd is available for the restore command only'],
    ['restore -d --exec-cmd -- ls', '--restore-detached and --exec-cmd cannot be used together'],
    ['check --stream', '--stream cannot be used with the check command'],
    ['dump -t 1 --mntns-compat-mode', 'Option --mntns-compat-mode is only valid on restore'],
    ['dump -t 1 --inherit-fd fd[0]:x', '--inherit-fd is restore-only option'],
    ['restore --empty-ns net -J net:1', 'namespace flags conflict: --join-ns and --empty-ns both name net'],
    ['pre-dump -t 1 --lazy-pages', 'Cannot pre-dump with --lazy-pages'],
    [
      'page-server --daemon --ps-socket 2',
      'Standard file descriptors will be closed in daemon mode; give --ps-socket a number above 2',
    ],
  ];
  test.each(cases)('criu %s', (words, message) => {
    expect(refusal(words).message).toBe(message);
    expect(refusal(words).exitCode).toBe(1);
  });
});

describe('what comes later is refused by name', () => {
  const cases: [string, string][] = [
    ['dump -t 1 --lazy-pages', '--lazy-pages'],

    ['dump -t 1 --track', '--track-mem'],
    ['dump -t 1 -M auto', '-M'],
    ['dump -t 1 --external mnt[]', '--external mnt[]'],
    ['restore --inherit-fd fd[3]:/memfd:x', '--inherit-fd fd[3]:/memfd:x'],
    ['restore --external macvlan[a]:b', '--external macvlan[a]:b'],
    ['restore --join-ns ipc:1', '--join-ns ipc:1'],
    ['pre-dump -t 1', 'pre-dump'],
    ['page-server', 'page-server'],
    ['lazy-pages', 'lazy-pages'],
    ['dedup', 'dedup'],
  ];
  test.each(cases)('criu %s', (words, name) => {
    expect(refusal(words).message).toBe(`${name} is not supported yet by this criu`);
    expect(refusal(words).exitCode).toBe(1);
  });

  test('but not when it has no effect on the command, or is taken back', () => {
    expect(options('check --lazy-pages').lazyPages).toBe(true);
    expect(options('service --address a.socket --port 7 --daemon')).toMatchObject({
      address: 'a.socket',
      port: 7,
      detached: true,
    });
    expect(refusal('dump -t 1 --address a').message).toBe('--address is not supported yet by this criu');
    expect(parse('dump -t 1 --no-track-mem').command).toBe('dump');
    expect(parse('check', { '/etc/criu/default.conf': 'tcp-established\n' }).command).toBe('check');
  });
});

describe('configuration files', () => {
  const HOME = '/home/u';
  const DEFAULT = '/etc/criu/default.conf';
  const OWN = '/home/u/.criu/default.conf';
  const ORDER: [string, string][] = [
    [DEFAULT, 'verbosity 1\n'],
    [OWN, 'verbosity 2\n'],
    ['/env.conf', 'verbosity 3\n'],
    ['/cli.conf', 'verbosity 4\n'],
  ];

  test('later sources win, the command line over all', () => {
    const files = Object.fromEntries(ORDER);
    const env = { HOME, CRIU_CONFIG_FILE: '/env.conf' };
    expect(options('check', { [DEFAULT]: 'verbosity 1' }, env).logLevel).toBe(1);
    expect(options('check', { [DEFAULT]: 'verbosity 1', [OWN]: 'verbosity 4' }, { HOME }).logLevel).toBe(4);
    expect(options('check', files, env).logLevel).toBe(3);
    expect(options('check --config /cli.conf', files, env).logLevel).toBe(4);
    expect(options('check --config=/cli.conf -v0', files, env).logLevel).toBe(0);
  });

  test('--no-default-config and --config leave out the default files', () => {
    const files = { [DEFAULT]: 'shell-job', [OWN]: 'link-remap', '/cli.conf': 'verbosity 4' };
    expect(options('check --no-default-config', files, { HOME })).toEqual({
      ...defaultOptions(),
      noDefaultConfig: true,
    });
    const given = options('check --config /cli.conf', files, { HOME });
    expect(given).toEqual({ ...defaultOptions(), logLevel: 4, configFile: '/cli.conf' });
  });

  test('a flag of a file is taken back on the command line', () => {
    expect(options('dump -t 1 --no-shell-job', { [DEFAULT]: 'shell-job' }).shellJob).toBe(false);
  });

  test('lists of files and command line add up', () => {
    const files = { [DEFAULT]: 'action-script /a\naction-script "/b c"' };
    expect(options('check --action-script /d', files).actionScripts).toEqual(['/a', '/b c', '/d']);
  });

  test('mistakes name file and line', () => {
    const cases: [string, string][] = [
      ['tree 0', 'invalid argument for --tree: 0'],
      ['bogus', "unrecognized option '--bogus'"],
      ['dump', "'dump' is a command; a configuration file takes options only"],
      ['tree', "option '--tree' requires an argument"],
      ['shell-job yes', "option '--shell-job' doesn't allow an argument"],
      ['root "x', 'a double quote is not closed'],
      ['cpu-cap foo', "Unknown FPU mode `foo' selected"],
    ];
    for (const [line, message] of cases) {
      const error = refusal('check', { [DEFAULT]: `# first\n${line}\n` });
      expect(error.message).toBe(`${DEFAULT}:2: ${message}`);
      expect(error.exitCode).toBe(1);
    }
  });

  test('the file of --config must exist; that of the variable is only missed', () => {
    expect(refusal('check --config /no').message).toBe(
      'cannot read configuration file /no: there is none, or it is not for you to read',
    );
    expect(parse('check', {}, { CRIU_CONFIG_FILE: '/no' }).notes).toEqual([
      { level: 'warn', text: 'CRIU_CONFIG_FILE names a file that does not exist: /no' },
    ]);
  });
});

describe('environment', () => {
  test('CRIU_DEPRECATED is --deprecated', () => {
    expect(options('check', {}, { CRIU_DEPRECATED: '' }).deprecatedOk).toBe(true);
  });
  test('CRIU_LIBS_DIR is --libdir, which wins', () => {
    expect(options('check', {}, { CRIU_LIBS_DIR: '/a' }).pluginDir).toBe('/a');
    expect(options('check -L /b', {}, { CRIU_LIBS_DIR: '/a' }).pluginDir).toBe('/b');
  });
});

test('notes for the log', () => {
  const notes = (words: string): string[] => parse(words).notes.map(({ level, text }) => `${level}: ${text}`);
  expect(notes('restore -t 5')).toEqual(['warn: Using -t with criu restore is obsoleted']);
  expect(notes('restore -d -s -j')).toEqual(['warn: Stopped and detached shell job will get SIGHUP from OS.']);
  expect(notes('restore --network-lock skip')).toEqual([
    'warn: --network-lock will be ignored in restore command',
    'info: Network lock method from dump will be used in restore',
  ]);
  expect(notes('restore --inherit-fd fd[3]:pipe:[5]')).toEqual([
    'info: File pipe:[5] will be restored from inherit fd 3',
  ]);
  expect(notes('dump -t 1 --link-remap')).toEqual(['info: Will allow link remaps on FS']);
});

test('old and odd spellings', () => {
  expect(options('check -x1,2').externalUnixInodes).toEqual([1, 2]);
  expect(options('check -M a:b --veth-pair c=d').external.map(({ key }) => key)).toEqual(['mnt[a]:b', 'veth[c]:d']);
  expect(options('check --external mnt[]:sm')).toEqual({
    ...defaultOptions(),
    externalMountsAuto: true,
    externalMasters: true,
    externalSharing: true,
  });
  expect(options('check --enable-external-sharing --enable-external-masters').externalMasters).toBe(true);
  expect(options('check -verbosity=0').logLevel).toBe(0);
  expect(options('check --all')).toEqual({ ...defaultOptions(), checkExtra: true, checkExperimental: true });
});

test('what follows the command is handed on', () => {
  expect(parse('cpuinfo check').args).toEqual(['check']);
  expect(parse('exec -t 1 foo').args).toEqual(['foo']);
});

test('garbage only produces CriuErrors', () => {
  const names = OPTION_TABLE.flatMap(({ long, short }) =>
    short === undefined ? [`--${long}`] : [`--${long}`, `-${short}`],
  );
  const word = fc.oneof(
    fc.string(),
    fc.constantFrom(...names, 'dump', 'restore', 'check', '--'),
    fc.constantFrom('1', '0'),
  );
  fc.assert(
    fc.property(fc.array(word, { maxLength: 8 }), fc.string(), (words, config) => {
      try {
        parseCommandLine(words, {}, () => config);
      } catch (error) {
        if (!(error instanceof CriuError)) throw error;
        expect(error.message).not.toContain('\n');
      }
    }),
    { numRuns: 1000 },
  );
});
