/**
 * Builds the C programs of test/programs into a cache folder, keyed by their content: a program is compiled once.
 * Extra compiler flags stand in the program itself, in a comment line of its own that begins with "flags:".
 */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { once } from '../../src/base/per-run.ts';

const programsDir = join(import.meta.dir, '..', 'programs');

/** The C compiler, or undefined when this machine has none. */
export function findCompiler(): string | undefined {
  return Bun.which('cc') ?? Bun.which('gcc') ?? Bun.which('clang') ?? undefined;
}

/** Programs are built for 64 bits unless a test, or who runs the tests, wants 32. */
export type Bits = 64 | 32;
const defaultBits: Bits = process.env['CRIU_TEST_BITS'] === '32' ? 32 : 64;

/** Whether the compiler makes programs of 32 bits: it needs their C library (gcc-multilib, libc6-dev-i386). */
export const canBuild32 = once(() => tryBuild32('/dev/null'));

/** Whether the kernel executes them: some hypervisors have no 32-bit code. */
export const canExecute32 = once(() => {
  const folder = mkdtempSync(join(tmpdir(), 'criu-test-32-'));
  try {
    const binary = join(folder, 'program');
    return tryBuild32(binary) && Bun.spawnSync(['/bin/sh', '-c', `exec ${binary}`], { stderr: 'ignore' }).success;
  } finally {
    rmSync(folder, { recursive: true });
  }
});

function tryBuild32(binary: string): boolean {
  return Bun.spawnSync([findCompiler() ?? 'cc', '-m32', '-x', 'c', '-o', binary, '-'], {
    stdin: Buffer.from('#include <stdio.h>\nint main(void) { return 0; }\n'),
    stderr: 'ignore',
  }).success;
}

/** The path of the built program. Throws with the compiler's words when it can't be built. */
export function buildProgram(name: string, bits: Bits = defaultBits): string {
  const compiler = findCompiler();
  if (compiler === undefined) throw new Error('there is no C compiler (cc, gcc or clang) on this machine');
  const source = join(programsDir, `${name}.c`);
  const text = readFileSync(source, 'utf8');
  const flags = /^\/\* flags: (.*) \*\/$/m.exec(text)?.[1]?.trim().split(/\s+/) ?? [];
  if (bits === 32) flags.push('-m32', '-msse2', '-mfpmath=sse');
  const headers = readdirSync(programsDir).filter((file) => file.endsWith('.h'));
  const included = headers.sort().map((file) => readFileSync(join(programsDir, file), 'utf8'));
  const key = Bun.hash(`${compiler}\n${flags}\n${included.join('\n')}\n${text}`).toString(16);
  const folder = join(tmpdir(), `criu-test-programs-${process.getuid?.() ?? 0}`, key);
  const binary = join(folder, name);
  if (existsSync(binary)) return binary;
  mkdirSync(folder, { recursive: true });
  const aside = `${binary}.${process.pid}`;
  const command = [compiler, '-std=gnu11', '-O1', '-Wall', '-Wextra', '-pthread', '-o', aside, source, ...flags];
  const result = Bun.spawnSync(command, { stdout: 'pipe', stderr: 'pipe' });
  if (!result.success) throw new Error(`cannot build ${name}.c: ${result.stderr.toString()}`);
  renameSync(aside, binary);
  return binary;
}
