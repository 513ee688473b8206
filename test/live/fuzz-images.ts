/**
 * Damages images at random and gives them to a restore. What may come is a clear error (a CriuError) or success, quickly;
 * what may not: any other exception, a hang, a process that is left over.
 *
 * Most runs are made in this process, up to the point where a restore would create its first task: hundreds a second. Some
 * go through the whole executable, in namespaces of their own where everything but the folder is read-only.
 *
 * Also a script: `bun test/live/fuzz-images.ts [--count N] [--whole N] [--seed N] [--images FOLDER]...`
 */
import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import { AssertionError, CriuError } from '../../src/base/errors.ts';
import { criuBinary } from '../harness/criu-command.ts';
import {
  cleanUp,
  dump,
  expectGone,
  expectSuccess,
  makeFolder,
  makeImagesDir,
  startProgram,
} from '../harness/harness.ts';
import { type Mutation, mutate, Random } from '../harness/mutate-images.ts';
import { readTree } from '../harness/processes.ts';
import { checkRestore } from '../harness/restore-checks.ts';

/** Programs whose images have, together, nearly every kind of entry. */
const PROGRAMS: readonly (readonly [program: string, args: readonly string[], dumpArgs: readonly string[]])[] = [
  ['tree', [], []],
  ['signals', [], []],
  ['timers', [], []],
  ['creds', [], []],
  ['threads', ['3'], []],
  ['seccomp-filter', [], []],
  ['files-shared', [], []],
  ['ghost', [], []],
  ['pipes', [], []],
  ['events', [], []],
  ['watches', [], []],
  ['memfds', [], []],
  ['pidfds', [], []],
  ['unix-sockets', [], []],
  ['inet-sockets', [], []],
  ['file-locks', [], ['--file-locks']],
  ['pty-pair', [], []],
  ['mem-shared', [], []],
  ['mem-sysv', [], []],
  ['mem-cow', [], []],
  ['packet-sockets', [], []],
  ['bpf-maps', [], []],
  ['io-uring', ['0', '8'], []],
  ['network-namespace', ['more'], ['--tcp-established']],
];

/** A checkpoint: the folder, and its files in memory. */
interface ImageSet {
  readonly name: string;
  readonly folder: string;
  readonly files: ReadonlyMap<string, Uint8Array>;
}

export interface FuzzResult {
  readonly count: number;
  /** How many were refused, and how many would have been restored. */
  readonly refused: number;
  readonly accepted: number;
  /** One line for each run that ended otherwise. */
  readonly findings: readonly string[];
}

/** A run that takes longer is a hang. */
const SLOW_MS = 3000;

/** Starts, dumps and ends the programs, or only some of them. */
export async function makeImageSets(only?: readonly string[]): Promise<ImageSet[]> {
  const sets: ImageSet[] = [];
  for (const [program, args, dumpArgs] of PROGRAMS) {
    if (only !== undefined && !only.includes(program)) continue;
    const specimen = await startProgram(program, { args });
    const folder = makeImagesDir(specimen, 'images');
    const tree = readTree(specimen.pid);
    expectSuccess(await dump(specimen, folder, dumpArgs));
    await expectGone(tree, 'after the dump');
    sets.push(readSet(program, folder));
  }
  return sets;
}

function readSet(name: string, folder: string): ImageSet {
  const names = readdirSync(folder).filter((file) => /\.img$/.test(file));
  return { name, folder, files: new Map(names.map((file) => [file, readBytes(join(folder, file))])) };
}

/** Not a Buffer: its `slice` would not copy. */
function readBytes(path: string): Uint8Array {
  return new Uint8Array(readFileSync(path));
}

/** Mutates and checks in this process. */
export function fuzzChecks(sets: readonly ImageSet[], count: number, seed: number): FuzzResult {
  const random = new Random(seed);
  const findings: string[] = [];
  let accepted = 0;
  const folders = sets.map(copySet);
  for (let turn = 0; turn < count; turn++) {
    const index = random.below(sets.length);
    const [set, folder] = [sets[index] as ImageSet, folders[index] as string];
    const mutations = mutateSet(set, random);
    for (const mutation of mutations) apply(folder, mutation);
    const started = performance.now();
    const problem = tryCheck(folder);
    const tookMs = performance.now() - started;
    if (problem === undefined) accepted++;
    const isClear = problem === undefined || problem === 'refused';
    if (!isClear || tookMs > SLOW_MS) {
      const why = isClear ? `took ${Math.round(tookMs)} ms` : problem;
      findings.push(`${describe(set, mutations)}: ${why}`);
    }
    for (const { file } of mutations) apply(folder, { file, bytes: set.files.get(file), what: '' });
  }
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
  return { count, refused: count - accepted - findings.length, accepted, findings };
}

