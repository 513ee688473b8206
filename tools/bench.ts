/**
 * Compares dump and restore of dist/criu with another criu:
 *
 *     npm run bench -- --against /usr/sbin/criu [--runs N] [--only NAME,…] [--json FILE] [--criu FILE]
 *     npm run bench -- --limits
 *
 * The second form measures what the runtime and the kernel alone take on this machine for the main part of each workload.
 *
 * Both sides take turns within one run, since machines and hours differ. Everything happens in a mount namespace of its
 * own with a tmpfs for images and one for /run (where the original caches what it knows about the kernel), so nothing
 * stays behind. Needs root and a C compiler.
 */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { errorText } from '../src/base/errors.ts';
import { findWay } from './bench/at-once.ts';
import { measureLimits } from './bench/limits.ts';
import { measure, type Sample, type Setup } from './bench/measure.ts';
import { becomeReaper, killTrees, readDescendants } from './bench/processes.ts';
import { formatResult, type Result } from './bench/report.ts';
import { buildProgram, findCompiler } from './bench/target.ts';
import { WORKLOADS, type Workload } from './bench/workloads.ts';

const RUNS = 10;
/** Runs that may go wrong on one side (another process got the pid) before the side is given up. */
const FAILURES_MAX = 3;
const INSIDE = 'CRIU_BENCH_FOLDER';

interface Options {
  readonly criu: string;
  readonly against: string | undefined;
  readonly runs: number | undefined;
  readonly workloads: readonly Workload[];
  readonly json: string | undefined;
  readonly limits: boolean;
}

function fail(text: string): never {
  console.error(text);
  process.exit(1);
}

const USAGE = `npm run bench -- [options]

  --against FILE    compare with this criu
  --criu FILE       ours (default: dist/criu)
  --only NAME,...   these workloads
  --runs N          so many of each (default: ${RUNS}, fewer of big ones)
  --json FILE       write all samples there
  --list            name the workloads
  --limits          measure what the kernel alone takes for the main part of each
  --help            show this text`;

function parseOptions(): Options {
  const { values } = readArguments();
  if (values.help) {
    console.log(USAGE);
    process.exit(0);
  }
  if (values.list) {
    for (const { name, what, isOptional } of WORKLOADS) {
      console.log(`${name.padEnd(16)} ${what}${isOptional ? ' (only when named)' : ''}`);
    }
    process.exit(0);
  }
  const names = values.only?.split(',');
  const unknown = names?.find((name) => !WORKLOADS.some((workload) => workload.name === name));
  if (unknown !== undefined) fail(`there is no workload ${unknown}; --list shows all`);
  const runs = values.runs === undefined ? undefined : Number(values.runs);
  if (runs !== undefined && !(runs >= 1)) fail('--runs needs a number from 1 on');
  for (const program of [values.criu, values.against]) {
    if (program !== undefined && !existsSync(program)) fail(`there is no ${program}`);
  }
  return {
    criu: resolve(values.criu),
    against: values.against === undefined ? undefined : resolve(values.against),
    runs,
    workloads: WORKLOADS.filter(({ name, isOptional }) => (names === undefined ? !isOptional : names.includes(name))),
    json: values.json === undefined ? undefined : resolve(values.json),
    limits: values.limits,
  };
}

