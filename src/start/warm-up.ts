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
import { plugHoles } from './heap-room.ts';
import { spawnProgram } from './ordinary-program.ts';
import { OwnRequest, type Wanted } from './own-request.ts';
import { rehearseStart } from './start-image.ts';
import { warmUpFiller } from './warm-up-filler.ts';
import { ALL_WAYS, BIG_TREES, LOGGED, SMALL_TREES, type WarmUpTree, type Way } from './warm-up-trees.ts';

const START_ROUNDS = 50;
const CHECK_ROUNDS = 2;
const VERSION_ROUNDS = 20;
const STDOUT = 1;

/** Times the thresholds of the image: code is compiled while it is made, and not in a run from it (base/hot-code.ts). */
const WHILE_WARMING_UP = 1;
const AFTERWARDS = 3000;

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
  '',
].join('\0');

/**
 * `folder` is for images and files. What cannot be done here is left out: that code will be slow when it runs for the first
 * time. Returns an address in the memory where objects are, undefined when nothing can be done. Throws
 * RangeError when there is no memory.
 */
export async function warmUp(folder: string, programs: Programs): Promise<number | undefined> {
  // What a tree leaves behind becomes a child of ours.
  syscall(SYS.prctl, PR_SET_CHILD_SUBREAPER, 1);
  const once = SMALL_TREES.map((tree) => ({ ...tree, rounds: 1 }));
  const isPossible = await tryTrees(once, `${folder}/first`, programs);
  const heap = isPossible ? await warmUpWithAll(folder, programs) : undefined;
  setInvocation(undefined);
  return heap;
}

async function warmUpWithAll(folder: string, programs: Programs): Promise<number> {
  using _visit = enterNetwork();
  Bun.unsafe.setJITPolicy(WHILE_WARMING_UP);
  // First, so that what small runs need lies close together: they touch 200 of 3,100 pages less.
  await tryTrees(SMALL_TREES, `${folder}/small`, programs);
  await tryTrees([...BIG_TREES, ...SMALL_TREES], `${folder}/all`, programs);
  tryFiller(folder);
  const checked = SMALL_TREES.map((tree) => ({ ...tree, rounds: CHECK_ROUNDS, ways: ['check'] as const }));
  await withoutOutput(() => tryTrees(checked, `${folder}/checked`, programs));
  await withoutOutput(() => askForVersion(VERSION_ROUNDS, programs));
  rehearseStarts(START_ROUNDS);
  Bun.unsafe.setJITPolicy(AFTERWARDS);
  const heap = plugHoles();
  // What was compiled last has its first run here, not in each run from the image. And what objects take their place goes on
  // behind what stays, so nothing is collected any more.
  const eachWay = SMALL_TREES.map((tree) => ({ ...tree, rounds: ALL_WAYS.length }));
  await tryTrees(eachWay, `${folder}/last`, programs, () => {});
  // The collection may have thrown away what the code of functions is made of; then it takes 3 ms to have it again.
  await withoutOutput(() => askForVersion(1, programs));
  rehearseStarts(1);
  return heap;
}

function rehearseStarts(rounds: number): void {
  for (let round = 0; round < rounds; round++) rehearseStart();
}

async function askForVersion(rounds: number, programs: Programs): Promise<void> {
  for (let round = 0; round < rounds; round++) await runOnce(programs, '--version', []);
}

/** Garbage of a hundred runs would be everywhere between what stays. */
const collect = () => Bun.gc(true);

/**
 * Dumps and restores each of the trees as often as it says; `afterEach` comes after each run. One that fails is left out;
 * false when all are.
 */
async function tryTrees(
  trees: readonly WarmUpTree[],
  folder: string,
  programs: Programs,
  afterEach: () => void = collect,
): Promise<boolean> {
  syscall(SYS.mkdir, cString(folder), 0o700);
  const possible = new Set(trees);
  const impossible = new Set<Way>();
  const rounds = Math.max(...trees.map((tree) => tree.rounds));
  for (let round = 0; round < rounds; round++) {
    for (const tree of possible) {
      const ways = tree.ways.filter((way) => !impossible.has(way));
      const way = ways[round % ways.length];
      if (round >= tree.rounds || way === undefined) continue;
      try {
        await runWith(tree, folder, programs, way);
      } catch (error) {
        sayLeftOut(way === 'request' ? 'requests' : tree.name, error);
        // Kernels before 6.5 do not tell who sends them (SO_PEERPIDFD).
        if (way === 'request') impossible.add(way);
        else possible.delete(tree);
      }
      afterEach();
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
  setInvocation(invocationOf(`${['criu', command, ...words].join('\0')}\0`, () => ENVIRONMENT));
  const status = await runProgram(programs);
  forgetRun();
  if (status !== 0) throw new CriuError({ action: `${command} fails` });
}
