/** Runs the built executable as crit: its names, exit status, stdin and stdout. What it does is tested in src/crit. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import {
  copyFileSync,
  existsSync,
  linkSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { core, sampleImages } from '../../crit/image-files.test-support.ts';
import { serializeImage } from '../../image/serialize-image.ts';

const CRIU = resolve(import.meta.dir, '../../../dist/criu');
const FS = serializeImage('fs', [{ cwd_id: 1, root_id: 2 }]);
const JSON_TEXT = '{"magic": "FS", "entries": [{"cwd_id": 1, "root_id": 2}]}';
let folder = '';

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'criu-crit-'));
  writeFileSync(join(folder, 'fs-1.img'), FS);
  symlinkSync(CRIU, join(folder, 'crit'));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

function crit(args: readonly string[], input: Uint8Array | string = '', command = [join(folder, 'crit')]) {
  const { exitCode, stdout, stderr } = Bun.spawnSync([...command, ...args], { cwd: folder, stdin: Buffer.from(input) });
  return { status: exitCode, stdout: stdout.toString('latin1'), stderr: stderr.toString('latin1') };
}

describe('the program is crit', () => {
  test('as a command of criu', () => {
    expect(crit(['crit', 'decode'], FS, [CRIU])).toEqual({ status: 0, stdout: `${JSON_TEXT}\n`, stderr: '' });
  });

  test('when a link is called so, symbolic or hard, and when a copy is', () => {
    const same = { status: 0, stdout: `${JSON_TEXT}\n`, stderr: '' };
    expect(crit(['decode'], FS)).toEqual(same);
    for (const make of [copyFileSync, linkSync]) {
      const sub = mkdtempSync(join(dirname(CRIU), 'crit-'));
      make(CRIU, join(sub, 'crit'));
      expect(crit(['decode'], FS, [join(sub, 'crit')])).toEqual(same);
      rmSync(sub, { recursive: true });
    }
  });

  test('but not with options of criu before the word', () => {
    const { status, stderr } = crit(['-v1', 'crit', 'decode'], '', [CRIU]);
    expect(status).toBe(1);
    expect(stderr).toContain('crit takes no options of criu; write "criu crit" and its own options after it');
  });
});

describe('files and streams', () => {
  test('decode and encode take them by option', () => {
    expect(crit(['decode', '-i', 'fs-1.img', '-o', 'fs.json']).status).toBe(0);
    expect(readFileSync(join(folder, 'fs.json'), 'latin1')).toBe(JSON_TEXT);
    expect(crit(['encode', '--in=fs.json', '--out', 'again.img']).status).toBe(0);
    expect(Buffer.compare(readFileSync(join(folder, 'again.img')), FS)).toBe(0);
    expect(crit(['encode'], JSON_TEXT).stdout).toBe(Buffer.from(FS).toString('latin1'));
  });

  test('show and info take one image', () => {
    expect(JSON.parse(crit(['show', 'fs-1.img']).stdout)).toEqual(JSON.parse(JSON_TEXT));
    expect(crit(['info', 'fs-1.img']).stdout).toBe('{\n    "magic": "FS",\n    "count": 1\n}\n');
  });

  test('what fails leaves no output', () => {
    writeFileSync(join(folder, 'broken.img'), FS.slice(0, -1));
    expect(crit(['decode', '-i', 'broken.img', '-o', 'broken.json'])).toEqual({
      status: 1,
      stdout: '',
      stderr: 'crit: error: broken.img: entry 0: the file is truncated: the entry has 4 bytes, but only 3 are left\n',
    });
    expect(existsSync(join(folder, 'broken.json'))).toBe(false);
  });
});

describe('names in images', () => {
  test('do not reach the terminal with what it would obey', () => {
    const images = sampleImages();
    for (const [name, bytes] of images.files) writeFileSync(join(folder, name), bytes);
    images.put('core', 10, [core('a\nb\x1b[31m')]);
    writeFileSync(join(folder, 'core-10.img'), images.files.get('core-10.img') ?? '');
    expect(crit(['tree', '.']).stdout).toContain('\n10 a\\x0ab\\x1b[31m, leads its session\n');
    expect(crit(['x', '.', 'ps']).stdout).toContain('   a\nb\\x1b[31m\n');
  });
});

describe('exit status', () => {
  test('is 0 for help and version', () => {
    expect(crit(['--version'])).toEqual({ status: 0, stdout: '4.2\n', stderr: '' });
    for (const args of [['-h'], ['--help'], ['decode', '--help'], ['x', '-h']]) {
      const { status, stdout, stderr } = crit(args);
      expect([status, stderr]).toEqual([0, '']);
      expect(stdout).toStartWith('usage: crit ');
    }
  });

  test('is 1 when it could not be done, and without any words', () => {
    expect(crit([]).status).toBe(1);
    expect(crit([]).stderr).toContain('crit: error: too few arguments\n');
    expect(crit(['decode', '-i', 'missing.img'])).toEqual({
      status: 1,
      stdout: '',
      stderr: 'crit: error: missing.img: cannot open it: ENOENT\n',
    });
    expect(crit(['x', '/', 'ps']).stderr).toBe('crit: error: pstree.img: there is no such image\n');
  });

  test('is 2 for a wrong command line', () => {
    const mistakes: [string[], string][] = [
      [['no-command'], "invalid choice: 'no-command'"],
      [['x', 'dir', 'what'], "argument what: invalid choice: 'what' (choose from 'ps', 'fds', 'mems', 'rss')"],
      [['x', 'dir'], 'the following arguments are required: what'],
      [['info', 'a', 'b'], 'unrecognized arguments: b'],
      [['decode', '--nopl'], "unrecognized option '--nopl'"],
      [['decode', '-i'], "option requires an argument -- 'i'"],
    ];
    for (const [args, text] of mistakes) {
      const { status, stdout, stderr } = crit(args);
      expect([args, status, stdout]).toEqual([args, 2, '']);
      expect(stderr).toContain(text);
    }
  });
});
