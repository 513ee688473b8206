import { describe, expect, test } from 'bun:test';
import { checkFile } from './tidy.ts';

const HEADER = '/** What it is for. */\n';
const offences = (path: string, text: string) => checkFile(path, text).map(({ line, what }) => `${line}: ${what}`);

describe('text', () => {
  test('work that is left is refused, in any file', () => {
    const expected = ['2: work that is left is an issue or a documented limit'];
    for (const word of ['TODO', 'FIXME', 'XXX']) {
      expect(offences('docs/page.md', `text\nmore ${word}: text\n`)).toEqual(expected);
    }
    expect(offences('docs/page.md', 'mkdtemp uses XXXXXX\n')).toEqual([]);
  });

  test('paths of one machine are refused, but not in strings of tests', () => {
    const expected = ['2: this is a path of one machine'];
    expect(offences('src/base/x.ts', `${HEADER}// see /${'work'}/notes\n`)).toEqual(expected);
    expect(offences('docs/page.md', 'text\nin /root/criu\n')).toEqual(expected);
    expect(offences('src/base/x.test.ts', "expect('/root/x');\n")).toEqual([]);
    expect(offences('src/base/x.ts', `${HEADER}const a = '/proc/1/root/etc';\n`)).toEqual([]);
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is source text.
    expect(offences('src/base/x.ts', `${HEADER}${'const a = `/proc/${pid}/root/etc`;'}\n`)).toEqual([]);
  });

  test('types are not switched off', () => {
    expect(offences('test/x.ts', 'const a = b as any;\n// @ts-ignore\n')).toEqual([
      '1: types are not switched off',
      '2: types are not switched off',
    ]);
  });

  test('the terminal and the end of the process belong to src/cli', () => {
    const text = `${HEADER}console.log(1);\nprocess.exit(1);\n`;
    const what = 'only src/cli ends the process or writes to the terminal';
    expect(offences('src/dump/x.ts', text)).toEqual(expect.arrayContaining([`2: ${what}`, `3: ${what}`]));
    expect(offences('src/cli/main.ts', `${HEADER}process.exit(1);\n`)).toEqual([]);
    expect(offences('tools/x.ts', text)).toEqual([]);
  });
});

describe('source', () => {
  test('does not take a namespace apart', () => {
    const found = offences('src/dump/x.ts', `${HEADER}const { SOL_SOCKET } = SOCKET;\n`);
    expect(found).toEqual([expect.stringContaining('2: a namespace that is taken apart')]);
    expect(offences('src/dump/x.ts', `${HEADER}const { bytes } = table;\n`)).toEqual([]);
  });

  test('has objects with all fields from the beginning', () => {
    const found = offences('src/dump/x.ts', `${HEADER}class A {\n  #last: Seen | undefined;\n}\n`);
    expect(found).toEqual([expect.stringContaining('3: a field that comes later')]);
    const right = '  #last: Seen | undefined = undefined;\n  readonly #map: Seen | undefined;\n';
    expect(offences('src/dump/x.ts', `${HEADER}class A {\n${right}}\n`)).toEqual([]);
  });
});

describe('what outlives a run', () => {
  const what =
    'this outlives a run: make it perRun or once (base/per-run.ts), or say above it why it is right in each run';

  test('is perRun or once, or has a reason', () => {
    for (const line of ['let a = 1;', 'export let a: number | undefined;', 'const a = new Map();']) {
      expect(offences('src/dump/x.ts', `${HEADER}\n${line}\n`)).toEqual([`3: ${what}`]);
      expect(offences('src/dump/x.ts', `${HEADER}\n/** It is known. */\n${line}\n`)).toEqual([`4: ${what}`]);
      expect(offences('src/dump/x.ts', `${HEADER}\n/** The same in each run. */\n${line}\n`)).toEqual([]);
      expect(offences('src/dump/x.ts', `${HEADER}\n/**\n * Right in\n * each run.\n */\n${line}\n`)).toEqual([]);
      expect(offences('src/dump/x.test.ts', `${line}\n`)).toEqual([]);
      expect(offences('tools/x.ts', `${line}\n`)).toEqual([]);
    }
    expect(
      offences('src/dump/x.ts', `${HEADER}const a: Map<string, number> = new Map<string, number>();\n`),
    ).toHaveLength(1);
  });

  test('is not what lies inside of functions and templates, or never changes', () => {
    const harmless = [
      '  let a = 1;',
      "const a = new Map([['a', 1]]);",
      'const a = new WeakMap<X, Y>();',
      'const a = `\nlet a = 1;\n`;',
    ];
    for (const text of harmless) expect(offences('src/dump/x.ts', `${HEADER}${text}\n`)).toEqual([]);
  });

  test('is not taken from the runtime', () => {
    const see = 'is of the process that a start image was taken of: see base/invocation.ts, linux/clock.ts, random.ts';
    for (const use of [
      'process.argv',
      'process.env',
      'performance.now',
      'Bun.nanoseconds',
      'Math.random',
      'crypto.subtle',
    ]) {
      expect(offences('src/cli/x.ts', `${HEADER}const a = ${use};\n`)).toEqual([`2: ${use} ${see}`]);
      expect(offences('src/cli/x.ts', `${HEADER}// not ${use}\n`)).toEqual([]);
      expect(offences('src/cli/x.test.ts', `const a = ${use};\n`)).toEqual([]);
    }
    expect(offences('src/cli/x.ts', `${HEADER}import { a } from '../linux/syscalls/process.ts';\n`)).toEqual([]);
    expect(offences('src/cli/x.ts', `${HEADER}const a = process.arch;\nconst b = Date.now();\n`)).toEqual([]);
    expect(offences('src/base/invocation.ts', `${HEADER}const a = process.env;\n`)).toEqual([]);
    expect(offences('src/base/invocation.ts', `${HEADER}const a = process.pid;\n`)).toHaveLength(1);
  });
});

