/**
 * Goal: tasks that live where the one before lives are recognised, and only these.
 * Method: processes of one program, of which one is in another folder and one has a namespace of its own.
 */
import { afterEach, expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import type { Subprocess } from 'bun';
import { compareLinks } from './task-links.ts';

const children: Subprocess[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
});

async function start(command: string[], cwd: string): Promise<number> {
  const child = Bun.spawn(command, { cwd, stdin: 'ignore', stdout: 'ignore', stderr: 'ignore' });
  children.push(child);
  while (readFileSync(`/proc/${child.pid}/comm`, 'latin1') !== 'sleep\n') await Bun.sleep(1);
  return child.pid;
}

test.skipIf(process.getuid?.() !== 0 || Bun.which('unshare') === null)('what differs is seen', async () => {
  const pids: number[] = [];
  for (let i = 0; i < 10; i++) {
    const command = i === 6 ? ['unshare', '--uts', 'sleep', '60'] : ['sleep', '60'];
    pids.push(await start(command, i === 3 ? '/proc' : '/'));
  }
  expect(compareLinks(pids)).toEqual([false, true, true, false, false, true, false, false, true, true]);
});

test('a process is like itself, nobody is like one that is gone, and few are not compared', () => {
  const pids = new Array<number>(70).fill(process.pid);
  expect(compareLinks(pids)).toEqual(pids.map((_, i) => i > 0));
  expect(compareLinks([process.pid, process.pid])).toEqual([false, false]);
  expect(compareLinks([...pids, 2 ** 22 + 1, process.pid]).slice(-2)).toEqual([false, false]);
});
