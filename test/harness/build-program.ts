/**
 * Builds the C programs of test/programs into a cache folder, keyed by their content: a program is compiled once.
 * Extra compiler flags stand in the program itself, in a comment line of its own that begins with "flags:".
 */
import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const programsDir = join(import.meta.dir, '..', 'programs');

/** The C compiler, or undefined when this machine has none. */
export function findCompiler(): string | undefined {
  return Bun.which('cc') ?? Bun.which('gcc') ?? Bun.which('clang') ?? undefined;
}

/** The path of the built program. Throws with the compiler's words when it can't be built. */
export function buildProgram(name: string): string {
  const compiler = findCompiler();
  if (compiler === undefined) throw new Error('there is no C compiler (cc, gcc or clang) on this machine');
  const source = join(programsDir, `${name}.c`);
  const text = readFileSync(source, 'utf8');
  const flags = /^\/\* flags: (.*) \*\/$/m.exec(text)?.[1]?.trim().split(/\s+/) ?? [];
  const header = readFileSync(join(programsDir, 'selftest.h'), 'utf8');
  const key = Bun.hash(`${compiler}\n${flags}\n${header}\n${text}`).toString(16);
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
