/**
 * `npm run demo`: a program with state in memory, an open file, threads and a child is checkpointed, is gone, comes
 * back, and goes on where it was. Says in plain English what happens; the exit code tells whether all of it was right.
 *
 * The program is compiled from C where there is a compiler, else it is Python, Perl or bash: DEMO_LANGUAGE=cc, python3,
 * perl or bash chooses one.
 */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { criuBinary, explain, runCriu } from '../harness/criu-command.ts';
import { becomeSubreaper } from '../harness/libc.ts';
import { isAlive, killAll, readOwnDescendants, readTree, waitGone } from '../harness/processes.ts';

interface Tick {
  readonly tick: number;
  readonly pid: number;
  readonly child: number;
  readonly childTicks: number;
  readonly threads: readonly number[];
  readonly memory: string;
  readonly secret: string;
  readonly line: string;
}

interface Language {
  readonly command: string;
  readonly name: string;
  readonly source: string;
}

const languages: readonly Language[] = [
  { command: 'cc', name: 'C, compiled just now', source: 'ledger.c' },
  { command: 'python3', name: 'Python', source: 'ledger.py' },
  { command: 'perl', name: 'Perl', source: 'ledger.pl' },
  { command: 'bash', name: 'bash', source: 'ledger.sh' },
];

const imageMeanings: readonly [RegExp, string][] = [
  [/^inventory\.img/, 'what this checkpoint is, and of which version'],
  [/^pstree\.img/, 'the family tree of the processes and their threads'],
  [/^core-/, 'one task: registers, signals, timers, credentials, limits'],
  [/^mm-/, 'the map of an address space'],
  [/^pagemap-/, 'which pages of memory were saved'],
  [/^pages-/, 'the content of the memory'],
  [/^files\.img/, 'every open file: path, position, flags'],
  [/^fdinfo-/, 'which descriptor is which file'],
  [/^fs-/, 'working directory, root and umask'],
  [/^ids-/, 'what the tasks share'],
  [/^pipes/, 'pipes and the data in them'],
  [/^memfd/, 'memory that tasks share'],
  [/^seccomp/, 'system call filters'],
  [/^timens/, 'how far the clocks have come'],
  [/^stats-/, 'how long everything took'],
  [/\.log/, 'what criu did, step by step'],
];

const dir = mkdtempSync(join(tmpdir(), 'criu-demo-'));
const journal = join(dir, 'journal.txt');
const started = new Set<number>();
let failures = 0;

function say(text = ''): void {
  console.log(text);
}

/** One claim of the demo, with its evidence. */
function claim(holds: boolean, text: string): void {
  say(`   ${holds ? '✓' : '✗ WRONG:'} ${text}`);
  if (!holds) failures++;
}

function readTicks(): Tick[] {
  if (!existsSync(journal)) return [];
  return readFileSync(journal, 'utf8')
    .split('\n')
    .filter((line) => line.endsWith(line.split('secret=')[1] ?? '!'))
    .map(parseTick);
}

function parseTick(line: string): Tick {
  const fields = new Map(line.split(' ').map((field) => field.split('=') as [string, string]));
  const number = (key: string): number => Number(fields.get(key));
  return {
    tick: number('tick'),
    pid: number('pid'),
    child: number('child'),
    childTicks: number('childTicks'),
    threads: (fields.get('threads') ?? '').split(',').filter(Boolean).map(Number),
    memory: fields.get('memory') ?? '',
    secret: fields.get('secret') ?? '',
    line,
  };
}

async function waitTicks(count: number): Promise<Tick[]> {
  for (let waitedMs = 0; waitedMs < 20_000 && readTicks().length < count; waitedMs += 20) await Bun.sleep(20);
  const ticks = readTicks();
  if (ticks.length < count)
    throw new Error(`the program wrote ${ticks.length} lines in its journal, ${count} were expected`);
  return ticks;
}

function chooseLanguage(): { language: Language; program: string } {
  const wanted = process.env['DEMO_LANGUAGE'];
  for (const language of languages) {
    if (wanted !== undefined && wanted !== language.command) continue;
    const program = Bun.which(language.command);
    if (program !== null) return { language, program };
  }
  throw new Error(
    `no program for the demo: none of ${wanted ?? languages.map((language) => language.command).join(', ')} is here`,
  );
}

function buildCommand({ language, program }: ReturnType<typeof chooseLanguage>): string[] {
  const source = join(import.meta.dir, language.source);
  if (language.command !== 'cc') return [program, source, journal];
  const binary = join(dir, 'ledger');
  const built = Bun.spawnSync([program, '-O1', '-pthread', '-o', binary, source]);
  if (!built.success) throw new Error(`cannot compile ${source}: ${built.stderr}`);
  return [binary, journal];
}

async function start(): Promise<Tick> {
  const choice = chooseLanguage();
  say(`1. Starting a small program (${choice.language.name}) that counts and keeps a random secret in its memory.`);
  const child = Bun.spawn(buildCommand(choice), {
    cwd: dir,
    env: { PATH: process.env['PATH'] ?? '/usr/bin:/bin' },
    detached: true,
    stdin: 'ignore',
    stdout: 'ignore',
    stderr: 'ignore',
  });
  child.unref();
  started.add(child.pid);
  const ticks = await waitTicks(5);
  const last = ticks.at(-1) as Tick;
  const threads = readdirSync(`/proc/${last.pid}/task`).length;
  say(
    `   It is process ${last.pid} with ${threads === 1 ? 'one thread' : `${threads} threads`}, and has a child, process ${last.child}.`,
  );
  say('   The last lines of its journal, an open file that it writes to:');
  for (const tick of ticks.slice(-3)) say(`     ${tick.line}`);
  return last;
}

