/**
 * `npm test`: static checks, unit tests, build, live tests, one after the other; with arguments only these parts. Goes
 * on after a failure, so that one run tells everything, and ends with one line that sums up all of it.
 *
 * The whole run has a time limit (TEST_MINUTES, 20 by default): what still runs then is killed and has failed.
 */
import { resolve } from 'node:path';

const repository = resolve(import.meta.dir, '..');
const DEFAULT_MINUTES = 20;
const LIVE_TESTS = '**/*.live.test.ts';

interface Part {
  readonly name: string;
  readonly command: readonly string[];
  /** Its output has the summary of `bun test`. */
  readonly hasTests?: boolean;
  /** Without it the parts after this one tell nothing. */
  readonly isNeeded?: boolean;
  /** Only when it is named. */
  readonly isExtra?: boolean;
}

const PARTS: readonly Part[] = [
  { name: 'biome', command: ['biome', 'check', '.'] },
  { name: 'types', command: ['tsc'] },
  { name: 'tidy', command: ['bun', 'tools/tidy.ts'] },
  {
    name: 'unit',
    command: ['bun', 'test', '--timeout', '60000', '--path-ignore-patterns', LIVE_TESTS, 'src', 'tools'],
    hasTests: true,
  },
  { name: 'build', command: ['bun', 'tools/build.ts'], isNeeded: true },
  { name: 'live', command: ['bun', 'test', '--timeout', '120000', '.live.test.ts'], hasTests: true },
  { name: 'real', command: ['bun', 'test', '.real.test.ts'], hasTests: true, isExtra: true },
];

/** What the tests of one run, or of all of them, came to. */
export interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

/**
 * Reads the summary that `bun test` prints at its end (" 12 pass", " 1 skip", " 0 fail"). A test that found out only
 * while it ran that it can't run here says "skipped: NAME: REASON" and counts as skipped. An end with a failure that no
 * test stands for (a file that cannot be loaded, a crash) counts as one.
 */
export function countTests(output: string, exitCode: number): Counts {
  const last = (word: string) => Number([...output.matchAll(new RegExp(`^ *(\\d+) ${word}$`, 'gm'))].at(-1)?.[1] ?? 0);
  const skippedLate = [...output.matchAll(/^skipped: /gm)].length;
  const failed = last('fail');
  return {
    passed: Math.max(0, last('pass') - skippedLate),
    failed: failed === 0 && exitCode !== 0 ? 1 : failed,
    skipped: last('skip') + last('todo') + skippedLate,
  };
}

/** The last line: "12 passed, 0 failed, 1 skipped". */
export function summaryLine(all: readonly Counts[]): string {
  const sum = (key: keyof Counts) => all.reduce((total, counts) => total + counts[key], 0);
  return `${sum('passed')} passed, ${sum('failed')} failed, ${sum('skipped')} skipped`;
}

/** Runs one part, with its output shown and returned. */
async function run(part: Part, deadlineMs: number): Promise<{ output: string; exitCode: number }> {
  const bin = resolve(repository, 'node_modules/.bin');
  const child = Bun.spawn([...part.command], {
    cwd: repository,
    env: { ...process.env, PATH: `${bin}:${process.env['PATH'] ?? '/usr/bin:/bin'}` },
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: 'pipe',
    timeout: Math.max(1, Math.round(deadlineMs - performance.now())),
    killSignal: 'SIGKILL',
  });
  const [stdout, stderr] = await Promise.all([show(child.stdout, process.stdout), show(child.stderr, process.stderr)]);
  return { output: `${stdout}\n${stderr}`, exitCode: await child.exited };
}

async function show(from: ReadableStream<Uint8Array>, to: NodeJS.WriteStream): Promise<string> {
  const decoder = new TextDecoder();
  let text = '';
  for await (const chunk of from) {
    to.write(chunk);
    text += decoder.decode(chunk, { stream: true });
  }
  return text;
}

async function main(names: readonly string[]): Promise<number> {
  const deadlineMs = performance.now() + Number(process.env['TEST_MINUTES'] ?? DEFAULT_MINUTES) * 60_000;
  const counts: Counts[] = [];
  const bad: string[] = [];
  for (const part of PARTS) {
    if (names.length > 0 ? !names.includes(part.name) : part.isExtra) continue;
    console.log(`\n=== ${part.name}: ${part.command.join(' ')}`);
    const { output, exitCode } = await run(part, deadlineMs);
    if (exitCode !== 0) bad.push(part.name);
    if (part.hasTests) counts.push(countTests(output, exitCode));
    else if (exitCode !== 0) counts.push({ passed: 0, failed: 1, skipped: 0 });
    if (exitCode !== 0 && part.isNeeded) break;
  }
  console.log(bad.length === 0 ? '\nall parts are good' : `\nnot good: ${bad.join(', ')}`);
  console.log(summaryLine(counts));
  return bad.length === 0 ? 0 : 1;
}

if (import.meta.main) process.exit(await main(process.argv.slice(2)));
