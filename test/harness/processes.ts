/**
 * Looking after processes: who is below whom, is it gone, kill and reap. Everything is by pid and only touches
 * descendants of this test process, so a reused pid can't hit a stranger.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { tryKill, tryReap } from './libc.ts';

export const SIGKILL = 9;

/** The state letter of /proc/PID/stat ('R', 'S', 'T', 'Z'…), or undefined when there is no such process. */
export function readState(pid: number): string | undefined {
  return readStat(pid)?.state;
}

function readStat(pid: number): { state: string; parent: number } | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const [state = '?', parent = '0'] = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return { state, parent: Number(parent) };
  } catch {
    return undefined;
  }
}

/** True when the process exists and is no zombie. */
export function isAlive(pid: number): boolean {
  const state = readState(pid);
  return state !== undefined && state !== 'Z' && state !== 'X';
}

/** `root` and everything below it, parents first; zombies too. */
export function readTree(root: number): number[] {
  const tree = [root];
  for (const pid of tree) tree.push(...readChildren(pid));
  return tree;
}

function readChildren(pid: number): number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).flatMap((tid) =>
      readFileSync(`/proc/${pid}/task/${tid}/children`, 'latin1').split(' ').filter(Boolean).map(Number),
    );
  } catch {
    return [];
  }
}

/** Every descendant of this process: what a failed restore may have left behind. */
export function readOwnDescendants(): number[] {
  return readTree(process.pid).slice(1);
}

function isOurs(pid: number): boolean {
  for (let at = pid, hops = 0; at > 1 && hops < 300; hops++) {
    if (at === process.pid) return true;
    at = readStat(at)?.parent ?? 0;
  }
  return false;
}

/** Waits until none of the processes exists, reaping those that end as our children. Returns those that remain. */
export async function waitGone(pids: readonly number[], timeoutMs: number): Promise<number[]> {
  const deadline = Date.now() + timeoutMs;
  let remaining = [...pids];
  for (;;) {
    remaining = remaining.filter((pid) => {
      tryReap(pid);
      return existsSync(`/proc/${pid}`);
    });
    if (remaining.length === 0 || Date.now() > deadline) return remaining;
    await Bun.sleep(2);
  }
}

/** Kills those of the processes (and their trees) that are below this process, and reaps them. */
export async function killAll(pids: Iterable<number>): Promise<void> {
  const victims = [...new Set([...pids].filter(isOurs).flatMap(readTree))];
  for (const pid of victims) tryKill(pid, SIGKILL);
  await waitGone(victims, 10_000);
}
