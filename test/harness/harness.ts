/**
 * Checkpoints and restores real programs: start, wait until ready, dump, see that every task is gone, restore, let the
 * program check itself, again. `roundTrip` is the whole of it; the parts are exported for tests that need another order.
 *
 * Everything lives in one folder per program under the system's temporary folder, removed afterwards unless KEEP=1.
 * Everything that was started is killed by pid and reaped; see processes.ts.
 */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { type Bits, buildProgram, canBuild32, canExecute32 } from './build-program.ts';
import { type CriuResult, explain, runCriu } from './criu-command.ts';
import { becomeSubreaper } from './libc.ts';
import { compareSnapshots, type ProcSnapshot, readProcSnapshot } from './proc-snapshot.ts';
import { killAll, readOwnDescendants, readState, readTree, waitGone } from './processes.ts';

const startTimeoutMs = 30_000;
const checkTimeoutMs = 30_000;

/** A program that reported "ready". */
export interface Specimen {
  /** Folder of its own: status files, images, whatever the program creates. */
  readonly dir: string;
  readonly pid: number;
  readonly status: string;
  /** Status files of everything that reports: the program and its named children. */
  readonly reporters: readonly string[];
}

export interface StartOptions {
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** The program is built for 32 bits. */
  readonly bits?: Bits;
}

export interface RoundTripOptions extends StartOptions {
  /** How many times in a row; 3 unless stated, since what was restored must be dumpable again. */
  readonly rounds?: number;
  readonly dumpArgs?: readonly string[];
  readonly restoreArgs?: readonly string[];
  /** Dump with --leave-running: no restore, the program must not notice. */
  readonly leaveRunning?: boolean;
  /** Keys of the /proc picture ("PID/what") that may differ; each use needs a reason beside it. */
  readonly ignore?: readonly RegExp[];
  /** Runs before each dump. */
  readonly beforeDump?: (specimen: Specimen) => Promise<void>;
  /** Runs after the dump, before the restore. */
  readonly beforeRestore?: (specimen: Specimen) => void | Promise<void>;
  /** Runs after the restore, before anything is compared. */
  readonly afterRestore?: (specimen: Specimen, imagesDir: string) => Promise<void>;
  /** Runs before each dump and after each check, for what only an outsider can see. */
  readonly observe?: (specimen: Specimen) => unknown;
}

/** Thrown when a program says that this machine can't do what is to be tested. */
export class SkippedByProgram extends Error {}

const started = new Set<number>();
const folders = new Set<string>();
becomeSubreaper();

/** A fresh folder that everybody may write to, removed by `cleanUp`. */
export function makeFolder(prefix: string): string {
  const dir = mkdtempSync(join(tmpdir(), `criu-live-${prefix}-`));
  chmodSync(dir, 0o777);
  folders.add(dir);
  return dir;
}

/** Has `cleanUp` kill a process that a test started by itself. */
export function trackProcess(pid: number): void {
  started.add(pid);
}

/** Kills and removes all that the harness started or made, and all that its dumps and restores left below it. */
export async function cleanUp(): Promise<void> {
  await killAll([...started, ...readOwnDescendants()]);
  started.clear();
  for (const dir of folders) if (process.env['KEEP'] !== '1') rmSync(dir, { recursive: true, force: true });
  folders.clear();
}

/** Builds and starts a program of test/programs and waits until it has set up its state. */
export async function startProgram(name: string, options: StartOptions = {}): Promise<Specimen> {
  const dir = makeFolder(name);
  const status = join(dir, 'status');
  if (options.bits === 32) skipUnless32();
  const binary = buildProgram(name, options.bits);
  const child = Bun.spawn([binary, status, ...(options.args ?? [])], {
    cwd: dir,
    env: { PATH: process.env['PATH'] ?? '/usr/bin:/bin', ...options.env },
    stdin: 'ignore',
    stdout: 'ignore',
    stderr: 'ignore',
  });
  started.add(child.pid);
  const text = await waitStatus(status, /^(ready|FAIL|SKIP)/, startTimeoutMs, name);
  if (text.startsWith('SKIP')) throw new SkippedByProgram(text.slice(5));
  const pid = Number(/^ready 0 (\d+)/.exec(text)?.[1] ?? Number.NaN);
  if (!Number.isInteger(pid)) throw new Error(`${name}: ${text}`);
  // The program is an orphan as soon as the process that was started has ended.
  if (pid !== child.pid) await child.exited;
  started.add(pid);
  const reporters = listStatusFiles(dir);
  for (const file of reporters) {
    const said = readFileSync(join(dir, file), 'utf8');
    if (!said.startsWith('ready')) throw new Error(`${name}: ${file}: ${said}`);
  }
  tellMissing(name, `${status}-missing`);
  return { dir, pid, status, reporters };
}

/** Tells which parts of its test a program can't do on this machine. */
function tellMissing(name: string, path: string): void {
  const lines = existsSync(path) ? readFileSync(path, 'utf8').trim().split('\n') : [];
  for (const line of new Set(lines)) console.log(`skipped in part: ${name}: ${line}`);
}

/**
 * Throws SkippedByProgram where no program of 32 bits can be made or executed. Where nothing may be skipped the compiler will
 * say what it lacks; nobody can install another kernel.
 */
export function skipUnless32(): void {
  if (!canBuild32()) {
    if (process.env['CRIU_TEST_NO_SKIP'] === '1') return;
    throw new SkippedByProgram('the compiler makes no programs of 32 bits');
  }
  if (!canExecute32()) throw new SkippedByProgram('the kernel executes no programs of 32 bits');
}

