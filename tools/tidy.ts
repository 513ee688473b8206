/**
 * House rules that neither the compiler nor Biome can check. Prints every offence as "path:line: what", and fails when
 * there is one. The rules are explained in CONTRIBUTING.md.
 */
import { readFileSync } from 'node:fs';
import { join, posix, resolve } from 'node:path';

const repository = resolve(import.meta.dir, '..');

/** Files that are looked at. What is generated or recorded from a kernel is left out. */
const LOOKED_AT = '{src,test,tools,proto,docs,examples}/**/*.{ts,c,h,py,pl,sh,proto,md}';
const AT_THE_ROOT = '{*.md,*.json,.ci/*}';
const LEFT_OUT = [/^src\/(image|agent)\/gen\//, /\/fixtures\/.*\.txt$/, /^package-lock\.json$/, /^CHANGELOG\.md$/];

const LINES_MAX = 400;
/** Files that are longer all the same, with the length they must not exceed. The list may only shrink. */
const LONGER: Readonly<Record<string, number>> = {
  'src/linux/abi/syscall-numbers.ts': 420,
};

/** What any part of the engine may import; a folder that has no line of its own below is one. */
const ENGINE = ['base', 'linux', 'proc', 'netlink', 'agent', 'image', 'tracee', 'resources', 'pages'];
/**
 * What each folder of src may import, besides itself. Types may be imported from dump and restore by resources, since a
 * resource describes parts of the trees that those two have built.
 */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  base: [],
  options: ['base'],
  image: ['base'],
  linux: ['base'],
  proc: ['base', 'linux/abi'],
  agent: ['base', 'linux/abi'],
  netlink: ['base', 'linux'],
  tracee: ['base', 'linux', 'proc', 'agent'],
  resources: ENGINE.filter((folder) => folder !== 'pages'),
  check: [...ENGINE, 'options'],
  crit: ['base', 'image', 'linux/abi'],
};
/** Folders at the top: they may import all others. */
const TOP = new Set(['cli', 'rpc', 'library', 'start', 'index.ts']);
/** Edges that are right although the table says otherwise, each with its reason. */
const EXCEPTIONS: readonly (readonly [from: RegExp, to: RegExp])[] = [
  // The image directory does its own I/O; the codec beside it stays pure.
  [/^src\/image\/image-dir\.ts$/, /^src\/linux\//],
  // A dump and a restore read the clocks in the same way.
  [/^src\/dump\//, /^src\/restore\/clocks\.ts$/],
  // The option table names the fields of requests; only their types.
  [/^src\/options\//, /^src\/image\/gen\/rpc\.ts$/],
];

export interface Offence {
  readonly path: string;
  readonly line: number;
  readonly what: string;
}

/** All offences of one file. `path` is relative to the repository. */
export function checkFile(path: string, text: string): Offence[] {
  const lines = text.split('\n');
  const offences: Offence[] = [];
  const isSource = path.startsWith('src/') && path.endsWith('.ts');
  const isTest = /\.(test|test-support)\.ts$/.test(path);
  if (path !== 'tools/tidy.ts' && path !== 'tools/tidy.test.ts') {
    lines.forEach((line, index) => {
      for (const what of checkLine(path, line, isTest)) offences.push({ path, line: index + 1, what });
    });
  }
  const length = lines.length - 1;
  const allowed = LONGER[path] ?? LINES_MAX;
  if (path.endsWith('.ts') && length > allowed) {
    offences.push({ path, line: length, what: `${length} lines are too many, the limit is ${allowed}` });
  }
  if (isSource && !isTest && !/^\/\*\*/.test(text)) {
    offences.push({ path, line: 1, what: 'there is no comment at the top that says what this file is for' });
  }
  const name = posix.basename(path);
  if (path.endsWith('.ts') && !/^[a-z0-9]+(-[a-z0-9]+)*(\.[a-z-]+)*\.ts$/.test(name)) {
    offences.push({ path, line: 1, what: 'the name is not in kebab-case' });
  }
  if (isSource && !isTest) offences.push(...checkImports(path, text), ...checkRuns(path, lines));
  return offences;
}

function checkLine(path: string, line: string, isTest: boolean): string[] {
  const found: string[] = [];
  if (/\b(TODO|FIXME|XXX|HACK)\b/.test(line)) found.push('work that is left is an issue or a documented limit');
  const paths = isTest ? line.replace(/'[^']*'|`[^`]*`|"[^"]*"/g, '') : line;
  if (/(?<![\w}>)\]*.])\/(work\/|root\/|home\/(?!user\b))[\w.]/.test(paths))
    found.push('this is a path of one machine');
  if (!path.endsWith('.ts')) return found;
  if (/\bas any\b|@ts-(ignore|nocheck|expect-error)/.test(line)) found.push('types are not switched off');
  if (!path.startsWith('src/') || isTest || path.startsWith('src/cli/')) return found;
  if (/^\s*const \{[^}]*\} = [A-Z]+;$/.test(line)) {
    found.push(
      'a namespace that is taken apart becomes an object with an accessor for each member: name them one by one',
    );
  }
  if (/^ {2}#\w+: [^=]*\bundefined;$/.test(line)) {
    found.push('a field that comes later changes the shape of its object: begin with undefined');
  }
  if (/\bconsole\.|\bprocess\.(exit|stdout|stderr)\b/.test(line)) {
    found.push('only src/cli ends the process or writes to the terminal');
  }
  return found;
}