describe('files', () => {
  test('have a limit of length, and those above it may not grow', () => {
    const lines = (count: number) => HEADER + '\n'.repeat(count - 1);
    expect(offences('src/base/x.ts', lines(400))).toEqual([]);
    expect(offences('src/base/x.ts', lines(401))).toEqual(['401: 401 lines are too many, the limit is 400']);
    expect(offences('src/linux/abi/syscall-numbers.ts', lines(420))).toEqual([]);
    expect(offences('src/linux/abi/syscall-numbers.ts', lines(421))).toHaveLength(1);
  });

  test('say what they are for', () => {
    const expected = ['1: there is no comment at the top that says what this file is for'];
    expect(offences('src/base/x.ts', 'export const a = 1;\n')).toEqual(expected);
    expect(offences('src/base/x.test.ts', 'export const a = 1;\n')).toEqual([]);
  });

  test('have names in kebab-case', () => {
    for (const name of ['image-dir.ts', 'x86-64.ts', 'image-dir.live.test.ts', 'a.test-support.ts']) {
      expect(offences(`src/base/${name}`, HEADER)).toEqual([]);
    }
    expect(offences('src/base/imageDir.ts', HEADER)).toEqual(['1: the name is not in kebab-case']);
  });
});

describe('imports', () => {
  const from = (path: string, specifier: string, keyword = 'import') =>
    offences(path, `${HEADER}${keyword} { a } from '${specifier}';\n`);

  test('go downwards only', () => {
    expect(from('src/base/x.ts', '../linux/kernel.ts')).toEqual(['2: src/base may not import src/linux']);
    expect(from('src/linux/x.ts', '../base/errors.ts')).toEqual([]);
    expect(from('src/resources/fd/pipe/pipe.ts', '../../../tracee/stop.ts')).toEqual([]);
    expect(from('src/tracee/stop.ts', '../resources/mm/mm.ts')).toEqual(['2: src/tracee may not import src/resources']);
    expect(from('src/dump/dump.ts', '../cli/main.ts')).toEqual(['2: src/dump may not import src/cli']);
    expect(from('src/cli/main.ts', '../dump/dump.ts')).toEqual([]);
  });

  test('keep parsers and codecs away from the kernel', () => {
    expect(from('src/proc/x.ts', '../linux/abi/mman.ts')).toEqual([]);
    expect(from('src/proc/x.ts', '../linux/syscalls/fs.ts')).toEqual(['2: src/proc may not import src/linux']);
    expect(from('src/image/codec.ts', '../linux/kernel.ts')).toEqual(['2: src/image may not import src/linux']);
    expect(from('src/image/image-dir.ts', '../linux/kernel.ts')).toEqual([]);
  });

  test('take types, and only types, of a tree from dump and restore', () => {
    expect(from('src/resources/mm/x.ts', '../../dump/frozen-tree.ts', 'import type')).toEqual([]);
    expect(from('src/resources/mm/x.ts', '../../dump/frozen-tree.ts')).toEqual([
      '2: src/resources may not import src/dump',
    ]);
  });

  test('are found in every form', () => {
    const expected = ['2: src/base may not import src/linux'];
    expect(from('src/base/x.ts', '../linux/kernel.ts', 'export')).toEqual(expected);
    expect(offences('src/base/x.ts', `${HEADER}const a = await import('../linux/kernel.ts');\n`)).toEqual(expected);
    expect(offences('src/base/x.ts', `${HEADER}import {\n  a,\n} from '../linux/kernel.ts';\n`)).toEqual(expected);
  });

  test('are of our own modules', () => {
    expect(from('src/base/x.ts', 'node:fs')).toEqual([
      '2: src does not import node:fs: system calls are in src/linux, and the product has no dependencies',
    ]);
    expect(from('src/dump/x.ts', 'bun:ffi')).toEqual(['2: only src/linux imports bun:ffi']);
    expect(from('src/linux/kernel.ts', 'bun:ffi')).toEqual([]);
    expect(from('src/dump/x.ts', '../../tools/build.ts')).toEqual(['2: src imports nothing from outside of src']);
  });

  test('of a folder without a line of its own are those of the engine', () => {
    expect(from('src/novel/x.ts', '../resources/mm/mm.ts')).toEqual([]);
    expect(from('src/novel/x.ts', '../options/option-table.ts')).toEqual(['2: src/novel may not import src/options']);
    expect(from('src/novel/x.ts', '../cli/main.ts')).toEqual(['2: src/novel may not import src/cli']);
  });
});
