/**
 * Runs the criu under test: dist/criu, or the program named by CRIU_BIN (it may be the original: the command line is
 * the same). CRIU_DUMP_BIN and CRIU_RESTORE_BIN name another program for one command: see tools/interop.ts. Output goes to a file, never a pipe, since restored tasks must not hold one of ours.
 */
import { closeSync, existsSync, openSync, readFileSync, readSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';

const repository = resolve(import.meta.dir, '..', '..');

/** The program under test. */
export let criuBinary = process.env['CRIU_BIN'] ?? join(repository, 'dist', 'criu');

/** Chooses another program, for scripts that have an option for it. */
export function setCriuBinary(path: string): void {
  criuBinary = path;
}

/** True when CRIU_ORIGINAL=1 says that CRIU_BIN is the C implementation: some of its habits are expected then. */
export const isOriginal = process.env['CRIU_ORIGINAL'] === '1';

/** Programs for one command only. */
const byCommand: Readonly<Record<string, string | undefined>> = {
  dump: process.env['CRIU_DUMP_BIN'],
  restore: process.env['CRIU_RESTORE_BIN'],
};

/** Whether images are passed from one criu to another: then only round trips are of interest. */
export const isInterop = Object.values(byCommand).some((binary) => binary !== undefined);

const binaryFor = ({ args }: CriuRun): string => byCommand[args[0] ?? ''] ?? criuBinary;

export interface CriuResult {
  readonly exitCode: number | null;
  readonly signal: string | null;
  /** What went to stdout and stderr. */
  readonly output: string;
  /** The log file's text; empty when there is none. */
  readonly log: string;
  readonly command: string;
}

export interface CriuRun {
  readonly args: readonly string[];
  /** The folder of images; logs and output are put there too. */
  readonly imagesDir: string;
  /** Name of the log file; the output goes to NAME.out beside it. */
  readonly logName: string;
  readonly logDir?: string;
  readonly timeoutMs?: number;
  /** Descriptors that become 3, 4 and so on of criu (--inherit-fd). */
  readonly descriptors?: readonly number[];
}

/** Starts criu and gives the running process; see `runCriu` for the plain case. */
export function spawnCriu(run: CriuRun): Bun.Subprocess<'ignore', Bun.BunFile, Bun.BunFile> {
  const binary = binaryFor(run);
  if (!existsSync(binary)) throw new Error(`there is no ${binary}: build it (npm run build) or set CRIU_BIN`);
  const output = Bun.file(outputPath(run));
  const stdio: ['ignore', Bun.BunFile, Bun.BunFile, ...number[]] = [
    'ignore',
    output,
    output,
    ...(run.descriptors ?? []),
  ];
  return Bun.spawn([binary, ...run.args], { env: process.env, stdio });
}

/** Runs criu to its end; kills it (and says so in the result) when it takes too long. */
export async function runCriu(run: CriuRun): Promise<CriuResult> {
  const child = spawnCriu(run);
  const timer = setTimeout(() => child.kill('SIGKILL'), run.timeoutMs ?? 40_000);
  await child.exited;
  clearTimeout(timer);
  return readResult(run, child);
}

/** What is known after the end of a criu process. */
export function readResult(run: CriuRun, child: Bun.Subprocess): CriuResult {
  return {
    exitCode: child.exitCode,
    signal: child.signalCode === null ? null : String(child.signalCode),
    output: readText(outputPath(run)),
    log: readText(join(run.logDir ?? run.imagesDir, run.logName)),
    command: `${binaryFor(run)} ${run.args.join(' ')}`,
  };
}

/** The end of the log and every line with an error: what a failing test prints. */
export function explain(result: CriuResult): string {
  const lines = result.log.split('\n');
  const errors = lines.filter((line) => /Error|Warn/.test(line)).slice(-15);
  return [
    `$ ${result.command}`,
    `exit code ${result.exitCode}${result.signal === null ? '' : `, signal ${result.signal}`}`,
    ...(result.output === '' ? [] : ['--- output', result.output.slice(-3000)]),
    ...(errors.length === 0 ? [] : ['--- errors and warnings in the log', ...errors]),
    '--- end of the log',
    ...lines.slice(-25),
  ].join('\n');
}

function outputPath(run: CriuRun): string {
  return join(run.logDir ?? run.imagesDir, `${run.logName}.out`);
}

/** The file's text, or the end of it: a criu that loops can write gigabytes of log. */
function readText(path: string): string {
  const bytesMax = 2_000_000;
  if (!existsSync(path)) return '';
  const bytes = statSync(path).size;
  if (bytes <= bytesMax) return readFileSync(path, 'utf8');
  const end = Buffer.alloc(bytesMax);
  const fd = openSync(path, 'r');
  readSync(fd, end, 0, bytesMax, bytes - bytesMax);
  closeSync(fd);
  return end.toString('utf8');
}
