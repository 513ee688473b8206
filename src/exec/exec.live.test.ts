/**
 * Goal: a call happens in the other task, which goes on as before.
 * Method: calls in a sleeping shell; what they returned is compared with what /proc says.
 */
import { afterAll, describe, expect, test } from 'bun:test';
import { readFileSync, readlinkSync } from 'node:fs';
import { callInTask } from './exec.ts';
import { parseCall } from './parse-call.ts';

const child = Bun.spawn(['sleep', '100'], { stdin: 'ignore', stdout: 'ignore', stderr: 'ignore' });
const { pid } = child;
await Bun.sleep(100);
afterAll(() => child.kill('SIGKILL'));

const call = (...words: string[]) => callInTask(pid, parseCall(words));
const state = () => /^State:\s*(\S)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1];

describe.skipIf(process.getuid?.() !== 0)('criu exec (needs root)', () => {
  test('the call is made by the task', () => {
    expect(call('getpid').value).toBe(pid);
    expect(call('close', '999').value).toBe(-9);
  });

  test('strings go in, buffers come out', () => {
    expect(call('chdir', '&/usr').value).toBe(0);
    expect(readlinkSync(`/proc/${pid}/cwd`)).toBe('/usr');
    const { value, buffers } = call('getcwd', '@32', '32');
    expect(value).toBe(5);
    expect(Buffer.from(buffers[0]?.bytes ?? []).toString('latin1', 0, 5)).toBe('/usr\0');
  });

  test('the task goes on as before, with nothing of the agent left', async () => {
    const maps = () =>
      readFileSync(`/proc/${pid}/maps`, 'latin1')
        .split('\n')
        .map((line) => line.split(' ')[0]);
    const before = maps();
    for (let i = 0; i < 20; i++) expect(call('getppid').value).toBe(process.pid);
    expect(maps()).toEqual(before);
    await Bun.sleep(20);
    expect(state()).toBe('S');
    expect(readFileSync(`/proc/${pid}/status`, 'latin1')).toContain('TracerPid:\t0\n');
    expect(child.exitCode).toBeNull();
  });

  test('nobody, and ourselves, are refused', () => {
    expect(() => callInTask(process.pid, parseCall(['getpid']))).toThrow('is criu itself');
    expect(() => callInTask(4_000_000, parseCall(['getpid']))).toThrow('task 4000000: no such task');
  });
});
