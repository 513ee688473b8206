/** Who a task is and what it may do: credentials, seccomp, limits, folders, small properties. */
import { expect } from 'bun:test';
import { join } from 'node:path';
import { criuBinary } from '../harness/criu-command.ts';
import { expectGone, makeFolder, SkippedByProgram, trackProcess } from '../harness/harness.ts';
import { liveCase, liveTest } from '../harness/live-test.ts';
import { isAlive } from '../harness/processes.ts';

liveTest('credentials of threads and processes survive', 'creds');
liveTest('seccomp strict mode survives', 'seccomp-strict');
liveTest('seccomp filters survive on the right threads', 'seccomp-filter');
liveTest('resource limits survive', 'limits');
liveTest('umask, working directory and root survive', 'fs-state');
liveTest('a deleted working directory survives', 'fs-state', { args: ['deleted'] });
liveTest('scheduling, oom score, death signal, dumpable and others survive', 'task-state');
liveTest('personality, I/O priority, core dump filter and MDWE survive', 'task-state', { args: ['extra'] });

/** A program of another user is dumped by a criu that may trace it, but not send it signals. */
async function dumpWithoutCapKill(...options: readonly string[]) {
  if (Bun.which('setpriv') === null) throw new SkippedByProgram('there is no setpriv (util-linux)');
  const nobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];
  const program = Bun.spawn([...nobody, 'sleep', '300'], { cwd: '/', stdio: ['ignore', 'ignore', 'ignore'] });
  trackProcess(program.pid);
  const { pid } = program;
  while ((await Bun.file(`/proc/${pid}/comm`).text()) !== 'sleep\n') await Bun.sleep(1);
  const images = makeFolder('without-cap-kill');
  const dump = [criuBinary, 'dump', '-j', '-t', `${pid}`, '-D', images, ...options];
  const { exitCode, stderr } = Bun.spawnSync(['setpriv', '--bounding-set=-kill', ...dump], { timeout: 20_000 });
  return { pid, exitCode, stderr: stderr.toString(), inventory: Bun.file(join(images, 'inventory.img')) };
}

liveCase('a program of another user is dumped without CAP_KILL', async () => {
  const { pid, exitCode, stderr, inventory } = await dumpWithoutCapKill();
  expect([exitCode, stderr, await inventory.exists()]).toEqual([0, '', true]);
  await expectGone([pid], 'after the dump');
});

liveCase('it cannot be left stopped without CAP_KILL, which is said when it is saved', async () => {
  const { pid, exitCode, stderr, inventory } = await dumpWithoutCapKill('--leave-stopped');
  expect([exitCode, await inventory.exists(), isAlive(pid)]).toEqual([1, true, true]);
  expect(stderr).toContain(
    'is saved, but runs on instead of being left stopped: it belongs to another user; run criu with CAP_KILL',
  );
});
