/** One run of one workload by one criu: dump --leave-running, dump, restore, each verified by the program itself. */
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseImage } from '../../src/image/image-file.ts';
import { type AtOnceWay, measureAtOnce, type Timing } from './at-once.ts';
import { killTrees, readTree, waitGone } from './processes.ts';
import { Target } from './target.ts';
import type { Workload } from './workloads.ts';

/** What is measured, in ms unless stated. */
export interface Sample {
  /** Wall time of `dump`. */
  dump: number;
  /** What criu itself says how long the tree was frozen, in stats-dump; undefined when it does not say. */
  frozen: number | undefined;
  /** Wall time of `restore -d`. */
  restore: number;
  /** From the start of `restore` to the first tick of the program. */
  tick: number;
  /** Wall time of `dump --leave-running`. */
  dumpRunning: number;
  /** Longest time that the program saw itself stand still while `dump --leave-running` ran. */
  freeze: number;
  /** Size of the images, in MiB. */
  images: number;
  /** Restores that let the program run before its memory is there, where the workload asks for them; see at-once.ts. */
  onceRestore?: number;
  onceTick?: number;
  onceComplete?: number;
}

export interface Setup {
  readonly criu: string;
  readonly way: AtOnceWay;
  readonly launcher: string;
  readonly program: string;
  /** On tmpfs; emptied by each run. */
  readonly folder: string;
}

const COMMAND_MS = 180_000;
const GONE_MS = 20_000;

/** Throws an Error with the command's last words when anything goes wrong; leaves no process behind. */
export async function measure(workload: Workload, setup: Setup): Promise<Sample> {
  rmSync(setup.folder, { recursive: true, force: true });
  mkdirSync(setup.folder, { recursive: true });
  const target = await Target.start(setup.program, workload.args, setup.folder);
  try {
    return await measureTarget(workload, setup, target);
  } finally {
    target.close();
    await killTrees([target.pid]);
    rmSync(setup.folder, { recursive: true, force: true });
  }
}

async function measureTarget(workload: Workload, setup: Setup, target: Target): Promise<Sample> {
  const options = [...(workload.options ?? [])];
  const run = (name: string, command: string[]) => runCriu(name, command, workload.touchMiB, setup);
  await target.waitForTicks(50n);
  await target.resetGap();
  const running = await run('running', ['dump', '-t', `${target.pid}`, '--leave-running', ...options]);
  const freeze = await target.readGapMs();
  if (!(await target.isGood())) throw new Error('the program is not the same after dump --leave-running');
  rmSync(join(setup.folder, 'running'), { recursive: true, force: true });

  const tree = readTree(target.pid);
  const dump = await run('images', ['dump', '-t', `${target.pid}`, ...options]);
  const left = await waitGone(tree, GONE_MS);
  if (left.length > 0) throw new Error(`dump left processes: ${left.join(' ')}`);
  target.armFirstTick();
  const restore = await run('images', ['restore', '-d', ...options]);
  const tick = await target.readFirstTick();
  if (!(await target.isGood())) throw new Error('the program is not the same after restore');
  const count = readTree(target.pid).length;
  if (count !== tree.length) throw new Error(`${count} tasks instead of ${tree.length} after restore`);
  const once = workload.isAtOnce === true ? await measureOnce(setup, target, run, options) : {};
  return {
    ...once,
    dump: milliseconds(dump),
    frozen: readFrozenMs(join(setup.folder, 'images')),
    restore: milliseconds(restore),
    tick: (tick - restore.realtime) / 1e6,
    dumpRunning: milliseconds(running),
    freeze,
    images: folderMiB(join(setup.folder, 'images')),
  };
}

/** The program is ended, and restored from the same images once more. */
async function measureOnce(
  setup: Setup,
  target: Target,
  run: (name: string, command: string[]) => Promise<Timing>,
  options: readonly string[],
) {
  await killTrees([target.pid]);
  const images = join(setup.folder, 'images');
  const restore = (more: readonly string[]) => run('images', ['restore', '-d', ...more, ...options]);
  const { command, tick, complete } = await measureAtOnce(setup.way, setup.criu, images, target, restore);
  if (!(await target.isGood())) throw new Error(`the program is not the same after restore --${setup.way}`);
  return { onceRestore: command, onceTick: tick, onceComplete: complete };
}

const milliseconds = ({ start, end }: Timing) => (end - start) / 1e6;

/** Runs criu by the launcher, which measures it; its output goes to files, since restored tasks must not hold a pipe. */
async function runCriu(name: string, command: string[], touchMiB: number, setup: Setup): Promise<Timing> {
  const images = join(setup.folder, name);
  mkdirSync(images, { recursive: true });
  const [action = ''] = command;
  const [result, output] = [join(setup.folder, `${action}.result`), join(setup.folder, `${action}.out`)];
  rmSync(result, { force: true });
  const criu = [setup.criu, ...command, '-D', images, '-o', `${action}.log`, '-v1'];
  const child = Bun.spawn([setup.launcher, result, `${touchMiB}`, ...criu], {
    stdin: 'ignore',
    stdout: Bun.file(output),
    stderr: Bun.file(output),
  });
  const timer = setTimeout(() => void killTrees([child.pid]), COMMAND_MS);
  await child.exited;
  clearTimeout(timer);
  const [start = 0, end = 0, status = -1, realtime = 0] = existsSync(result)
    ? readFileSync(result, 'utf8').split(' ').map(Number)
    : [];
  if (status !== 0) {
    const text = [join(images, `${action}.log`), output].filter(existsSync).map((path) => readFileSync(path, 'latin1'));
    const last = text.join('\n').trim().split('\n').slice(-4).join(' | ');
    throw new Error(`${action} ended with wait status ${status}: ${last}`);
  }
  return { start, end, realtime };
}

function readFrozenMs(images: string): number | undefined {
  const path = join(images, 'stats-dump');
  if (!existsSync(path)) return undefined;
  const [entry] = parseImage('stats', readFileSync(path), 'stats-dump');
  return entry?.dump === undefined ? undefined : entry.dump.frozen_time / 1000;
}

function folderMiB(folder: string): number {
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' });
  // The link "parent" leads to a folder that has been counted already.
  const own = names.filter((name) => !name.startsWith('parent/'));
  const bytes = own.reduce((sum, name) => sum + lstatSync(join(folder, name)).blocks * 512, 0);
  return bytes / 2 ** 20;
}
