/** A terminal of somebody else is left at the dump, and another one takes its place at the restore. */
import { expect } from 'bun:test';
import { closeSync, constants, fstatSync, openSync, writeSync } from 'node:fs';
import { terminalKey } from '../../src/resources/fd/tty/terminal.ts';
import { criuBinary } from '../harness/criu-command.ts';
import { expectGone, makeFolder, trackProcess } from '../harness/harness.ts';
import { liveCase } from '../harness/live-test.ts';
import { openTerminal, readTerminal } from '../harness/pseudo-terminal.ts';

/** A new terminal: its master side, and a descriptor of its slave. */
function openBoth() {
  const { master, path } = openTerminal();
  return { master, slave: openSync(path, constants.O_RDWR | constants.O_NOCTTY) };
}

const FD = 3;

/** `slave` becomes the descriptor FD of criu. */
function run(slave: number, ...words: string[]) {
  const { exitCode, stderr } = Bun.spawnSync([criuBinary, ...words], {
    stdio: ['ignore', 'ignore', 'pipe', slave],
  });
  return { exitCode, stderr: stderr?.toString() ?? '' };
}

liveCase('a terminal declared with --external is another one with --inherit-fd', async () => {
  const [before, after] = [openBoth(), openBoth()];
  try {
    const images = makeFolder('terminal');
    const { rdev, dev } = fstatSync(before.slave);
    const key = terminalKey(rdev, dev);
    const child = Bun.spawn(['setsid', 'cat'], { stdio: [before.slave, before.slave, before.slave] });
    const { pid } = child;
    trackProcess(pid);
    writeSync(before.master, 'one\n');
    // Its echo, and what cat says.
    expect(await readTerminal(before.master, 'one\r\none\r\n')).toBe('one\r\none\r\n');
    const dump = ['dump', '-t', String(pid), '-D', images, '-o', 'd.log'];
    const refused = run(after.slave, ...dump);
    expect(refused.exitCode).toBe(1);
    expect(refused.stderr).toContain('the master side of this terminal is not part of the tree');
    expect(run(after.slave, ...dump, '--external', key)).toEqual({ exitCode: 0, stderr: '' });
    await child.exited;
    await expectGone([pid], 'the dump');
    const restore = ['restore', '-d', '-D', images, '-o', 'r.log'];
    const missing = run(after.slave, ...restore);
    expect(missing.exitCode).toBe(1);
    expect(missing.stderr).toContain(`add --inherit-fd fd[N]:${key}`);
    expect(run(after.slave, ...restore, '--inherit-fd', `fd[${FD}]:${key}`)).toEqual({ exitCode: 0, stderr: '' });
    trackProcess(pid);
    writeSync(after.master, 'two\n');
    expect(await readTerminal(after.master, 'two\r\ntwo\r\n')).toBe('two\r\ntwo\r\n');
  } finally {
    for (const fd of [before, after].flatMap(({ master, slave }) => [master, slave])) closeSync(fd);
  }
});
