/**
 * Goal: an idle process has what it was told to make when `spawnIdle` returns, and one that cannot make it is not left
 * behind.
 * Method: real processes, looked at in /proc.
 */
import { afterEach, expect, test } from 'bun:test';
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { AF_UNIX, SOCK_STREAM } from '../linux/abi/socket.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { kill, tryWait } from '../linux/syscalls/process.ts';
import { addChild, addThread, FIRST_IDLE_FD, spawnIdle } from './idle.ts';

const SIGKILL = 9;
const pids: number[] = [];
afterEach(() => {
  for (const pid of pids.splice(0)) {
    kill(pid, SIGKILL);
    tryWait(pid);
  }
});

function spawn(...args: Parameters<typeof spawnIdle>): number {
  const pid = spawnIdle(...args);
  pids.push(pid);
  return pid;
}

const childrenOf = (pid: number) => readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ');
const descriptorsOf = (pid: number) => readdirSync(`/proc/${pid}/fd`).map(Number);
/** The number of the system call that it sleeps in. */
const sleepsIn = (pid: number) => Number(readFileSync(`/proc/${pid}/syscall`, 'utf8').split(' ')[0]);

test('by itself it has a file and a pipe, and sleeps', async () => {
  const pid = spawn();
  while (sleepsIn(pid) !== SYS.pause) await Bun.sleep(1);
  const fds = descriptorsOf(pid);
  expect(fds).toEqual([0, 2, 3, 4]);
  expect(fds.slice(2).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`).split(':')[0])).toEqual(['pipe', 'pipe']);
});

test('descriptors, threads and children are there', () => {
  const stack = 0x10_0000_0000;
  const pid = spawn((p) => {
    p.must('make sockets', SYS.socketpair, AF_UNIX, SOCK_STREAM, 0, p.scratch);
    p.must('map memory', SYS.mmap, stack, 8192, 3, 0x22 | 0x10_0000, -1, 0);
    for (let i = 0; i < 2; i++) {
      addThread(p, { stack: stack + i * 4096, stackBytes: 4096 }, () => p.store64(stack + i * 4096, 1));
    }
    addChild(p, (child) => child.must('make sockets', SYS.socketpair, AF_UNIX, SOCK_STREAM, 0, child.scratch));
    addChild(p);
  });
  expect(descriptorsOf(pid)).toEqual([0, 2, 3, 4, FIRST_IDLE_FD, FIRST_IDLE_FD + 1]);
  expect(readdirSync(`/proc/${pid}/task`).length).toBe(3);
  const children = childrenOf(pid);
  expect(children.map((child) => descriptorsOf(Number(child)).length)).toEqual([8, 6]);
});

test('it says what it cannot do, and ends', () => {
  let pid = 0;
  const fails = () => spawnIdle((p) => p.must('open nothing', SYS.openat, -100, p.string('/nowhere/at all'), 0, 0));
  try {
    fails();
  } catch (error) {
    pid = Number(/^the idle process (\d+): cannot open nothing \(ENOENT\)$/.exec(`${(error as Error).message}`)?.[1]);
  }
  expect(pid).toBeGreaterThan(1);
  expect(existsSync(`/proc/${pid}`)).toBe(false);
});
