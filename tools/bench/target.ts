/** A target program of the benchmark: building it, starting it, and talking to it through its status page (bench.h). */
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, readSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** The C compiler, or null. */
export const findCompiler = () => Bun.which('cc') ?? Bun.which('gcc') ?? Bun.which('clang');

/** Builds NAME.c once for each content; returns the program's path. Throws with the compiler's words. */
export function buildProgram(name: string, compiler: string): string {
  const source = join(import.meta.dir, `${name}.c`);
  const text = readFileSync(source, 'utf8');
  const header = readFileSync(join(import.meta.dir, 'bench.h'), 'utf8');
  const flags = /^\/\* flags: (.*) \*\/$/m.exec(text)?.[1]?.split(' ') ?? [];
  const folder = join(tmpdir(), `criu-bench-programs-${process.getuid?.() ?? 0}`);
  const binary = join(folder, `${name}-${Bun.hash(`${compiler}${text}${header}`).toString(16)}`);
  if (existsSync(binary)) return binary;
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const command = [compiler, '-std=gnu11', '-O2', '-Wall', '-o', binary, source, ...flags];
  const result = Bun.spawnSync(command, { stderr: 'pipe' });
  if (!result.success) throw new Error(`cannot build ${source}: ${result.stderr.toString()}`);
  return binary;
}

/** Order of the words of struct status in bench.h. */
const WORDS = ['ready', 'ticks', 'longestGap', 'reset', 'firstTick', 'check', 'checked', 'isGood', 'answered'] as const;
type Word = (typeof WORDS)[number];

const PAGE = 4096;
const READY_MS = 120_000;
const CHECK_MS = 60_000;

export class Target {
  readonly pid: number;
  readonly #fd: number;
  #checks = 0n;

  private constructor(pid: number, fd: number) {
    this.pid = pid;
    this.#fd = fd;
  }

  /** Starts the program and waits until it is set up. `folder` gets its status file. */
  static async start(binary: string, args: readonly (string | number)[], folder: string): Promise<Target> {
    const path = join(folder, 'status');
    const errors = join(folder, 'program.err');
    writeFileSync(path, new Uint8Array(PAGE));
    const child = Bun.spawn([binary, path, ...args.map(String)], {
      stdin: 'ignore',
      stdout: 'ignore',
      // Not ours: criu would not find the file of ours in its mount namespace.
      stderr: Bun.file(errors),
    });
    const target = new Target(child.pid, openSync(path, 'r+'));
    const isReady = await target.#waitFor(() => target.read('ready') === 1n || child.exitCode !== null, READY_MS);
    if (!isReady || child.exitCode !== null)
      throw new Error(`the program does not start: ${binary}: ${readFileSync(errors, 'latin1')}`);
    return target;
  }

  close(): void {
    closeSync(this.#fd);
  }

  read(word: Word): bigint {
    const value = new BigUint64Array(1);
    readSync(this.#fd, new Uint8Array(value.buffer), 0, 8, WORDS.indexOf(word) * 8);
    return value[0] ?? 0n;
  }

  #write(word: Word, value: bigint): void {
    writeSync(this.#fd, new Uint8Array(BigUint64Array.of(value).buffer), 0, 8, WORDS.indexOf(word) * 8);
  }

  /** From now on the longest gap between two ticks is taken anew. */
  async resetGap(): Promise<void> {
    this.#write('reset', 1n);
    await this.#waitFor(() => this.read('reset') === 0n, CHECK_MS);
  }

  /** The longest gap since then, in ms. Waits for two more ticks, so that a gap that has just ended is in it. */
  async readGapMs(): Promise<number> {
    await this.waitForTicks(2n);
    return Number(this.read('longestGap')) / 1e6;
  }

  /** Call while the program is not there: its next tick is its first. */
  armFirstTick(): void {
    this.#write('firstTick', 0n);
  }

  /** CLOCK_REALTIME of that tick, in ns. */
  async readFirstTick(): Promise<number> {
    await this.#waitFor(() => this.read('firstTick') !== 0n, CHECK_MS);
    return Number(this.read('firstTick'));
  }

  async waitForTicks(count: bigint): Promise<boolean> {
    const start = this.read('ticks');
    return await this.#waitFor(() => this.read('ticks') >= start + count, CHECK_MS);
  }

  /** The program looks at its memory, threads, tasks and descriptors; true when all is as it was. */
  async isGood(): Promise<boolean> {
    this.#checks = this.read('checked') + 1n;
    this.#write('check', this.#checks);
    const isDone = await this.#waitFor(() => this.read('checked') === this.#checks, CHECK_MS);
    return isDone && this.read('isGood') === 1n;
  }

  async #waitFor(isTrue: () => boolean, timeoutMs: number): Promise<boolean> {
    const deadline = performance.now() + timeoutMs;
    while (!isTrue()) {
      if (performance.now() > deadline) return false;
      await Bun.sleep(1);
    }
    return true;
  }
}
