/**
 * Builds dist/criu, one executable with the runtime inside, and the library for Node.js: dist/index.js with its types.
 *
 * A program that runs as root must not take orders from the folder it is started in, so reading of .env, bunfig.toml,
 * tsconfig.json and package.json at run time is switched off.
 */

import { mkdirSync, rmSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';

const repository = resolve(import.meta.dir, '..');

/** Compiles `entry` to `outfile`; throws with the compiler's messages. */
export async function buildExecutable(entry: string, outfile: string): Promise<void> {
  const result = await Bun.build({
    entrypoints: [entry],
    minify: { whitespace: true, syntax: true, identifiers: false },
    bytecode: true,
    format: 'esm',
    target: 'bun',
    // Modules of a chunk share one scope; without chunks each module is a function that has to be called first.
    splitting: true,
    compile: {
      outfile,
      // Most code of a run is executed once or twice: compiling it costs more than interpreting it.
      jitPolicy: 100,
      autoloadDotenv: false,
      autoloadBunfig: false,
      autoloadTsconfig: false,
      autoloadPackageJson: false,
    },
  });
  if (!result.success) throw new AggregateError(result.logs, `cannot build ${entry}`);
}

/** The library as modules for Node.js. Programs on Bun use the sources. Throws with the compiler's messages. */
async function buildLibrary(): Promise<void> {
  const result = await Bun.build({
    entrypoints: [join(repository, 'src', 'index.ts')],
    outdir: join(repository, 'dist'),
    format: 'esm',
    target: 'node',
    splitting: true,
    external: ['bun:ffi'],
    naming: { chunk: 'library/[name]-[hash].[ext]' },
  });
  if (!result.success) throw new AggregateError(result.logs, 'cannot build the library');
  const tsc = join(repository, 'node_modules', '.bin', 'tsc');
  const types = Bun.spawnSync([tsc, '-p', join(repository, 'tsconfig.library.json')], { stdout: 'pipe' });
  if (!types.success) throw new Error(`cannot make the types of the library: ${types.stdout.toString()}`);
}

if (import.meta.main) {
  const outfile = join(repository, 'dist', 'criu');
  mkdirSync(join(repository, 'dist'), { recursive: true });
  await buildExecutable(join(repository, 'src', 'cli', 'main.ts'), outfile);
  rmSync(join(repository, 'dist', 'library'), { recursive: true, force: true });
  await buildLibrary();
  console.log(`${outfile}: ${Math.round(statSync(outfile).size / 1024 / 1024)} MiB`);
}
