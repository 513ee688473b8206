/**
 * Passes images from one criu to another, in both directions, for every program of the live tests:
 *
 *     npm run interop -- --against /usr/sbin/criu [--only REGEX] [--criu FILE]
 *
 * Three runs of the live tests: the other one dumps and we restore, we dump and the other one restores, and the other one
 * alone. What fails in the last one too fails for a reason that lies in the other one. Prints a table, and why each test
 * failed. The exit status is 0 when everything passes that the other one can do alone.
 */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { formatMatrix, isOurs, type Outcome, parseOutcomes } from './interop/outcomes.ts';

const repository = resolve(import.meta.dir, '..');

function fail(text: string): never {
  console.error(text);
  process.exit(2);
}

function parseOptions(): { criu: string; against: string; only: string | undefined } {
  const { values } = parseArgs({
    args: Bun.argv.slice(2),
    options: {
      against: { type: 'string' },
      criu: { type: 'string', default: join(repository, 'dist', 'criu') },
      only: { type: 'string' },
    },
  });
  const { criu, against, only } = values;
  if (against === undefined) fail('usage: npm run interop -- --against PROGRAM [--only REGEX] [--criu FILE]');
  for (const program of [criu, against]) if (!existsSync(program)) fail(`there is no ${program}`);
  return { criu: resolve(criu), against: resolve(against), only };
}

/** Runs the round trips of the live tests with a criu for each command. */
async function run(dump: string, restore: string, only: string | undefined): Promise<Map<string, Outcome>> {
  const filter = only === undefined ? [] : ['-t', only];
  const child = Bun.spawn([process.execPath, 'test', '--timeout', '120000', 'test/live', ...filter], {
    cwd: repository,
    env: { ...process.env, CRIU_DUMP_BIN: dump, CRIU_RESTORE_BIN: restore },
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: 'pipe',
  });
  // Results go to stderr; stdout has what tests print.
  const [stdout, stderr] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  await child.exited;
  return parseOutcomes(stderr, stdout);
}

async function main(): Promise<number> {
  const { criu, against, only } = parseOptions();
  const directions = [
    { label: 'theirs → ours', dump: against, restore: criu },
    { label: 'ours → theirs', dump: criu, restore: against },
    { label: 'theirs alone', dump: against, restore: against },
  ];
  const columns: { label: string; outcomes: ReadonlyMap<string, Outcome> }[] = [];
  for (const { label, dump, restore } of directions) {
    console.error(`${label} …`);
    columns.push({ label, outcomes: await run(dump, restore, only) });
  }
  console.log(formatMatrix(columns));
  return columns.some(({ outcomes }) => [...outcomes].some(([test]) => isOurs(test, columns))) ? 1 : 0;
}

process.exit(await main());