async function checkpoint(before: Tick, imagesDir: string): Promise<number> {
  say('\n2. Checkpoint: everything the two processes are goes to files, and the processes end.');
  const tree = readTree(before.pid);
  const args = ['dump', '-t', String(before.pid), '-D', imagesDir, '-v4', '-o', 'dump.log'];
  say(`   $ criu ${args.join(' ')}`);
  const startMs = performance.now();
  const result = await runCriu({ args, imagesDir, logName: 'dump.log' });
  const tookMs = performance.now() - startMs;
  if (result.exitCode !== 0) throw new Error(`the checkpoint failed\n${explain(result)}`);
  say(`   It took ${tookMs.toFixed(0)} ms.`);
  // A zombie that was left in their session would keep their numbers in use.
  const left = await waitGone([...tree, ...readOwnDescendants()], 3000);
  claim(left.filter(isAlive).length === 0, `processes ${tree.join(' and ')} are gone`);
  listImages(imagesDir);
  const lines = readTicks();
  await Bun.sleep(1500);
  claim(
    readTicks().length === lines.length,
    `the journal stands still at tick ${lines.at(-1)?.tick}: nobody is there to write`,
  );
  return lines.length;
}

function listImages(imagesDir: string): void {
  const names = readdirSync(imagesDir)
    .filter((name) => !name.endsWith('.out'))
    .sort();
  const sizes = names.map((name) => statSync(join(imagesDir, name)).size);
  const total = sizes.reduce((sum, size) => sum + size, 0);
  say(`   All that is left of them is in ${imagesDir}: ${names.length} files, ${(total / 1048576).toFixed(1)} MiB`);
  names.forEach((name, index) => {
    const meaning = imageMeanings.find(([pattern]) => pattern.test(name))?.[1] ?? '';
    say(`     ${name.padEnd(22)} ${String(sizes[index]).padStart(9)} bytes  ${meaning}`);
  });
}

async function restore(linesBefore: number, imagesDir: string): Promise<readonly Tick[]> {
  say('\n3. Restore: the processes are built again from the files.');
  const args = ['restore', '-d', '-D', imagesDir, '-v4', '-o', 'restore.log'];
  say(`   $ criu ${args.join(' ')}`);
  const startMs = performance.now();
  const result = await runCriu({ args, imagesDir, logName: 'restore.log' });
  const tookMs = performance.now() - startMs;
  if (result.exitCode !== 0) throw new Error(`the restore failed\n${explain(result)}`);
  say(`   It took ${tookMs.toFixed(0)} ms. The journal goes on:`);
  const ticks = await waitTicks(linesBefore + 5);
  for (const tick of ticks.slice(linesBefore - 1, linesBefore + 3)) say(`     ${tick.line}`);
  return ticks;
}

function compare(before: Tick, ticks: readonly Tick[], linesBefore: number): void {
  say('\n4. Is it really the same program?');
  const last = ticks.at(-1) as Tick;
  const stop = ticks[linesBefore - 1] as Tick;
  const counted = ticks.every((tick, index) => tick.tick === index + 1);
  claim(
    counted,
    `it counted on: ${stop.tick} was the last tick before, ${stop.tick + 1} the first after, none is missing or double`,
  );
  claim(
    ticks.every((tick) => tick.secret === before.secret),
    `the secret in its memory is still ${before.secret}`,
  );
  claim(
    ticks.every((tick) => tick.memory === 'good'),
    'its memory is intact',
  );
  claim(last.pid === before.pid && isAlive(before.pid), `it has its old process number, ${before.pid}`);
  claim(last.child === before.child && isAlive(before.child), `its child has its old number too, ${before.child}`);
  claim(last.childTicks > stop.childTicks, `the child works: ${stop.childTicks} ticks before, ${last.childTicks} now`);
  const gained = last.threads.map((ticks, index) => ticks - (stop.threads[index] ?? 0));
  if (gained.length > 0)
    claim(
      gained.every((count) => count > 0),
      `all ${gained.length} counting threads work: ${last.threads.join(', ')} ticks`,
    );
}

async function main(): Promise<void> {
  if (process.getuid?.() !== 0) throw new Error('taking a process apart needs root: run "sudo npm run demo"');
  if (!existsSync(criuBinary)) throw new Error(`there is no ${criuBinary}: run "npm run build" first`);
  becomeSubreaper();
  const before = await start();
  const imagesDir = join(dir, 'images');
  mkdirSync(imagesDir);
  const linesBefore = await checkpoint(before, imagesDir);
  const ticks = await restore(linesBefore, imagesDir);
  started.add(before.pid);
  compare(before, ticks, linesBefore);
  say(
    failures === 0
      ? '\nAll of it is as it was. That is checkpoint and restore.'
      : `\n${failures} claims do not hold: see above.`,
  );
}

try {
  await main();
} catch (error) {
  failures++;
  say(`\nThe demo failed: ${error instanceof Error ? error.message : error}`);
} finally {
  await killAll(started);
  if (failures === 0 && process.env['KEEP'] !== '1') rmSync(dir, { recursive: true, force: true });
  else say(`The files are in ${dir}.`);
}
process.exit(failures === 0 ? 0 : 1);
