/**
 * Lets system calls of criu fail, one in each run, and looks what becomes of the program. A dump that fails has to leave the
 * tree as it was, and no folder that could be taken for a checkpoint; a restore that fails, no process; and one that says
 * it succeeded has to be right.
 *
 * The calls are those of criu's main thread (strace(1) makes them fail); in each run one, which is chosen by the seed.
 *
 * Also a script: `bun test/live/fault-sweep.ts [--criu PATH] [--faults N] [--seed N] [--program NAME] [--mode dump|keep|restore]
 * [--only CALL]`
 */
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type CriuResult, criuBinary, explain, setCriuBinary } from '../harness/criu-command.ts';
import {
  checkRound,
  cleanUp,
  expectSamePicture,
  makeImagesDir,
  type Specimen,
  startProgram,
  trackProcess,
} from '../harness/harness.ts';
import { readProcSnapshot } from '../harness/proc-snapshot.ts';
import { isAlive, killAll, readState, readTree, waitGone } from '../harness/processes.ts';
import { scriptOption } from '../harness/script-option.ts';
import { chooseFault, countCalls, type Fault } from './faults.ts';

/** What is done under faults: a dump that ends the tree, one that does not, or a restore. */
export const MODES = ['dump', 'keep', 'restore'] as const;
export type Mode = (typeof MODES)[number];

/** Programs, and the options that their dumps and restores take. */
const SUBJECTS: Readonly<Record<string, { readonly dump?: readonly string[]; readonly restore?: readonly string[] }>> =
  {
    'link-remap': { dump: ['--link-remap'] },
    'pty-queues': {},
    pipes: {},
    'unix-queues': {},
    ghost: {},
    threads: {},
    'mem-shared': {},
    'file-locks': { dump: ['--file-locks'], restore: ['--file-locks'] },
    'inet-connected': { dump: ['--tcp-established'], restore: ['--tcp-established'] },
    tree: {},
    'mem-cow': {},
    'mem-sysv': {},
    'mem-private': {},
    memfds: {},
    events: {},
    epolls: {},
    pidfds: {},
    creds: {},
    'seccomp-filter': {},
    'unix-backlog': {},
    'unix-sockets': {},
    'udp-queued': {},
    'odd-files': { dump: ['--link-remap'] },
    'inet-peers': { dump: ['--tcp-established', '--network-lock', 'nftables'], restore: ['--tcp-established'] },
    interrupted: {},
  };

export interface FaultResult {
  readonly runs: number;
  /** Runs that ended with an error, and those that were done all the same. */
  readonly failed: number;
  readonly succeeded: number;
  /** Runs in which criu itself came to a sudden end. */
  readonly crashes: readonly string[];
  readonly findings: readonly string[];
}

/** How long a run may take: some wait for things that do not come, for two seconds each. */
const RUN_MS = 20_000;
/** Programs end by themselves after two minutes (ST_LIFE_SECONDS). */
const SPECIMEN_MS = 60_000;

class Sweep {
  readonly #program: string;
  readonly #mode: Mode;
  readonly #findings: string[] = [];
  readonly #crashes: string[] = [];
  readonly #counts = { runs: 0, failed: 0, succeeded: 0 };
  #specimen: Specimen | undefined;
  #startedAt = 0;
  #round = 0;

  constructor(program: string, mode: Mode) {
    this.#program = program;
    this.#mode = mode;
  }

  get result(): FaultResult {
    return { ...this.#counts, crashes: this.#crashes, findings: this.#findings };
  }

  async run(faults: number, seed: number, only?: string): Promise<void> {
    const all = await this.#listCalls();
    const calls = only === undefined ? all : new Map([...all].filter(([name]) => name === only));
    for (let turn = 0; turn < faults; turn++) await this.#try(chooseFault(calls, seed, turn));
  }

  /** What a run without faults calls. */
  async #listCalls(): Promise<ReadonlyMap<string, number>> {
    const specimen = await this.#takeSpecimen();
    const trace = join(specimen.dir, 'trace');
    const images = this.#freshImages(specimen);
    await this.#prepare(specimen, images);
    await this.#must(this.#runCriu(this.#mode, specimen, images, ['strace', '-o', trace]));
    await this.#drop();
    return countCalls(readFileSync(trace, 'latin1'));
  }

