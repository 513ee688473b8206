/**
 * Kills criu with SIGKILL at random moments of a dump and counts how often the application runs on. Applications check
 * themselves all the time: test/programs/sweep.c (also built for 32 bits) has five tasks of twenty threads, sweep-tcp.c one task with twenty
 * connections to somebody else. Dumps are made with --leave-running, so the application may never end, whenever the kill
 * comes.
 *
 * Also a script: `bun test/live/kill-sweep.ts [--criu PATH] [--kills N] [--seed N] [--program sweep|sweep-32|sweep-tcp]`
 */
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setCriuBinary, spawnCriu } from '../harness/criu-command.ts';
import { cleanUp, makeImagesDir, type Specimen, startProgram } from '../harness/harness.ts';
import { isAlive, killAll, readState, readTree } from '../harness/processes.ts';
import { scriptOption } from '../harness/script-option.ts';

const threadsPerTask = 20;

interface SweepSubject {
  /** In test/programs; built for 64 bits unless stated. */
  readonly source: string;
  readonly bits?: 32;
  readonly tasks: number;
  readonly dumpArgs: readonly string[];
}

/** How many tasks each program has, and what their dump takes. */
const sweepPrograms = {
  sweep: { source: 'sweep', tasks: 5, dumpArgs: [] },
  'sweep-32': { source: 'sweep', bits: 32, tasks: 5, dumpArgs: [] },
  'sweep-tcp': { source: 'sweep-tcp', tasks: 1, dumpArgs: ['--tcp-established', '--network-lock', 'nftables'] },
} as const satisfies Record<string, SweepSubject>;
export type SweepProgram = keyof typeof sweepPrograms;

export interface SweepResult {
  readonly kills: number;
  readonly survived: number;
  /** Kills that came while criu was at work (the others came after its end). */
  readonly hits: number;
  /** Kills after which a task had more mappings than before. */
  readonly leftMappings: number;
  /** One line for each application that was lost. */
  readonly losses: readonly string[];
  readonly dumpMs: number;
}

function startSubject(program: SweepProgram): Promise<Specimen> {
  const { source, bits }: SweepSubject = sweepPrograms[program];
  return startProgram(source, bits === undefined ? {} : { bits });
}

/** Programs end by themselves after two minutes (ST_LIFE_SECONDS), which is no loss: a new one is taken before that. */
const SPECIMEN_MS = 60_000;

/** Does `kills` dumps and kills each at a random moment between its start and a bit after its usual end. */
export async function killSweep(kills: number, seed: number, program: SweepProgram = 'sweep'): Promise<SweepResult> {
  let specimen = await startSubject(program);
  let startedAt = performance.now();
  const dumpMs = await measureDump(specimen, program);
  const losses: string[] = [];
  let hits = 0;
  let leftMappings = 0;
  for (let turn = 0; turn < kills; turn++) {
    if (performance.now() - startedAt > SPECIMEN_MS) {
      await killAll(readTree(specimen.pid));
      specimen = await startSubject(program);
      startedAt = performance.now();
    }
    const tree = await readTasks(specimen.pid, sweepPrograms[program].tasks);
    const mappings = countMappings(tree);
    const afterMs = dumpMs * 1.05 * random(seed, turn);
    const wasRunning = await dumpAndKill(specimen, program, afterMs);
    if (wasRunning) hits++;
    const loss = (await findLoss(specimen, tree, sweepPrograms[program].tasks)) ?? (await findTwin(tree));
    if (loss === undefined) {
      if (countMappings(tree) > mappings) leftMappings++;
      continue;
    }
    losses.push(`killed after ${afterMs.toFixed(1)} ms: ${loss}; last in the log: ${lastLogLine(specimen)}`);
    startedAt = Number.NEGATIVE_INFINITY;
  }
  if ((await startDump(specimen, program).exited) !== 0) losses.push('the dump after the last kill does not work');
  const zombies = readChildren(readTree(specimen.pid)).filter((pid) => readName(pid) === TWIN_NAME);
  if (zombies.length > 0) losses.push(`the dump after the last kill left twins: ${zombies}`);
  return { kills, survived: kills - losses.length, hits, leftMappings, losses, dumpMs };
}

const TWIN_NAME = 'criu-twin';

/**
 * The tasks of the application. An agent that a kill has left alone may fork a twin afterwards, which has no name at first and
 * ends by itself: what is still there after three seconds is taken for a task.
 */
async function readTasks(root: number, count: number): Promise<number[]> {
  for (let waitedMs = 0; ; waitedMs += 5) {
    const tree = readTree(root).filter((pid) => readName(pid) !== TWIN_NAME);
    if (tree.length === count || waitedMs > 3000) return tree;
    await Bun.sleep(5);
  }
}

const readName = (pid: number) => tryRead(`/proc/${pid}/comm`).trimEnd();
const readChildren = (tree: readonly number[]) =>
  tree.flatMap((pid) => tryRead(`/proc/${pid}/task/${pid}/children`).split(' ').filter(Boolean).map(Number));

function tryRead(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}

