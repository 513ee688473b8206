/**
 * Runs the built executable: exit status, what goes to stdout, stderr and the log, and that nothing in the current
 * folder gives it orders. No process is dumped here.
 */

import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import {
  chmodSync,
  closeSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const CRIU = resolve(import.meta.dir, '../../dist/criu');
const { PATH = '' } = process.env;
let folder = '';

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'criu-cli-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

interface Result {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

function criu(
  args: readonly string[],
  options: { cwd?: string; env?: Record<string, string>; fds?: number[] } = {},
): Result {
  const { exitCode, stdout, stderr } = Bun.spawnSync([CRIU, ...args], {
    cwd: options.cwd ?? folder,
    env: { PATH, HOME: folder, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe', ...(options.fds ?? [])],
  });
  return { status: exitCode, stdout: stdout.toString('latin1'), stderr: stderr.toString('latin1') };
}

const subfolder = (name: string): string => {
  const path = join(folder, name);
  mkdirSync(path, { recursive: true });
  return path;
};

describe('help and version', () => {
  test('--version prints what callers parse', () => {
    for (const args of [['--version'], ['-V'], ['dump', '-V']]) {
      expect(criu(args)).toEqual({ status: 0, stdout: 'Version: 4.2\nGitID: criu-ts-0.1.0\n', stderr: '' });
    }
  });
  test('--help goes to stdout and succeeds', () => {
    const { status, stdout, stderr } = criu(['--help']);
    expect(status).toBe(0);
    expect(stdout).toContain('  -t, --tree PID ');
    expect(stderr).toBe('');
  });
});

describe('wrong input', () => {
  test('ends with status 1, the mistake on stderr, the usage on stdout', () => {
    const { status, stdout, stderr } = criu(['foo']);
    expect(status).toBe(1);
    expect(stderr).toBe('Error (criu): unknown command: foo\n');
    expect(stdout.endsWith('Try -h|--help for more info\n')).toBe(true);
  });
  test('shows no usage for a wrong value', () => {
    expect(criu(['dump', '-t', '0'])).toEqual({
      status: 1,
      stdout: '',
      stderr: 'Error (criu): invalid argument for -t: 0\n',
    });
  });
  test('exec and show end with 255, as with CRIU', () => {
    expect(criu(['exec'])).toEqual({
      status: 255,
      stdout: '',
      stderr: 'Error (exec): The "exec" action is deprecated by the Compel library.\n',
    });
    expect(criu(['show']).status).toBe(255);
  });
  test('what is not supported yet touches nothing', () => {
    const cwd = subfolder('untouched');
    const { status, stderr } = criu(['dump', '-t', '1', '--lazy-pages', '-o', 'log'], { cwd });
    expect(status).toBe(1);
    expect(stderr).toBe('Error (criu): --lazy-pages is not supported yet by this criu\n');
    expect(() => statSync(join(cwd, 'log'))).toThrow();
  });
});

describe('folders and files', () => {
  test('a missing images folder is named', () => {
    expect(criu(['dump', '-t', '1', '-D', '/nonexistent']).stderr).toBe(
      "Error (dump): Couldn't open image dir /nonexistent: ENOENT; make the folder first, or name another one with -D\n",
    );
  });
  test('a missing work folder is named', () => {
    expect(criu(['dump', '-t', '1', '-W', '/nonexistent']).stderr).toBe(
      "Error (dump): Can't change directory to /nonexistent: ENOENT; make the folder first, or name another one with -W\n",
    );
  });
  test('a log file that cannot be made is named', () => {
    expect(criu(['dump', '-t', '1', '-o', '/nonexistent/x']).stderr).toBe(
      "Error (dump): Can't create log file /nonexistent/x: ENOENT; see -o and -W\n",
    );
  });
  test('a pid file that exists is refused before the restore', () => {
    writeFileSync(join(folder, 'pid'), '');
    expect(criu(['restore', '--pidfile', 'pid']).stderr).toBe(
      "Error (restore): pidfile pid: Can't open pid: EEXIST: it exists already; remove it or name another one with --pidfile\n",
    );
  });
  test('plugins are refused; an empty or absent folder is not', () => {
    const plugins = subfolder('plugins');
    writeFileSync(join(plugins, 'cuda_plugin.so'), '');
    expect(criu(['restore', '-D', subfolder('empty'), '-L', plugins]).stderr).toContain(
      '--libdir is not supported yet by this criu: cannot load cuda_plugin.so',
    );
    for (const dir of ['/nonexistent', subfolder('no-plugins')]) {
      expect(criu(['restore', '-D', subfolder('empty'), '-L', dir]).stderr).not.toContain('--libdir');
    }
  });
});

describe('a user who is not root', () => {
  const asNobody = (words: readonly string[]) => {
    const copy = join(subfolder('for-all'), 'criu');
    copyFileSync(CRIU, copy);
    chmodSync(folder, 0o755);
    const command = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', copy, ...words];
    return Bun.spawnSync(command, { stdin: 'ignore', stdout: 'ignore', stderr: 'pipe' }).stderr.toString();
  };
  test.skipIf(process.getuid?.() !== 0 || Bun.which('setpriv') === null)('is told at once, once', () => {
    expect(asNobody(['dump', '-t', '1', '-D', '/tmp'])).toBe(
      'Error (dump): criu dump needs to be root: the kernel lets nobody else look at the memory of a task, or choose a ' +
        'pid; run it with sudo, or with the capability CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN\n',
    );
  });
});

describe('the log', () => {
  test('is a file of mode 0600 in the work folder, and stderr has one line', () => {
    const work = subfolder('work');
    writeFileSync(join(work, 'r.log'), 'old text\n'.repeat(100), { mode: 0o600 });
    const { status, stderr } = criu(['restore', '-D', subfolder('empty'), '-W', work, '-o', 'r.log', '-v4']);
    expect(status).not.toBe(0);
    expect(stderr.trimEnd().split('\n')).toHaveLength(1);
    expect(stderr).toMatch(/^Error \(restore\): Restoring FAILED\. .* \(log: r\.log\)\n$/);
    const log = readFileSync(join(work, 'r.log'), 'latin1');
    expect(log).toMatch(/^\(\d\d\.\d{6}\) Version: 4\.2 \(gitid criu-ts-0\.1\.0\)\n\(\d\d\.\d{6}\) Running on /);
    expect(log).not.toContain('old text');
    expect(log).toMatch(/\(\d\d\.\d{6}\) Error \(restore\): Restoring FAILED\. .*\n$/);
  });
  test('is made with mode 0600', () => {
    const work = subfolder('work');
    criu(['restore', '-D', subfolder('empty'), '-W', work, '-o', 'new.log']);
    expect(statSync(join(work, 'new.log')).mode & 0o777).toBe(0o600);
  });
  test('is stdout with "-o -"', () => {
    const { stdout, stderr } = criu(['restore', '-D', subfolder('empty'), '-o', '-']);
    expect(stdout).toContain('Error (restore): Restoring FAILED. ');
    expect(stderr).toBe('');
  });
  test('is silent with -v0', () => {
    expect(criu(['restore', '-D', subfolder('empty'), '-v0'])).toMatchObject({ stdout: '', stderr: '' });
  });
  test('names of any bytes are kept', () => {
    const images = Buffer.from(`${folder}/im\xff`, 'latin1');
    mkdirSync(images);
    // A shell makes the bytes that the runtime cannot pass as an argument.
    const script = `cd "$1"; exec "$2" restore -D "$(printf 'im\\377')" -o "$(printf '\\376.log')" -v4`;
    Bun.spawnSync(['sh', '-c', script, 'sh', folder, CRIU], { stdio: ['ignore', 'ignore', 'ignore'] });
    const log = Buffer.concat([images, Buffer.from('/\xfe.log', 'latin1')]);
    expect(readFileSync(log, 'latin1')).toContain('Restoring FAILED.');
  });
});

describe('descriptors', () => {
  test('--inherit-fd and --status-fd must be open', () => {
    expect(criu(['restore', '--inherit-fd', 'fd[55]:pipe:[5]']).stderr).toBe(
      "Error (restore): fd 55: Can't fstat inherit fd 55: EBADF: --inherit-fd names it, but whoever started criu has not left it open\n",
    );
    expect(criu(['restore', '--status-fd', '55']).status).toBe(1);
  });
  test('--close closes what was inherited, and nothing of the runtime', () => {
    const fd = openSync(join(folder, 'inherited'), 'w');
    const empty = subfolder('empty');
    const kept = criu(['restore', '-D', empty, '--inherit-fd', 'fd[3]:x'], { fds: [fd] });
    expect(kept.stderr).not.toContain('EBADF');
    const closed = criu(['restore', '-D', empty, '--close', '3', '--inherit-fd', 'fd[3]:x'], { fds: [fd] });
    expect(closed.stderr).toContain('fd 3: ');
    closeSync(fd);
    const many = Array.from({ length: 30 }, (_, index) => ['--close', String(index + 3)]).flat();
    expect(criu(['exec', ...many]).status).toBe(255);
  });
});

describe('configuration files', () => {
  test('a mistake names file and line', () => {
    const config = join(folder, 'bad.conf');
    writeFileSync(config, '# comment\nbogus\n');
    expect(criu(['check', '--config', config])).toMatchObject({
      status: 1,
      stderr: `Error (criu): ${config}:2: unrecognized option '--bogus'\n`,
    });
  });
  test('a folder is no configuration file', () => {
    expect(criu(['check', '--config', folder]).stderr).toBe(
      `Error (criu): configuration file ${folder}: cannot read it: EISDIR\n`,
    );
  });
});

test('the folder that criu is started in gives it no orders', () => {
  const cwd = subfolder('hostile');
  writeFileSync(join(cwd, 'pwn.ts'), 'console.log("from the folder"); process.exit(42);');
  writeFileSync(join(cwd, 'bunfig.toml'), 'preload = ["./pwn.ts"]\n');
  writeFileSync(join(cwd, 'tsconfig.json'), '{ "compilerOptions": { "paths": { "*": ["./pwn.ts"] } } }');
  writeFileSync(join(cwd, 'package.json'), '{ "type": "commonjs", "imports": { "#*": "./pwn.ts" } }');
  const config = join(cwd, 'conf');
  writeFileSync(config, 'bogus\n');
  writeFileSync(join(cwd, '.env'), `CRIU_CONFIG_FILE=${config}\nBUN_OPTIONS=--preload=./pwn.ts\n`);
  expect(criu(['-V'], { cwd })).toEqual({ status: 0, stdout: 'Version: 4.2\nGitID: criu-ts-0.1.0\n', stderr: '' });
  expect(criu(['exec'], { cwd })).toEqual({
    status: 255,
    stdout: '',
    stderr: 'Error (exec): The "exec" action is deprecated by the Compel library.\n',
  });
  // The same file is obeyed when the caller himself names it: the test above can fail.
  expect(criu(['exec'], { cwd, env: { CRIU_CONFIG_FILE: config } }).status).toBe(1);
});
