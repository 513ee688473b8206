/**
 * Real programs instead of those of test/programs: start one as a user would, use it, checkpoint it, see that it is
 * gone, restore it, use it again. What "use" means is up to the test. `npm run test:real` runs all of them; a test whose
 * program is not on this machine skips, and names the package that has it.
 */
import { test } from 'bun:test';
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type CriuResult, explain } from './criu-command.ts';
import { cleanUp, dump, expectGone, expectSuccess, makeFolder, restore, trackProcess } from './harness.ts';
import { isAlive, readOwnDescendants, readTree } from './processes.ts';

const testTimeoutMs = 180_000;
const waitTimeoutMs = 60_000;

/** What a test needs: commands that must be there, with the Debian package of each. */
export type Needs = Readonly<Record<string, string>>;

/** A running program: a shell script that is the root of a tree and the leader of a session of its own. */
export interface RealProgram {
  readonly dir: string;
  readonly pid: number;
}

export interface TravelOptions {
  readonly dumpArgs?: readonly string[];
  readonly restoreArgs?: readonly string[];
}

/** A test that is skipped, with the package to install, where a command is missing. */
export function realTest(name: string, needs: Needs, body: (dir: string) => Promise<void>): void {
  const missing = Object.keys(needs).find((command) => findCommand(command) === undefined);
  if (process.getuid?.() !== 0) test.skip(`${name} (checkpointing needs root)`, () => {});
  else if (missing !== undefined) {
    test.skip(`${name} (there is no ${missing}: apt-get install ${needs[missing]})`, () => {});
  } else {
    const run = async () => {
      try {
        await body(makeFolder('real'));
      } finally {
        await cleanUp();
      }
    };
    test(name, run, testTimeoutMs);
  }
}

/** Where a command is; also looks where Debian keeps what only root or one version of a server uses. */
export function findCommand(name: string): string | undefined {
  const path = `/usr/sbin:/usr/bin:/sbin:/bin:${process.env['PATH'] ?? ''}`;
  return Bun.which(name, { PATH: path }) ?? undefined;
}

/** Runs a shell script as the root of a tree of its own. Its output goes to "output" in the folder. */
export function startScript(dir: string, script: string, env: Readonly<Record<string, string>> = {}): RealProgram {
  writeFileSync(join(dir, 'script.sh'), `${script}\n`);
  const output = openSync(join(dir, 'output'), 'a');
  const child = Bun.spawn(['/bin/sh', join(dir, 'script.sh')], {
    cwd: dir,
    env: { PATH: `/usr/sbin:/usr/bin:/sbin:/bin:${process.env['PATH'] ?? ''}`, HOME: dir, LC_ALL: 'C.UTF-8', ...env },
    detached: true,
    stdin: 'ignore',
    stdout: output,
    stderr: output,
  });
  closeSync(output);
  trackProcess(child.pid);
  return { dir, pid: child.pid };
}

/** Waits until `look` gives something, and gives that back. */
export async function waitFor<T>(what: string, look: () => T | undefined | Promise<T | undefined>): Promise<T> {
  const deadline = Date.now() + waitTimeoutMs;
  for (;;) {
    const seen = await look();
    if (seen !== undefined) return seen;
    if (Date.now() > deadline) throw new Error(`waited ${waitTimeoutMs} ms for ${what}`);
    await Bun.sleep(10);
  }
}

function tryReadText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** Waits until a file of the program's folder has a text. */
export function waitForText({ dir }: RealProgram, file: string, wanted: RegExp): Promise<string> {
  const path = join(dir, file);
  const look = () => wanted.exec(tryReadText(path))?.[0];
  return waitFor(`${wanted} in ${file}`, look).catch((error: Error) => {
    throw new Error(`${error.message}; ${file} has: ${tryReadText(path).slice(-2000)}; output: ${readOutput(dir)}`);
  });
}

const readOutput = (dir: string): string => tryReadText(join(dir, 'output')).slice(-2000);

/**
 * A client inside the tree that reads its commands from NAME.in and writes its answers to NAME.out. The tests write
 * to a file, since a pipe to the outside could not be checkpointed.
 */
export class Conversation {
  readonly #program: RealProgram;
  readonly #name: string;
  #seen = 0;

  constructor(program: RealProgram, name: string) {
    this.#program = program;
    this.#name = name;
  }

  /** The shell command that has `client` take part in a conversation. */
  static script(name: string, client: string): string {
    return `: >> ${name}.in; tail -n +1 -f ${name}.in | ${client} > ${name}.out 2>&1 &`;
  }

  /** Sends one line and waits for the answer. */
  async ask(line: string, wanted: RegExp): Promise<void> {
    const { dir } = this.#program;
    const path = join(dir, `${this.#name}.in`);
    writeFileSync(path, `${line}\n`, { flag: 'a' });
    const out = join(dir, `${this.#name}.out`);
    const look = () => (wanted.test(tryReadText(out).slice(this.#seen)) ? true : undefined);
    await waitFor(`the answer ${wanted} of ${this.#name} to "${line}"`, look).catch((error: Error) => {
      throw new Error(`${error.message}; it said: ${tryReadText(out).slice(this.#seen)}; output: ${readOutput(dir)}`);
    });
    this.#seen = tryReadText(out).length;
  }
}

let dumps = 0;

function makeImagesFolder(program: RealProgram): string {
  const imagesDir = join(program.dir, `images-${++dumps}`);
  mkdirSync(imagesDir);
  return imagesDir;
}

/** Dumps the program, sees that all of its processes are gone, and restores it. */
export async function travel(program: RealProgram, options: TravelOptions = {}): Promise<void> {
  const imagesDir = makeImagesFolder(program);
  const tree = readTree(program.pid);
  expectSuccess(await dump(program, imagesDir, options.dumpArgs));
  // A process that came after the look at the tree is gone too, but must still be waited for.
  await expectGone([...new Set([...tree, ...readOwnDescendants()])], 'after the dump');
  expectSuccess(await restore(program, imagesDir, options.restoreArgs));
  // Others of the tree may be short-lived; what they do for the program shows when it is used.
  if (!isAlive(program.pid)) throw new Error(`process ${program.pid} did not come back`);
}

/** Expects that a dump is refused and the program runs on; gives what criu said. */
export async function expectRefused(program: RealProgram, args: readonly string[] = []): Promise<CriuResult> {
  const tree = readTree(program.pid).filter(isAlive);
  const result = await dump(program, makeImagesFolder(program), args);
  if (result.exitCode !== 1) throw new Error(`the dump was not refused\n${explain(result)}`);
  for (const pid of tree) if (!isAlive(pid)) throw new Error(`process ${pid} did not survive\n${explain(result)}`);
  return result;
}