function readArguments() {
  try {
    return parseArgs({
      args: Bun.argv.slice(2),
      options: {
        against: { type: 'string' },
        criu: { type: 'string', default: join(import.meta.dir, '..', 'dist', 'criu') },
        runs: { type: 'string' },
        only: { type: 'string' },
        json: { type: 'string' },
        list: { type: 'boolean', default: false },
        limits: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    });
  } catch (error) {
    return fail(`${errorText(error)}\n\n${USAGE}`);
  }
}

/** Starts this program again in a mount namespace of its own and passes its exit status on. */
function enterNamespace(): never {
  if (process.getuid?.() !== 0) fail('the benchmark needs root: criu does');
  if (Bun.which('unshare') === null) fail('the benchmark needs the program unshare (util-linux)');
  const folder = mkdtempSync(join(tmpdir(), 'criu-bench-'));
  const inner = 'mount -t tmpfs -o size=90%,mode=700 bench "$0" && mount -t tmpfs -o mode=755 run /run && exec "$@"';
  const command = ['unshare', '--mount', '--propagation', 'private', 'sh', '-c', inner, folder];
  // The inner process cleans up after itself when it is interrupted; this one has to outlive it.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => {});
  const child = Bun.spawnSync([...command, process.execPath, Bun.main, ...Bun.argv.slice(2)], {
    env: { ...process.env, [INSIDE]: folder },
    stdin: 'ignore',
    stdout: 'inherit',
    stderr: 'inherit',
  });
  rmdirSync(folder);
  process.exit(child.exitCode ?? 1);
}

function availableMiB(): number {
  return Number(/^MemAvailable:\s+(\d+)/m.exec(readFileSync('/proc/meminfo', 'latin1'))?.[1] ?? 0) / 1024;
}

async function benchWorkload(workload: Workload, options: Options, folder: string): Promise<Result> {
  const result = { workload: workload.name, what: workload.what, ours: [], rival: [], failures: [] };
  const compiler = findCompiler();
  const failures: Result['failures'][number][] = result.failures;
  const samples: Record<'ours' | 'rival', Sample[]> = { ours: result.ours, rival: result.rival };
  if (compiler === null) fail('the benchmark needs a C compiler (cc, gcc or clang)');
  const setup = (criu: string): Setup => ({
    criu,
    way: findWay(criu),
    launcher: buildProgram('launch', compiler),
    program: buildProgram(workload.program, compiler),
    folder: join(folder, 'run'),
  });
  const sides: [side: 'ours' | 'rival', setup: Setup][] = [['ours', setup(options.criu)]];
  if (options.against !== undefined) sides.push(['rival', setup(options.against)]);
  const runs = options.runs ?? workload.runs ?? RUNS;
  const hasFailedTooOften = (side: string) =>
    failures.filter((failure) => failure.side === side).length >= FAILURES_MAX;
  const isDone = (side: 'ours' | 'rival') => samples[side].length > runs || hasFailedTooOften(side);
  // The first run of each side warms caches up and is dropped. Who begins changes from round to round.
  for (let round = 0; !sides.every(([side]) => isDone(side)); round++) {
    for (const [side, sideSetup] of round % 2 === 0 ? sides : sides.toReversed()) {
      if (isDone(side)) continue;
      try {
        samples[side].push(await measure(workload, sideSetup));
      } catch (error) {
        failures.push({ side, why: error instanceof Error ? error.message : String(error) });
        await killTrees(readDescendants());
      }
    }
  }
  for (const [side] of sides) samples[side].shift();
  return result;
}

async function main(folder: string): Promise<void> {
  const options = parseOptions();
  becomeReaper();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => void killTrees(readDescendants()).then(() => process.exit(1)));
  }
  mkdirSync(join(folder, 'run'), { recursive: true });
  if (options.limits) return await measureLimits(join(folder, 'run'));
  console.log(`ours: ${options.criu}`);
  if (options.against !== undefined) console.log(`rival: ${options.against}`);
  const results: Result[] = [];
  for (const workload of options.workloads) {
    const available = availableMiB();
    if (available < (workload.needsMiB ?? 0)) {
      console.log(
        `\n${workload.name}: skipped, it needs ${workload.needsMiB} MiB of memory, ${Math.round(available)} are free`,
      );
      continue;
    }
    if (workload.uses !== undefined && Bun.which(workload.uses) === null) {
      console.log(`\n${workload.name}: skipped, it needs the program ${workload.uses}`);
      continue;
    }
    const result = await benchWorkload(workload, options, folder);
    results.push(result);
    console.log(`\n${formatResult(result)}`);
  }
  if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(results, null, 1)}\n`);
  process.exit(results.some(({ ours, failures }) => ours.length === 0 || failures.length > 0) ? 1 : 0);
}

const inside = process.env[INSIDE];
if (inside === undefined) {
  parseOptions();
  if (findCompiler() === null) {
    console.log('the benchmark is skipped: it needs a C compiler (cc, gcc or clang)');
    process.exit(0);
  }
  enterNamespace();
}
await main(inside);
