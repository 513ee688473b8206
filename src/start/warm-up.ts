/** What criu does before its start image is taken: real dumps and restores, so that its code has been run and compiled. */
import { CriuError, errorText } from '../base/errors.ts';
import { invocationOf, setInvocation } from '../base/invocation.ts';
import { forgetRun } from '../base/per-run.ts';
import { type Programs, runProgram } from '../cli/run-program.ts';
import { F_DUPFD_CLOEXEC, O_CLOEXEC, O_WRONLY } from '../linux/abi/fcntl.ts';
import { PR_SET_CHILD_SUBREAPER } from '../linux/abi/prctl.ts';
import { IFF_UP } from '../linux/abi/rtnetlink.ts';
import { SIGKILL } from '../linux/abi/signal.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { check, cString, syscall } from '../linux/kernel.ts';
import { close, readFile } from '../linux/syscalls/fs.ts';
import { trySetDeviceFlags } from '../linux/syscalls/network-device.ts';
import { getpid, kill, tryWait } from '../linux/syscalls/process.ts';
import { NetworkVisit } from '../resources/netns/network-visit.ts';
import { spawnIdle } from '../tracee/idle.ts';
import { spawnProgram } from './ordinary-program.ts';
import { OwnRequest, type Wanted } from './own-request.ts';
import { rehearseStart } from './start-image.ts';
import { warmUpFiller } from './warm-up-filler.ts';
import { SMALL_TREES, TREES, type WarmUpTree } from './warm-up-trees.ts';

const START_ROUNDS = 50;
const CHECK_ROUNDS = 2;
const STDOUT = 1;

/** Times the thresholds of the image: code is compiled while it is made, and not in a run from it (base/hot-code.ts). */
const WHILE_WARMING_UP = 1;
const AFTERWARDS = 3000;

/** With these options, by a request that has all its options itself, or only asked whether a tree can be dumped. */
type Way = readonly string[] | 'request' | 'check';

const LOGGED = ['-v4', '-o', 'criu.log'];
/** How criu is called, by turns: with a log of everything, of what is out of order, and without one. */
const WAYS: readonly Way[] = [LOGGED, ['-o', 'criu.log'], []];
const ALL_WAYS: readonly Way[] = [...WAYS, 'request'];

const ENVIRONMENT = [
  'SHELL=/bin/sh',
  'PWD=/',
  'LOGNAME=root',
  'HOME=/nonexistent',
  'LANG=C.UTF-8',
  'USER=root',
  'SHLVL=1',
  'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  '_=/usr/sbin/criu',
];

/**
 * `folder` is for images and files. What cannot be done here is left out: that code will be slow when it runs for the first
 * time. Never throws.
 */
export async function warmUp(folder: string, programs: Programs): Promise<void> {
  // What a tree leaves behind becomes a child of ours.
  syscall(SYS.prctl, PR_SET_CHILD_SUBREAPER, 1);
  const once = SMALL_TREES.map((tree) => ({ ...tree, rounds: 1 }));
  const isPossible = await tryTrees(once, `${folder}/first`, programs);
  if (isPossible) await warmUpWithAll(folder, programs);
  setInvocation(undefined);
}

async function warmUpWithAll(folder: string, programs: Programs): Promise<void> {
  using _visit = enterNetwork();
  Bun.unsafe.setJITPolicy(WHILE_WARMING_UP);
  for (const [index, tree] of TREES.entries()) await tryTrees([tree], `${folder}/${index}`, programs);
  tryFiller(folder);
  const checked = SMALL_TREES.map((tree) => ({ ...tree, rounds: CHECK_ROUNDS }));
  await withoutOutput(() => tryTrees(checked, `${folder}/checked`, programs, ['check']));
  for (let round = 0; round < START_ROUNDS; round++) rehearseStart();
  // What comes now takes the room that is free between what stays; then a run of criu has new pages for itself.
  Bun.gc(true);
  await tryTrees(SMALL_TREES, `${folder}/small`, programs, ALL_WAYS);
  Bun.unsafe.setJITPolicy(AFTERWARDS);
  // What was compiled last has its first run here, not in each run from the image.
  const eachWay = SMALL_TREES.map((tree) => ({ ...tree, rounds: ALL_WAYS.length }));
  await tryTrees(eachWay, `${folder}/last`, programs, ALL_WAYS);
}

