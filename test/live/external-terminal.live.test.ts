/** A terminal of somebody else is left at the dump, and another one takes its place at the restore. */
import { expect } from 'bun:test';
import { closeSync, constants, fstatSync, openSync, writeSync } from 'node:fs';
import { terminalKey } from '../../src/resources/fd/tty/terminal.ts';
import { criuBinary } from '../harness/criu-command.ts';
import { expectGone, makeFolder, trackProcess } from '../harness/harness.ts';
import { liveCase } from '../harness/live-test.ts';
import { openTerminal, readTerminal } from '../harness/pseudo-terminal.ts';

/** A new terminal: its master side, a descriptor of its slave, and its name for criu. */
function openBoth() {
  const { master, path } = openTerminal();
  const slave = openSync(path, constants.O_RDWR | constants.O_NOCTTY);
  const { rdev, dev } = fstatSync(slave);
  return { master, slave, key: terminalKey(rdev, dev) };
}

type Terminal = ReturnType<typeof openBoth>;

function closeBoth({ master, slave }: Terminal): void {
  closeSync(master);
  closeSync(slave);
}

const FD = 3;

/** `slave` becomes the descriptor FD of criu. */
function run(slave: number, ...words: string[]) {
  const { exitCode, stderr } = Bun.spawnSync([criuBinary, ...words], {
    stdio: ['ignore', 'ignore', 'pipe', slave],
  });
  return { exitCode, stderr: stderr?.toString() ?? '' };
}

/** Types a line; there is its echo, and what cat says. */
async function expectAnswer({ master }: Terminal, line: string): Promise<void> {
  const wanted = `${line}\r\n${line}\r\n`;
  writeSync(master, `${line}\n`);
  expect(await readTerminal(master, wanted)).toBe(wanted);
}

liveCase('a terminal declared with --external is another one with --inherit-fd', async () => {
  let terminal = openBoth();
  const { pid, exited } = Bun.spawn(['setsid', 'cat'], { stdio: [terminal.slave, terminal.slave, terminal.slave] });
  trackProcess(pid);
  await expectAnswer(terminal, 'before');
  for (const round of [1, 2, 3]) {
    const next = openBoth();
    const images = makeFolder(`terminal-${round}`);
    const dump = ['dump', '-t', String(pid), '-D', images, '-o', 'd.log'];
    const refused = run(next.slave, ...dump);
    expect(refused.exitCode).toBe(1);
    expect(refused.stderr).toContain('the master side of this terminal is not part of the tree');
    expect(run(next.slave, ...dump, '--external', terminal.key)).toEqual({ exitCode: 0, stderr: '' });
    if (round === 1) await exited;
    await expectGone([pid], 'the dump');
    closeBoth(terminal);
    const restore = ['restore', '-d', '-D', images, '-o', 'r.log'];
    const missing = run(next.slave, ...restore);
    expect(missing.exitCode).toBe(1);
    expect(missing.stderr).toContain(`add --inherit-fd fd[N]:${terminal.key}`);
    const given = ['--inherit-fd', `fd[${FD}]:${terminal.key}`];
    expect(run(next.slave, ...restore, ...given)).toEqual({ exitCode: 0, stderr: '' });
    trackProcess(pid);
    await expectAnswer(next, `round ${round}`);
    terminal = next;
  }
  closeBoth(terminal);
});

liveCase('a terminal that was not declared external can be another one, too', async () => {
  const [before, after] = [openBoth(), openBoth()];
  const images = makeFolder('terminal');
  const { pid, exited } = Bun.spawn(['setsid', 'cat'], { stdio: [before.slave, before.slave, before.slave] });
  trackProcess(pid);
  await expectAnswer(before, 'before');
  const dump = ['dump', '-t', String(pid), '-D', images, '-o', 'd.log'];
  const undumped = run(after.slave, ...dump);
  expect(undumped.exitCode).toBe(1);
  expect(undumped.stderr).toContain(
    `or declare it with --external ${before.key} and give another one with --inherit-fd`,
  );
  await expectAnswer(before, 'it goes on');
  const dumped = run(after.slave, ...dump, '--shell-job');
  expect(dumped).toEqual({ exitCode: 0, stderr: '' });
  await exited;
  await expectGone([pid], 'the dump');
  const restore = ['restore', '-d', '-D', images, '-o', 'r.log'];
  const refused = run(after.slave, ...restore);
  expect(refused.exitCode).toBe(1);
  expect(refused.stderr).toContain(
    `take over the terminal of criu with --shell-job, or give another one with --inherit-fd fd[N]:${before.key}`,
  );
  expect(run(after.slave, ...restore, '--inherit-fd', `fd[${FD}]:${before.key}`)).toEqual({ exitCode: 0, stderr: '' });
  trackProcess(pid);
  await expectAnswer(after, 'after');
  closeBoth(before);
  closeBoth(after);
});
