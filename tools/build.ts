/**
 * Builds dist/criu, one executable with the runtime inside, and the library for Node.js: dist/index.js with its types.
 *
 * A program that runs as root must not take orders from the folder it is started in, so reading of .env, bunfig.toml,
 * tsconfig.json and package.json at run time is switched off.
 */

import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import type { BuildOutput, BunPlugin } from 'bun';
import { errorText } from '../src/base/errors.ts';
import { plainNames } from './plain-names.ts';
import { addStartImage } from './start-image/make.ts';

const repository = resolve(import.meta.dir, '..');

const MINIFY = { whitespace: true, syntax: true, identifiers: false };

function assertBuilt(result: BuildOutput, entry: string): void {
  if (!result.success) throw new AggregateError(result.logs, `cannot build ${entry}`);
}

/**
 * Modules of a chunk share one scope, which is what starts fastest; without splitting each module is a function that has
 * to be called first. But what two parts of a program share becomes a chunk of its own, and loading ten chunks takes
 * longer than loading one that is bigger. So the modules of a folder `programs` are bundled each for itself beforehand;
 * the result makes the compiler take them.
 */
async function bundlePrograms(folder: string, outdir: string): Promise<BunPlugin> {
  for (const name of existsSync(folder) ? readdirSync(folder) : []) {
    const entry = join(folder, name);
    const target = { outdir: join(outdir, basename(name, '.ts')), target: 'bun', format: 'esm' } as const;
    assertBuilt(
      await Bun.build({ entrypoints: [entry], ...target, plugins: [plainNames], splitting: true, minify: MINIFY }),
      entry,
    );
  }
  const setup: BunPlugin['setup'] = (build) => {
    build.onResolve({ filter: /^\.\/programs\/\w+\.ts$/ }, ({ path }) => {
      const name = basename(path, '.ts');
      return { path: join(outdir, name, `${name}.js`) };
    });
  };
  return { name: 'programs', setup };
}

/** Compiles `entry` to `outfile`; throws with the compiler's messages. */
export async function buildExecutable(entry: string, outfile: string): Promise<void> {
  const bundles = mkdtempSync(join(tmpdir(), 'criu-build-'));
  try {
    await compile(entry, outfile, await bundlePrograms(join(dirname(entry), 'programs'), bundles));
  } finally {
    rmSync(bundles, { recursive: true, force: true });
  }
}

async function compile(entry: string, outfile: string, programs: BunPlugin): Promise<void> {
  const result = await Bun.build({
    entrypoints: [entry],
    plugins: [programs, plainNames],
    minify: MINIFY,
    bytecode: true,
    format: 'esm',
    target: 'bun',
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
  assertBuilt(result, entry);
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

/** Where none can be taken, criu starts as the runtime starts any program. */
async function tryAddStartImage(executable: string): Promise<void> {
  try {
    await addStartImage(executable);
  } catch (error) {
    console.warn(`no start image, so criu takes 12 ms longer to start: ${errorText(error)}`);
  }
}

if (import.meta.main) {
  const outfile = join(repository, 'dist', 'criu');
  mkdirSync(join(repository, 'dist'), { recursive: true });
  await buildExecutable(join(repository, 'src', 'cli', 'main.ts'), outfile);
  await tryAddStartImage(outfile);
  rmSync(join(repository, 'dist', 'library'), { recursive: true, force: true });
  await buildLibrary();
  console.log(`${outfile}: ${Math.round(statSync(outfile).size / 1024 / 1024)} MiB`);
}
