/** The least that dumps and restores can cost on this machine: see limits.c. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildExecutable } from '../build.ts';
import { median } from './report.ts';
import { buildProgram, findCompiler } from './target.ts';

const STARTS = 15;

/** Prints the limits; throws with the words of the program when it fails. `folder` should be on tmpfs. */
export async function measureLimits(folder: string): Promise<void> {
  const start = (await startOfRuntime(folder)).toFixed(1);
  console.log(`${'hello'.padEnd(16)}${start.padStart(8)} ms  start and end of an empty program of the same runtime`);
  const compiler = findCompiler();
  if (compiler === null) throw new Error('limits need a C compiler (cc, gcc or clang)');
  const command = [buildProgram('limits', compiler), folder];
  const child = Bun.spawnSync(command, { stdin: 'ignore', stdout: 'inherit', stderr: 'inherit' });
  if (!child.success) throw new Error('limits.c failed');
}

async function startOfRuntime(folder: string): Promise<number> {
  const program = join(folder, 'empty');
  writeFileSync(`${program}.ts`, '');
  await buildExecutable(`${program}.ts`, program);
  const times = Array.from({ length: STARTS }, () => {
    const begin = performance.now();
    Bun.spawnSync([program], { stdin: 'ignore' });
    return performance.now() - begin;
  });
  return median(times) ?? 0;
}