/** Copy-on-write twins of a dump that was killed must not live on. Dead ones wait for the next dump, which reaps them. */
async function findTwin(tree: readonly number[]): Promise<string | undefined> {
  const living = () =>
    readChildren(tree).filter((pid) => !tree.includes(pid) && !/^State:\tZ/m.test(tryRead(`/proc/${pid}/status`)));
  for (let waitedMs = 0; waitedMs < 3000; waitedMs += 5) {
    if (living().length === 0) return undefined;
    await Bun.sleep(5);
  }
  return `twins live on: ${living()}`;
}

/** The median of five dumps that are left alone. */
async function measureDump(specimen: Specimen, program: SweepProgram): Promise<number> {
  const timesMs: number[] = [];
  for (let turn = 0; turn < 5; turn++) {
    const start = performance.now();
    const child = startDump(specimen, program);
    if ((await child.exited) !== 0) throw new Error('the dump that is to be killed does not even work');
    timesMs.push(performance.now() - start);
  }
  return timesMs.sort((a, b) => a - b)[2] ?? 0;
}

function startDump(specimen: Specimen, program: SweepProgram): ReturnType<typeof spawnCriu> {
  const imagesDir = makeImagesDir(specimen, 'images');
  rmSync(imagesDir, { recursive: true });
  makeImagesDir(specimen, 'images');
  const args = ['dump', '-R', '-t', String(specimen.pid), '-D', imagesDir, '-v4', '-o', 'dump.log'];
  args.push(...sweepPrograms[program].dumpArgs);
  return spawnCriu({ args, imagesDir, logName: 'dump.log' });
}

/** True when criu was still running when the kill came. */
async function dumpAndKill(specimen: Specimen, program: SweepProgram, afterMs: number): Promise<boolean> {
  const start = performance.now();
  const child = startDump(specimen, program);
  if (afterMs > 2) await Bun.sleep(afterMs - 2);
  // A timer is too coarse for the last stretch.
  while (performance.now() - start < afterMs) {}
  child.kill('SIGKILL');
  await child.exited;
  return child.signalCode === 'SIGKILL';
}

/** What is wrong with the application, or undefined when every thread of it counts on. */
async function findLoss(specimen: Specimen, tree: readonly number[], tasks: number): Promise<string | undefined> {
  const before = readCounters(specimen);
  let waiting = tasks * threadsPerTask;
  for (let waitedMs = 0; waitedMs < 3000 && waiting > 0; waitedMs += 5) {
    await Bun.sleep(5);
    if (tree.some((pid) => !isAlive(pid))) break;
    waiting = readCounters(specimen).filter((value, index) => value === before[index]).length;
  }
  const ended = tree.filter((pid) => !isAlive(pid));
  if (ended.length > 0) {
    // The last field of stat is the wait status.
    const status = (pid: number) => tryRead(`/proc/${pid}/stat`).trimEnd().split(' ').at(-1) ?? '';
    const which = ended.map((pid) => `${pid} '${readName(pid)}' ${readState(pid) ?? 'gone'}, status ${status(pid)}`);
    return `ended: ${which.join(', ')}, of ${tree.length} tasks; ${tryRead(join(specimen.dir, 'lost'))}`;
  }
  if (waiting > 0) return `${waiting} threads stand still`;
  const threads = tree.map((pid) => readdirSync(`/proc/${pid}/task`).length);
  return threads.every((count) => count === threadsPerTask) ? undefined : `threads per task are ${threads}`;
}

function lastLogLine(specimen: Specimen): string {
  const log = join(specimen.dir, 'images', 'dump.log');
  return existsSync(log) ? (readFileSync(log, 'utf8').trimEnd().split('\n').at(-1) ?? '') : 'nothing';
}

function readCounters(specimen: Specimen): BigUint64Array {
  const bytes = readFileSync(join(specimen.dir, 'counters'));
  return new BigUint64Array(new Uint8Array(bytes).buffer);
}

function countMappings(tree: readonly number[]): number {
  return tree.reduce((sum, pid) => sum + readFileSync(`/proc/${pid}/maps`, 'latin1').split('\n').length, 0);
}

/** A number in 0..1 that depends on the seed and the turn only. */
function random(seed: number, turn: number): number {
  return Number(Bun.hash.xxHash64(`${seed} ${turn}`) % 1_000_000n) / 1_000_000;
}

/** The result in words. */
export function describeSweep(result: SweepResult): string {
  return [
    `${result.survived} of ${result.kills} applications survived`,
    `${result.hits} kills came during the dump (${result.dumpMs.toFixed(1)} ms)`,
    `${result.leftMappings} times a mapping was left behind`,
    ...result.losses.slice(0, 10),
  ].join('\n');
}

if (import.meta.main) {
  const criu = scriptOption('--criu');
  if (criu !== undefined) setCriuBinary(criu);
  try {
    const result = await killSweep(
      Number(scriptOption('--kills') ?? process.env['KILLS'] ?? 200),
      Number(scriptOption('--seed') ?? 1),
      scriptOption('--program') === 'sweep-tcp' ? 'sweep-tcp' : 'sweep',
    );
    console.log(describeSweep(result));
    process.exitCode = result.losses.length === 0 ? 0 : 1;
  } finally {
    await cleanUp();
  }
}