/** A status file is "status" or "status.NAME"; "status.go1" and "status.tmp12" are not. */
function listStatusFiles(dir: string): string[] {
  return readdirSync(dir).filter((name) => /^status(\.(?!go\d|.*tmp\d).*)?$/.test(name) && !/\.tmp\d+$/.test(name));
}

async function waitStatus(path: string, wanted: RegExp, timeoutMs: number, who: string): Promise<string> {
  const deadline = Date.now() + timeoutMs;
  let text = '';
  while (Date.now() < deadline) {
    text = existsSync(path) ? readFileSync(path, 'utf8') : '';
    if (wanted.test(text)) return text;
    await Bun.sleep(2);
  }
  throw new Error(`${who}: waited ${timeoutMs} ms for ${wanted} in ${basename(path)}, it has: ${text || '(nothing)'}`);
}

/** Tells the program to check itself, and waits for every reporter. Throws what the program found wrong. */
export async function checkRound(specimen: Specimen, round: number): Promise<void> {
  writeFileSync(`${specimen.status}.go${round}`, '');
  const wanted = new RegExp(`^(ok|FAIL) ${round}\\b|^FAIL setup`);
  const wrong: string[] = [];
  for (const file of specimen.reporters) {
    const text = await waitStatus(join(specimen.dir, file), wanted, checkTimeoutMs, file);
    if (!text.startsWith('ok')) wrong.push(`${file}: ${text}`);
  }
  if (wrong.length > 0) throw new Error(wrong.join('\n'));
}

/** A new folder for one dump. */
export function makeImagesDir(specimen: Specimen, name: string): string {
  const dir = join(specimen.dir, name);
  mkdirSync(dir, { recursive: true });
  return dir;
}

/** `criu dump` of the program's tree. Never throws for a failure of criu. */
export function dump(
  specimen: Pick<Specimen, 'pid'>,
  imagesDir: string,
  args: readonly string[] = [],
): Promise<CriuResult> {
  const base = ['dump', '-t', String(specimen.pid), '-D', imagesDir, '-v4', '-o', 'dump.log'];
  return runCriu({ args: [...base, ...args], imagesDir, logName: 'dump.log' });
}

/** `criu restore -d`, which has `descriptors` from 3 on. Never throws for a failure of criu. */
export async function restore(
  specimen: Pick<Specimen, 'pid'>,
  imagesDir: string,
  args: readonly string[] = [],
  descriptors: readonly number[] = [],
): Promise<CriuResult> {
  const base = ['restore', '-d', '-D', imagesDir, '-v4', '-o', 'restore.log'];
  const result = await runCriu({ args: [...base, ...args], imagesDir, logName: 'restore.log', descriptors });
  started.add(specimen.pid);
  return result;
}

/** Throws with the log when criu did not succeed. */
export function expectSuccess(result: CriuResult): void {
  if (result.exitCode !== 0) throw new Error(explain(result));
}

/** Throws unless every process is gone (ended and reaped) within five seconds. */
export async function expectGone(pids: readonly number[], context: string): Promise<void> {
  const remaining = await waitGone(pids, 5000);
  if (remaining.length > 0) {
    throw new Error(`${context}: still there: ${remaining.map((pid) => `${pid} (${readState(pid)})`).join(', ')}`);
  }
}

/** Dumps, restores and checks a program as often as wanted, comparing its picture in /proc each time. */
export async function roundTrip(program: string, options: RoundTripOptions = {}): Promise<void> {
  const specimen = await startProgram(program, options);
  for (let round = 1; round <= (options.rounds ?? 3); round++) {
    await oneRound(specimen, round, options).catch((error: Error) => {
      throw new Error(`${program}, round ${round}: ${error.message}`);
    });
  }
}

async function oneRound(specimen: Specimen, round: number, options: RoundTripOptions): Promise<void> {
  const imagesDir = makeImagesDir(specimen, `images-${round}`);
  await options.beforeDump?.(specimen);
  const tree = readTree(specimen.pid);
  const before = readProcSnapshot(tree);
  options.observe?.(specimen);
  const leaveRunning = options.leaveRunning === true;
  expectSuccess(await dump(specimen, imagesDir, [...(leaveRunning ? ['-R'] : []), ...(options.dumpArgs ?? [])]));
  if (!leaveRunning) {
    await expectGone(tree, 'after the dump');
    await options.beforeRestore?.(specimen);
    expectSuccess(await restore(specimen, imagesDir, options.restoreArgs));
    await options.afterRestore?.(specimen, imagesDir);
  }
  await expectPictureAgain(before, specimen.pid, tree, options.ignore ?? []);
  await checkRound(specimen, round);
  options.observe?.(specimen);
}

/** A stop signal that waits, and memory that comes later, take a moment when the tasks have been let go: there is some time for it. */
async function expectPictureAgain(
  before: ProcSnapshot,
  root: number,
  tree: readonly number[],
  ignore: readonly RegExp[],
): Promise<void> {
  const look = () => readProcSnapshot([...new Set([...tree, ...readTree(root)])]);
  for (let tries = 0; tries < 200 && compareSnapshots(before, look(), ignore).length > 0; tries++) await Bun.sleep(10);
  expectSamePicture(before, look(), ignore);
}

/** Throws with every difference between two pictures of /proc. */
export function expectSamePicture(before: ProcSnapshot, after: ProcSnapshot, ignore: readonly RegExp[]): void {
  const differences = compareSnapshots(before, after, ignore);
  if (differences.length === 0) return;
  throw new Error(
    `/proc shows differences:\n${differences.slice(0, 12).join('\n')}${differences.length > 12 ? `\n… ${differences.length} in all` : ''}`,
  );
}
