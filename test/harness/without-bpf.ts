/** A dump on a host that forbids bpf(2), so that criu may not read memory of the kernel. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildProgram } from './build-program.ts';
import { criuBinary } from './criu-command.ts';
import type { Specimen } from './harness.ts';

export function dumpWithoutBpf({ pid }: Specimen, imagesDir: string, args: readonly string[] = []) {
  const base = ['dump', '-t', String(pid), '-D', imagesDir, '-v4', '-o', 'dump.log'];
  const { exitCode } = Bun.spawnSync([buildProgram('without-bpf'), criuBinary, ...base, ...args]);
  return { exitCode, log: readFileSync(join(imagesDir, 'dump.log'), 'utf8') };
}
