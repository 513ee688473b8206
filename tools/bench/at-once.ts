/**
 * Restores that let the program run before its memory is there: `restore --run-at-once` here, and `lazy-pages` of the
 * original, whose daemon is started before and not counted.
 */
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { readDescendants, waitGone } from './processes.ts';
import type { Target } from './target.ts';

/** In ms from the start of the command. */
export interface AtOnce {
  readonly command: number;
  readonly tick: number;
  /** All memory is there. */
  readonly complete: number;
}

/** How a criu does it; undefined when it can't. */
export type AtOnceWay = 'run-at-once' | 'lazy-pages';

export function findWay(criu: string): AtOnceWay {
  const help = Bun.spawnSync([criu, '--help'], { stdout: 'pipe', stderr: 'ignore' }).stdout.toString();
  return help.includes('--run-at-once') ? 'run-at-once' : 'lazy-pages';
}

/** What a command took: CLOCK_MONOTONIC from `start` to `end`, CLOCK_REALTIME at the start, all in ns. */
export interface Timing {
  readonly start: number;
  readonly end: number;
  readonly realtime: number;
}

const WAIT_MS = 30_000;

/** Restores from the folder by `restore`, which gets more options; the program must not be there. */
export async function measureAtOnce(
  way: AtOnceWay,
  criu: string,
  images: string,
  target: Target,
  restore: (options: readonly string[]) => Promise<Timing>,
): Promise<AtOnce> {
  target.armFirstTick();
  const daemon = way === 'lazy-pages' ? await startDaemon(criu, images) : undefined;
  const timing = await restore([`--${way}`]);
  const tick = await target.readFirstTick();
  if (daemon !== undefined) await daemon.exited;
  else await waitGone(readDescendants().filter(isFiller), WAIT_MS);
  const complete = Date.now() - timing.realtime / 1e6;
  return { command: (timing.end - timing.start) / 1e6, tick: (tick - timing.realtime) / 1e6, complete };
}

function isFiller(pid: number): boolean {
  const path = `/proc/${pid}/comm`;
  return existsSync(path) && readFileSync(path, 'latin1') === 'criu-fill\n';
}

/** Ready when it listens. */
async function startDaemon(criu: string, images: string) {
  rmSync(join(images, 'lazy-pages.socket'), { force: true });
  const command = [criu, 'lazy-pages', '-D', images, '-o', 'lazy-pages.log', '-v1'];
  const daemon = Bun.spawn(command, { stdin: 'ignore', stdout: 'ignore', stderr: 'ignore' });
  const deadline = performance.now() + WAIT_MS;
  while (!isListening('lazy-pages.socket') && daemon.exitCode === null && performance.now() < deadline)
    await Bun.sleep(1);
  if (daemon.exitCode !== null) throw new Error(`lazy-pages does not start: status ${daemon.exitCode}`);
  return daemon;
}

/** /proc/net/unix has the flag __SO_ACCEPTCON for a socket that listens (include/uapi/linux/net.h). */
function isListening(name: string): boolean {
  return readFileSync('/proc/net/unix', 'latin1')
    .split('\n')
    .some((line) => line.endsWith(name) && line.includes(' 00010000 '));
}