  async #try(fault: Fault): Promise<void> {
    const specimen = await this.#takeSpecimen();
    const images = this.#freshImages(specimen);
    const tree = readTree(specimen.pid);
    const before = readProcSnapshot(tree);
    const files = listFiles(specimen);
    await this.#prepare(specimen, images);
    const injection = `inject=${fault.name}:error=${fault.error}:when=${fault.n}`;
    const result = await this.#runCriu(this.#mode, specimen, images, ['strace', '-o', '/dev/null', '-e', injection]);
    this.#counts.runs++;
    const { exitCode, signal } = result;
    const what = `${this.#program} ${this.#mode} ${fault.name}#${fault.n} ${fault.error}`;
    if (exitCode === 0) this.#counts.succeeded++;
    else this.#counts.failed++;
    if (signal !== null || (exitCode ?? 0) > 128)
      this.#crashes.push(`${what}: exit code ${exitCode}, signal ${signal}`);
    try {
      if (signal === 'SIGKILL') throw new Error('it hung');
      if (this.#mode === 'restore') await this.#checkRestore(specimen, tree, exitCode === 0, files);
      else await this.#checkDump(specimen, tree, before, images, exitCode === 0, files);
      if (/internal error|TypeError|RangeError|at .*\.ts:\d+/.test(result.output))
        throw new Error('an error of the code');
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error);
      this.#findings.push(`${what}: ${text.slice(0, 600)}\n    ${lastLines(result)}`);
      await this.#drop();
    }
  }

  async #checkDump(
    specimen: Specimen,
    tree: readonly number[],
    before: ReturnType<typeof readProcSnapshot>,
    images: string,
    isDone: boolean,
    files: readonly string[],
  ): Promise<void> {
    if (isDone && this.#mode === 'dump') {
      await this.#checkGone(tree, 'after the dump');
      await this.#must(this.#runCriu('restore', specimen, images, []));
    } else {
      const ended = tree.filter((pid) => readState(pid) === undefined);
      if (ended.length > 0) throw new Error(`ended: ${ended}`);
      expectSamePicture(before, readProcSnapshot(tree), []);
      if (!isDone && existsSync(join(images, 'inventory.img'))) throw new Error('there is an inventory');
      const more = listFiles(specimen).filter((name) => !files.includes(name));
      if (more.length > 0) throw new Error(`files are left: ${more}`);
    }
    await checkRound(specimen, ++this.#round);
    if (isDone && this.#mode === 'keep') {
      await killAll(tree);
      await this.#checkGone(tree, 'killed');
      // What --link-remap has made is taken away when the tree goes on.
      if (!SUBJECTS[this.#program]?.dump?.includes('--link-remap'))
        await this.#must(this.#runCriu('restore', specimen, images, []));
      await this.#drop();
    }
  }

  async #checkRestore(specimen: Specimen, tree: readonly number[], isDone: boolean, files: readonly string[]) {
    if (isDone) {
      await checkRound(specimen, ++this.#round);
      return;
    }
    await this.#checkGone(tree, 'after the restore that failed');
    const more = listFiles(specimen).filter((name) => !files.includes(name) && !name.startsWith('link_remap'));
    if (more.length > 0) throw new Error(`files are left: ${more}`);
    await this.#must(this.#runCriu('restore', specimen, join(specimen.dir, 'images'), []));
    await checkRound(specimen, ++this.#round);
  }

  async #prepare(specimen: Specimen, images: string): Promise<void> {
    if (this.#mode !== 'restore') return;
    const tree = readTree(specimen.pid);
    await this.#must(this.#runCriu('dump', specimen, images, []));
    await this.#checkGone(tree, 'after the dump');
  }

  async #checkGone(tree: readonly number[], when: string): Promise<void> {
    const left = await waitGone(tree, 5000);
    if (left.length > 0) throw new Error(`${when} there are still ${left}`);
  }

  async #must(run: Promise<CriuResult>): Promise<void> {
    const result = await run;
    if (result.exitCode !== 0) throw new Error(explain(result));
  }

  async #runCriu(mode: Mode, specimen: Specimen, images: string, wrapper: readonly string[]): Promise<CriuResult> {
    const { dump = [], restore = [] } = SUBJECTS[this.#program] ?? {};
    const common = ['-D', images, '-v4', '-o', `${mode}.log`];
    const args =
      mode === 'restore'
        ? ['restore', '-d', ...common, ...restore]
        : ['dump', '-t', String(specimen.pid), ...common, ...dump, ...(mode === 'keep' ? ['-R'] : [])];
    const output = join(images, `${mode}.out`);
    const command = [...wrapper, criuBinary, ...args];
    const child = Bun.spawn(command, { stdin: 'ignore', stdout: Bun.file(output), stderr: Bun.file(output) });
    const timer = setTimeout(() => child.kill('SIGKILL'), RUN_MS);
    await child.exited;
    clearTimeout(timer);
    trackProcess(specimen.pid);
    const log = join(images, `${mode}.log`);
    return {
      exitCode: child.exitCode,
      signal: child.signalCode === null ? null : String(child.signalCode),
      output: existsSync(output) ? readFileSync(output, 'utf8') : '',
      log: existsSync(log) ? readFileSync(log, 'utf8') : '',
      command: command.join(' '),
    };
  }

  #freshImages(specimen: Specimen): string {
    rmSync(join(specimen.dir, 'images'), { recursive: true, force: true });
    return makeImagesDir(specimen, 'images');
  }

  async #takeSpecimen(): Promise<Specimen> {
    if (performance.now() - this.#startedAt > SPECIMEN_MS) await this.#drop();
    if (this.#specimen === undefined) {
      this.#specimen = await startProgram(this.#program);
      this.#startedAt = performance.now();
      this.#round = 0;
    }
    return this.#specimen;
  }

  async #drop(): Promise<void> {
    const specimen = this.#specimen;
    this.#specimen = undefined;
    if (specimen !== undefined && isAlive(specimen.pid)) await killAll(readTree(specimen.pid));
  }
}