/** What the runtime has from its start, which may have been on another machine: see src/start. */
const OF_THE_RUNTIME =
  /(?<![\w/.-])(process\.(?!arch\b)\w+|performance\.\w+|console\.\w+|Math\.random|crypto\.\w+|Bun\.(nanoseconds|env|argv|main|std\w+|random\w+))/;
/** Where it is used all the same. */
const USES_RUNTIME: Readonly<Record<string, RegExp>> = {
  'src/base/invocation.ts': /^process\.(argv0?|env)$/,
  'src/cli/main.ts': /^process\.exit(Code)?$/,
  'src/cli/programs/version.ts': /^console\.log$/,
};
/** What can change, at the top level of a module. Weak maps are left out: an object of a run does not outlive it. */
const LASTS = /^(export )?(let |const \w+[^=]*= new (Map|Set)\b[^(]*\(\);)/;

/** Memory of criu outlives a run when the next one starts from an image of it (src/base/per-run.ts). */
function checkRuns(path: string, lines: readonly string[]): Offence[] {
  const offences: Offence[] = [];
  let isTemplate = false;
  lines.forEach((line, index) => {
    const offend = (what: string) => offences.push({ path, line: index + 1, what });
    const isComment = /^\s*(\/?\*|\/\/)/.test(line);
    const [, used] = (isComment ? null : OF_THE_RUNTIME.exec(line)) ?? [];
    if (used !== undefined && USES_RUNTIME[path]?.test(used) !== true) {
      offend(
        `${used} is of the process that a start image was taken of: see base/invocation.ts, linux/clock.ts, random.ts`,
      );
    }
    if (!isTemplate && LASTS.test(line) && !/\beach run\b/.test(commentAbove(lines, index))) {
      offend(
        'this outlives a run: make it perRun or once (base/per-run.ts), or say above it why it is right in each run',
      );
    }
    if ((line.split('`').length - 1) % 2 === 1) isTemplate = !isTemplate;
  });
  return offences;
}

/** The comment that ends in the line before. */
function commentAbove(lines: readonly string[], index: number): string {
  let first = index;
  while (first > 0 && /^(\/\*\*| \*|\/\/)/.test(lines[first - 1] ?? '')) first--;
  return lines.slice(first, index).join('\n');
}

/** `import … from './x.ts'`, `export … from`, and `import('./x.ts')`. */
const IMPORT = /^(?:import|export)( type)?\b[^;'"]*from '([^']+)'|\bimport\('([^']+)'\)/gm;

function checkImports(path: string, text: string): Offence[] {
  const offences: Offence[] = [];
  for (const match of text.matchAll(IMPORT)) {
    const [, type, fixed, dynamic] = match;
    const line = text.slice(0, match.index).split('\n').length;
    const problem = checkImport(path, fixed ?? dynamic ?? '', type !== undefined);
    if (problem !== undefined) offences.push({ path, line, what: problem });
  }
  return offences;
}

function checkImport(path: string, specifier: string, isType: boolean): string | undefined {
  if (!specifier.startsWith('.')) return checkPackage(path, specifier);
  const to = posix.join(posix.dirname(path), specifier);
  if (!to.startsWith('src/')) return 'src imports nothing from outside of src';
  const from = path.split('/')[1] ?? '';
  const [, folder = '', sub = ''] = to.split('/');
  if (from === folder || TOP.has(from)) return undefined;
  if (EXCEPTIONS.some(([a, b]) => a.test(path) && b.test(to))) return undefined;
  if (isType && from === 'resources' && (folder === 'dump' || folder === 'restore')) return undefined;
  const allowed = MAY_IMPORT[from] ?? ENGINE;
  if (allowed.includes(folder) || allowed.includes(`${folder}/${sub}`)) return undefined;
  return `src/${from} may not import src/${folder}`;
}

/** Modules of the runtime cost start-up time; the kernel is reached through src/linux alone. */
function checkPackage(path: string, specifier: string): string | undefined {
  if (specifier === 'bun:ffi') return path.startsWith('src/linux/') ? undefined : 'only src/linux imports bun:ffi';
  if (path.startsWith('src/proc/fixtures/')) return undefined;
  // The client of the library runs on Node.js too, and starts the executable.
  if (path === 'src/library/criu-client.ts' && specifier.startsWith('node:')) return undefined;
  return `src does not import ${specifier}: system calls are in src/linux, and the product has no dependencies`;
}

/** All offences of the repository. */
function checkRepository(root: string): Offence[] {
  const paths = new Set<string>();
  for (const pattern of [LOOKED_AT, AT_THE_ROOT]) {
    for (const path of new Bun.Glob(pattern).scanSync({ cwd: root, dot: true })) paths.add(path);
  }
  return [...paths]
    .filter((path) => !path.startsWith('node_modules/') && !LEFT_OUT.some((pattern) => pattern.test(path)))
    .sort()
    .flatMap((path) => checkFile(path, readFileSync(join(root, path), 'utf8')));
}

if (import.meta.main) {
  const offences = checkRepository(repository);
  for (const { path, line, what } of offences) console.log(`${path}:${line}: ${what}`);
  console.log(offences.length === 0 ? 'tidy' : `${offences.length} offences`);
  process.exit(offences.length === 0 ? 0 : 1);
}
