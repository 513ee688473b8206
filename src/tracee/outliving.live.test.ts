/** What outlives us, and who waits for it. */
import { expect } from 'bun:test';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { makeFolder, trackProcess } from '../../test/harness/harness.ts';
import { liveCase } from '../../test/harness/live-test.ts';
import { readState, readTree, SIGKILL, waitGone } from '../../test/harness/processes.ts';

/** Traces a task, and has its own program done, which makes a file before and after a sleep of half a second. */
const SCRIPT = `
import { O_CREAT, O_WRONLY, AT_FDCWD } from '${import.meta.dir}/../linux/abi/fcntl.ts';
import { SYS } from '${import.meta.dir}/../linux/abi/syscall-numbers.ts';
import { interrupt, seize, waitForTrap } from '${import.meta.dir}/stop.ts';
import { runOutliving } from '${import.meta.dir}/outliving.ts';
const [pid, began, ended] = process.argv.slice(-3);
seize(Number(pid));
interrupt(Number(pid));
waitForTrap(Number(pid));
runOutliving((program) => {
  program.call(SYS.openat, AT_FDCWD, program.string(began), O_CREAT | O_WRONLY, 0o600);
  program.call(SYS.nanosleep, program.words(0, 500_000_000), 0);
  program.call(SYS.openat, AT_FDCWD, program.string(ended), O_CREAT | O_WRONLY, 0o600);
});
`;

liveCase('tasks stand still until what outlives us is done, though we are killed', async () => {
  const folder = makeFolder('outliving');
  const [began, ended] = [join(folder, 'began'), join(folder, 'ended')];
  const script = join(folder, 'script.ts');
  await Bun.write(script, SCRIPT);
  const task = Bun.spawn(['sleep', '60'], { stdio: ['ignore', 'ignore', 'ignore'] });
  trackProcess(task.pid);
  const tracer = Bun.spawn([process.execPath, script, String(task.pid), began, ended], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  trackProcess(tracer.pid);
  for (let waitedMs = 0; !existsSync(began) && waitedMs < 5000; waitedMs++) await Bun.sleep(1);
  const children = readTree(tracer.pid).slice(1);
  expect(children).toHaveLength(1);
  tracer.kill(SIGKILL);
  let looks = 0;
  for (; !existsSync(ended); looks++) {
    const state = readState(task.pid);
    if (!existsSync(ended)) expect(state).toBe('t');
    await Bun.sleep(1);
  }
  expect(looks).toBeGreaterThan(100);
  await tracer.exited;
  expect(tracer.signalCode).toBe('SIGKILL');
  // We are the parent of its child now.
  expect(await waitGone(children, 5000)).toEqual([]);
  for (let waitedMs = 0; readState(task.pid) !== 'S' && waitedMs < 1000; waitedMs++) await Bun.sleep(1);
  expect(readState(task.pid)).toBe('S');
  task.kill(SIGKILL);
  await task.exited;
});