function tryCheck(folder: string): string | undefined {
  try {
    checkRestore(folder);
    return undefined;
  } catch (error) {
    if (error instanceof CriuError && !(error instanceof AssertionError)) return 'refused';
    return error instanceof Error
      ? `${error.name}: ${error.message} ${error.stack?.split('\n').slice(0, 4).join(' | ')}`
      : String(error);
  }
}

/** A copy in the same kind of folder, so that the original stays whole. */
function copySet({ name, folder }: ImageSet): string {
  const copy = join(makeFolder(`fuzz-${name}`), 'images');
  cpSync(folder, copy, { recursive: true });
  return copy;
}

/** Mostly one mutation, sometimes several. */
function mutateSet({ files }: ImageSet, random: Random): Mutation[] {
  const names = [...files.keys()];
  const count = random.below(4) === 0 ? 1 + random.below(4) : 1;
  const chosen = new Set(Array.from({ length: count }, () => random.pick(names)));
  return [...chosen].map((name) => mutate(files, name, random));
}

function apply(folder: string, { file, bytes }: Mutation): void {
  const path = join(folder, file);
  if (bytes === undefined) rmSync(path, { force: true });
  else writeFileSync(path, bytes);
}

function describe({ name }: ImageSet, mutations: readonly Mutation[]): string {
  return `${name}: ${mutations.map(({ file, what }) => `${file}: ${what}`).join('; ')}`;
}

/**
 * In new pid, mount, ipc and net namespaces: the folder is writable, everything else is not. Prints the exit status and how
 * many processes there are beside the shell.
 */
const NAMESPACE_SCRIPT = `
mount --make-rprivate / && mount --bind "$1" "$1" && mount -o remount,bind,ro / && mount -t proc proc /proc || exit 99
"$2" restore -d -D "$1" -W "$1" --shell-job --tcp-established --file-locks --link-remap --manage-cgroups=ignore -v1 >"$1/out" 2>&1
status=$?
set -- /proc/[0-9]*
echo "$status $(($# - 1))"
`;

/** Mutates and restores with the whole executable. */
export async function fuzzWhole(sets: readonly ImageSet[], count: number, seed: number): Promise<FuzzResult> {
  const random = new Random(seed);
  const findings: string[] = [];
  let accepted = 0;
  for (let turn = 0; turn < count; turn++) {
    const set = random.pick(sets);
    const folder = copySet(set);
    const mutations = mutateSet(set, random);
    for (const mutation of mutations) apply(folder, mutation);
    const { status, left, hung } = await restoreInNamespace(folder);
    const output = readFileSync(join(folder, 'out'), 'latin1');
    const fail = (what: string) => findings.push(`${describe(set, mutations)}: ${what}: ${output.slice(0, 600)}`);
    if (hung) fail('it hangs');
    else if (status === 0) accepted++;
    else if (left > 0) fail(`${left} processes are left`);
    else if (status > 1 || !/Error|error/.test(output) || /bug in criu|unexpected failure|Segmentation/.test(output))
      fail(`status ${status}`);
    rmSync(join(folder, '..'), { recursive: true, force: true });
  }
  return { count, refused: count - accepted - findings.length, accepted, findings };
}

async function restoreInNamespace(folder: string): Promise<{ status: number; left: number; hung: boolean }> {
  writeFileSync(join(folder, 'out'), '');
  const child = Bun.spawn(
    [
      ...['unshare', '--pid', '--mount', '--ipc', '--net', '--fork', '--kill-child', '--'],
      ...['sh', '-c', NAMESPACE_SCRIPT, 'sh', folder, criuBinary],
    ],
    { stdin: 'ignore', stdout: 'pipe', stderr: 'ignore' },
  );
  const timer = setTimeout(() => child.kill('SIGKILL'), 20_000);
  const text = await new Response(child.stdout).text();
  await child.exited;
  clearTimeout(timer);
  const match = /^(\d+) (\d+)/.exec(text);
  return { status: Number(match?.[1] ?? -1), left: Number(match?.[2] ?? 0), hung: match === null };
}

export function describeFuzz({ count, refused, accepted, findings }: FuzzResult): string {
  const sum = `${count} damaged sets of images: ${refused} refused, ${accepted} accepted, ${findings.length} findings`;
  return [sum, ...findings.slice(0, 20)].join('\n');
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    args: Bun.argv.slice(2),
    options: {
      count: { type: 'string', default: '10000' },
      whole: { type: 'string', default: '100' },
      seed: { type: 'string', default: '1' },
      images: { type: 'string', multiple: true },
    },
  });
  const sets = values.images?.map((folder) => readSet(basename(folder), folder)) ?? (await makeImageSets());
  const checks = fuzzChecks(sets, Number(values.count), Number(values.seed));
  console.log(describeFuzz(checks));
  const whole = await fuzzWhole(sets, Number(values.whole), Number(values.seed));
  console.log(`whole: ${describeFuzz(whole)}`);
  await cleanUp();
  process.exit(checks.findings.length + whole.findings.length > 0 ? 1 : 0);
}

if (import.meta.main) await main();