const listFiles = ({ dir }: Specimen) => readdirSync(dir).filter((name) => !/^(status|images|trace)/.test(name));

const lastLines = ({ output, log, exitCode }: CriuResult) =>
  [`exit ${exitCode}`, output.trim().slice(-300), ...log.trimEnd().split('\n').slice(-2)].join('\n    ');

/** Does so many runs with one fault each; `only`: in calls of that name. */
export async function faultSweep(
  program: string,
  mode: Mode,
  faults: number,
  seed: number,
  only?: string,
): Promise<FaultResult> {
  const sweep = new Sweep(program, mode);
  await sweep.run(faults, seed, only);
  return sweep.result;
}

if (import.meta.main) {
  const criu = scriptOption('--criu');
  if (criu !== undefined) setCriuBinary(criu);
  const programs = scriptOption('--program')?.split(',') ?? Object.keys(SUBJECTS);
  const modes = MODES.filter((mode) => scriptOption('--mode') === undefined || scriptOption('--mode') === mode);
  try {
    for (const program of programs) {
      for (const mode of modes) {
        const { findings, crashes, ...counts } = await faultSweep(
          program,
          mode,
          Number(scriptOption('--faults') ?? 30),
          Number(scriptOption('--seed') ?? 1),
          scriptOption('--only'),
        );
        console.log(program, mode, JSON.stringify(counts));
        for (const line of [...crashes.map((one) => `crash: ${one}`), ...findings]) console.log(`  ${line}`);
        if (findings.length + crashes.length > 0) process.exitCode = 1;
      }
    }
  } finally {
    await cleanUp();
  }
}