/** Dumps and restores each of the trees as often as it says, the ways by turns. One that fails is left out; false when all are. */
async function tryTrees(
  trees: readonly WarmUpTree[],
  folder: string,
  programs: Programs,
  ways: readonly Way[] = WAYS,
): Promise<boolean> {
  syscall(SYS.mkdir, cString(folder), 0o700);
  const possible = new Set(trees);
  const rounds = Math.max(...trees.map((tree) => tree.rounds));
  let possibleWays = ways;
  for (let round = 0; round < rounds; round++) {
    for (const tree of possible) {
      if (round >= tree.rounds) continue;
      const way = possibleWays[round % possibleWays.length] ?? [];
      try {
        await runWith(tree, folder, programs, way);
      } catch (error) {
        sayLeftOut(way === 'request' ? 'requests' : tree.name, error);
        // Kernels before 6.5 do not tell who sends them (SO_PEERPIDFD).
        if (way === 'request') possibleWays = WAYS;
        else possible.delete(tree);
      }
    }
  }
  return possible.size > 0;
}

/** Whoever makes the image reads its description from our standard output, and not what a check says of a tree. */
async function withoutOutput(action: () => Promise<unknown>): Promise<void> {
  const output = check('fcntl', syscall(SYS.fcntl, STDOUT, F_DUPFD_CLOEXEC, 0));
  const nowhere = check('open', syscall(SYS.open, cString('/dev/null'), O_WRONLY | O_CLOEXEC));
  try {
    syscall(SYS.dup2, nowhere, STDOUT);
    await action();
  } finally {
    syscall(SYS.dup2, output, STDOUT);
    for (const fd of [nowhere, output]) close(fd);
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

async function runWith(tree: WarmUpTree, folder: string, programs: Programs, way: Way): Promise<void> {
  const { prepare } = tree;
  try {
    const pid =
      tree.program === undefined
        ? spawnIdle(prepare === undefined ? undefined : (program) => prepare(program, folder))
        : spawnProgram(tree.program);
    if (way === 'check') await runOnce(programs, 'check', ['--tree', String(pid), '-D', folder, ...LOGGED]);
    else if (way === 'request') await askFor(pid, folder, programs);
    else await dumpAndRestore(pid, tree, ['-D', folder, ...way], programs);
  } finally {
    endChildren();
  }
}

async function dumpAndRestore(
  pid: number,
  { options = [], dumpOptions = [], restoreOptions = [] }: WarmUpTree,
  words: readonly string[],
  programs: Programs,
): Promise<void> {
  const all = [...words, ...options];
  await runOnce(programs, 'dump', ['-R', '-t', String(pid), ...all, ...dumpOptions]);
  await runOnce(programs, 'dump', ['-t', String(pid), ...all, ...dumpOptions]);
  endChildren();
  await runOnce(programs, 'restore', ['-d', ...all, ...restoreOptions]);
}

async function askFor(pid: number, folder: string, programs: Programs): Promise<void> {
  const ask = async (wanted: Wanted) => {
    using request = new OwnRequest(folder, wanted);
    await runOnce(programs, 'swrk', [String(request.fd)]);
  };
  await ask({ pid, leave_running: true });
  await ask({ pid });
  endChildren();
  await ask({});
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

async function runOnce(programs: Programs, command: string, words: string[]): Promise<void> {
  // Made as at a start: the same kinds of strings and arrays.
  const texts = ['criu', command, ...words, ...ENVIRONMENT].join('\0').split('\0');
  const end = texts.length - ENVIRONMENT.length;
  setInvocation(invocationOf(texts.slice(0, end), texts.slice(end)));
  const status = await runProgram(programs);
  forgetRun();
  if (status !== 0) throw new CriuError({ action: `${command} fails` });
}
