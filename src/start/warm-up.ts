/** What criu does before its start image is taken: real dumps and restores, so that its code has been run and compiled. */
import { CriuError, errorText } from '../base/errors.ts';
import { invocationOf, setInvocation } from '../base/invocation.ts';
import { forgetRun } from '../base/per-run.ts';
import { run as dump } from '../cli/commands/dump.ts';
import { run as restore } from '../cli/commands/restore.ts';
import { runOnly } from '../cli/run-criu.ts';
import { PR_SET_CHILD_SUBREAPER } from '../linux/abi/prctl.ts';
import { IFF_UP } from '../linux/abi/rtnetlink.ts';
import { SIGKILL } from '../linux/abi/signal.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { check, cString, syscall } from '../linux/kernel.ts';
import { readFile } from '../linux/syscalls/fs.ts';
import { trySetDeviceFlags } from '../linux/syscalls/network-device.ts';
import { getpid, kill, tryWait } from '../linux/syscalls/process.ts';
import { NetworkVisit } from '../resources/netns/network-visit.ts';
import { spawnIdle } from '../tracee/idle.ts';
import { spawnProgram } from './ordinary-program.ts';
import { rehearseStart } from './start-image.ts';
import { warmUpFiller } from './warm-up-filler.ts';
import { SMALL, TREES, type WarmUpTree } from './warm-up-trees.ts';

const START_ROUNDS = 10;

/** Code is compiled as early as the runtime ever does. */
const WHILE_WARMING_UP = 1;
const AFTERWARDS = 100;

/**
 * `folder` is for images and files. What cannot be done here is left out: that code will be slow when it runs for the first
 * time. Never throws.
 */
export async function warmUp(folder: string): Promise<void> {
  // What a tree leaves behind becomes a child of ours.
  syscall(SYS.prctl, PR_SET_CHILD_SUBREAPER, 1);
  if (await tryTree({ ...SMALL, rounds: 1 }, `${folder}/first`)) await warmUpWithAll(folder);
  setInvocation(undefined);
}

async function warmUpWithAll(folder: string): Promise<void> {
  using _visit = enterNetwork();
  Bun.unsafe.setJITPolicy(WHILE_WARMING_UP);
  for (const [index, tree] of TREES.entries()) await tryTree(tree, `${folder}/${index}`);
  tryFiller(folder);
  for (let round = 0; round < START_ROUNDS; round++) rehearseStart();
  // What comes now takes the room that is free between what stays; then a run of criu has new pages for itself.
  Bun.gc(true);
  await tryTree(SMALL, `${folder}/last`);
  Bun.unsafe.setJITPolicy(AFTERWARDS);
}

async function tryTree(tree: WarmUpTree, folder: string): Promise<boolean> {
  try {
    check('mkdir', syscall(SYS.mkdir, cString(folder), 0o700), folder);
    for (let round = 0; round < tree.rounds; round++) await dumpAndRestore(tree, folder);
    return true;
  } catch (error) {
    sayLeftOut(tree.name, error);
    return false;
  }
}

function tryFiller(folder: string): void {
  try {
    warmUpFiller(folder);
  } catch (error) {
    sayLeftOut('memory that comes later', error);
  }
}

/** A network of our own: that of the machine is left alone. Undefined where that may not be. */
function enterNetwork(): NetworkVisit | undefined {
  try {
    const visit = NetworkVisit.enterNew();
    trySetDeviceFlags('lo', IFF_UP);
    return visit;
  } catch (error) {
    sayLeftOut('a network', error);
    return undefined;
  }
}

function sayLeftOut(what: string, error: unknown): void {
  const text = `warm-up without ${what}: ${errorText(error)}\n`;
  syscall(SYS.write, 2, new TextEncoder().encode(text), text.length);
}

async function dumpAndRestore(tree: WarmUpTree, folder: string): Promise<void> {
  const { prepare, options = [], restoreOptions = [] } = tree;
  try {
    const pid =
      tree.program === undefined
        ? spawnIdle(prepare === undefined ? undefined : (program) => prepare(program, folder))
        : spawnProgram(tree.program);
    await runOnce('dump', ['-R', '-t', String(pid), '-D', folder, ...options]);
    await runOnce('dump', ['-t', String(pid), '-D', folder, ...options]);
    endChildren();
    await runOnce('restore', ['-d', '-D', folder, ...options, ...restoreOptions]);
  } finally {
    endChildren();
  }
}

/** All of them are of the warm-up. */
function endChildren(): void {
  const path = `/proc/self/task/${getpid()}/children`;
  for (;;) {
    const pids = readFile(path)
      .split(' ')
      .map(Number)
      .filter((pid) => pid > 1);
    if (pids.length === 0) return;
    for (const pid of pids) kill(pid, SIGKILL);
    for (const pid of pids) tryWait(pid);
  }
}

const RUN = { dump, restore };

async function runOnce(command: 'dump' | 'restore', words: string[]): Promise<void> {
  setInvocation(invocationOf(['criu', command, '-v4', '-o', `${command}.log`, ...words], []));
  const status = await runOnly(command, { run: RUN[command] });
  forgetRun();
  if (status !== 0) throw new CriuError({ action: `${command} fails` });
}
