/**
 * Goal: the images of threads that the kernel has listed, and that were not asked, are those which asking them gives.
 * Method: a process with threads of many kinds stands still, and its cores are written twice, with the list and without.
 */
import { afterEach, test as anyTest, expect } from 'bun:test';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Program } from '../agent/program.ts';
import { LogSink } from '../base/log.ts';
import { ImageDir } from '../image/image-dir.ts';
import {
  PR_MCE_KILL,
  PR_MCE_KILL_SET,
  PR_SET_NAME,
  PR_SET_NO_NEW_PRIVS,
  PR_SET_PDEATHSIG,
  PR_SET_SECUREBITS,
  PR_SET_SPECULATION_CTRL,
  PR_SET_TIMERSLACK,
  PR_SET_TSC,
} from '../linux/abi/prctl.ts';
import { RSEQ, RSEQ_SIG } from '../linux/abi/rseq.ts';
import { SCHED_BATCH, SCHED_FIFO, SCHED_RESET_ON_FORK } from '../linux/abi/sched.ts';
import { SIG_BLOCK, SIGKILL, SIGUSR1, SIGUSR2, SS_AUTODISARM } from '../linux/abi/signal.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { readFile } from '../linux/syscalls/fs.ts';
import { kill, tryWait } from '../linux/syscalls/process.ts';
import { TaskThreads } from '../linux/task-threads.ts';
import { parseMaps } from '../proc/maps.ts';
import type { FilesDump } from '../resources/fd/fd-table/collect-files.ts';
import { InterruptedCalls } from '../resources/interrupted-call/interrupted-calls.ts';
import type { DescribedVma } from '../resources/mm/dump-vmas.ts';
import { SeccompFilters } from '../resources/seccomp/seccomp.ts';
import { readThreads } from '../resources/task/thread-probe.ts';
import { addChild, addThread, spawnIdle } from '../tracee/idle.ts';
import { CoreImages } from './core-images.ts';
import { Freezer } from './freeze.ts';
import type { FrozenTask } from './frozen-tree.ts';
import { inspectTaskStates } from './task-state.ts';

/** Root may look, unless BPF is locked down. */
function canList(): boolean {
  using threads = TaskThreads.tryOpen();
  return threads !== undefined;
}

const test = anyTest.skipIf(!canList());

const { logger } = new LogSink((_fd, bytes) => bytes.length);
const AREA = 1 << 12;
const [STACK, PLAIN] = [0x6000_0000, 100];

let freezer = new Freezer(logger, 10_000);
let pid = -1;
let folder = '';

afterEach(() => {
  freezer.release();
  if (pid > 0) {
    kill(pid, SIGKILL);
    tryWait(pid);
  }
  pid = -1;
  if (folder !== '') rmSync(folder, { recursive: true });
  folder = '';
});

/** What two threads each do before they sleep. */
const KINDS: readonly ((p: Program) => void)[] = [
  (p) => p.must('set', SYS.prctl, PR_SET_NAME, p.string('a name')),
  (p) => p.must('set', SYS.prctl, PR_SET_NAME, p.string('exactly 15 byte')),
  (p) => p.must('set', SYS.setpriority, 0, 0, 5),
  (p) => p.must('set', SYS.ioprio_set, 1, 0, (2 << 13) | 3),
  (p) => p.must('set', SYS.sched_setscheduler, 0, SCHED_BATCH, p.words(0)),
  (p) => p.must('set', SYS.sched_setscheduler, 0, SCHED_BATCH | SCHED_RESET_ON_FORK, p.words(0)),
  (p) => p.must('set', SYS.sched_setscheduler, 0, SCHED_FIFO, p.words(7)),
  (p) => p.must('set', SYS.sched_setscheduler, 0, SCHED_FIFO, p.words(9)),
  (p) => p.must('set', SYS.sched_setaffinity, 0, 8, p.words(1)),
  (p) => p.must('set', SYS.sigaltstack, p.words(STACK, SS_AUTODISARM, 1 << 16), 0),
  (p) => p.must('set', SYS.sigaltstack, p.words(STACK + 2 ** 33, 0, 1 << 20), 0),
  (p) => p.must('set', SYS.prctl, PR_SET_TIMERSLACK, 12_345),
  (p) => p.must('set', SYS.prctl, PR_SET_PDEATHSIG, SIGUSR2),
  (p) => p.must('set', SYS.personality, 0x004_0000),
  (p) => p.must('set', SYS.prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
  (p) => p.must('set', SYS.prctl, PR_SET_TSC, 2),
  (p) => p.must('set', SYS.prctl, PR_MCE_KILL, PR_MCE_KILL_SET, 1, 0, 0),
  (p) => p.must('set', SYS.prctl, PR_SET_SECUREBITS, 1 << 4, 0, 0, 0),
  (p) => p.must('set', SYS.setresgid, 5, 6, 7),
  (p) => p.must('set', SYS.setgroups, 2, p.words(8 + 9 * 2 ** 32)),
  (p) => p.must('set', SYS.rt_sigprocmask, SIG_BLOCK, p.words(1 << (SIGUSR1 - 1)), 0, 8),
  (p) => p.must('set', SYS.set_tid_address, STACK),
  (p) => p.must('set', SYS.set_robust_list, STACK + 64, 24),
  (p) => p.call(SYS.prctl, PR_SET_SPECULATION_CTRL, 0, 4, 0, 0),
  (p) => p.call(SYS.arch_prctl, 0x1012, 0),
  addPending,
  addFilter,
];

/** A signal that waits. */
function addPending(p: Program): void {
  p.must('set', SYS.rt_sigprocmask, SIG_BLOCK, p.words(1 << (SIGUSR2 - 1)), 0, 8);
  p.must('set', SYS.tkill, p.call(SYS.gettid), SIGUSR2);
}

/** struct sock_fprog with one instruction, which allows all. */
function addFilter(p: Program): void {
  const filter = p.words(0x06n | (0x7fff_0000n << 32n));
  const program = p.words(1, 0);
  p.store64(p.at(program, 8), filter);
  p.must('set', SYS.seccomp, 1, 0, program);
}

const COUNT = PLAIN + 3 * KINDS.length + 1;

function startThreads(): void {
  pid = spawnIdle((p) => {
    const area = 0x5000_0000;
    const bytes = AREA * COUNT;
    p.must('map an area', SYS.mmap, area, bytes, 3, 0x10_0022, -1, 0);
    const add = (i: number, prepare: (p: Program) => void) =>
      addThread(p, { stack: area + i * AREA, stackBytes: AREA / 2 }, () => {
        const own = area + i * AREA + AREA / 2;
        p.must('register struct rseq', SYS.rseq, own, RSEQ.bytes, 0, RSEQ_SIG);
        prepare(p);
      });
    let i = 0;
    for (; i < PLAIN; i++) add(i, () => {});
    for (const kind of KINDS) {
      add(i++, kind);
      add(i++, kind);
      // What the others must not be taken for.
      add(i++, () => {});
    }
    add(i++, (program) => addChild(program));
  });
  // Its threads are ready a little later.
  Bun.sleepSync(100);
}

/** The images of all threads. */
function writeCores(task: FrozenTask, name: string): readonly Buffer[] {
  const special = parseMaps(readFile(`/proc/${pid}/maps`)).map((seen) => ({ seen, entry: { flags: 0 } }));
  const inspected = [{ task, special: special as unknown as DescribedVma[] }];
  const files = { ask: () => () => {} } as unknown as FilesDump;
  using calls = new InterruptedCalls({ tasks: [task] });
  const [state] = inspectTaskStates(inspected, new SeccompFilters(), files, calls, () => undefined);
  const path = mkdtempSync(join(folder, name));
  using cores = new CoreImages(ImageDir.open(path), task.threads.length);
  state?.().describeCores((described) => cores.write(described, 1, (core) => core));
  cores.finish();
  return task.threads.map(({ tid }) => readFileSync(join(path, `core-${tid}.img`)));
}

test('cores of listed threads are those of threads that were asked', () => {
  folder = mkdtempSync(join(tmpdir(), 'criu-alike-'));
  startThreads();
  freezer = new Freezer(logger, 10_000);
  const { root, tasks } = freezer.freeze(pid);
  expect(tasks.length).toBe(2);
  const listed = root.threads.filter(({ alike }) => alike !== undefined).length;
  expect(root.threads.length).toBe(1 + COUNT);
  // The second one of nearly each kind.
  expect(listed).toBeGreaterThan(PLAIN + KINDS.length + 15);
  const threads = readThreads([{ pid, tids: root.threads.map(({ tid }) => tid) }]);
  expect(threads.every(({ alike }) => alike === undefined)).toBe(true);
  const leader = threads[0] ?? root.leader;
  const listedCores = writeCores(root, 'listed');
  const askedCores = writeCores({ ...root, threads, leader }, 'asked');
  listedCores.forEach((core, i) => {
    expect([i, core.equals(askedCores[i] ?? Buffer.alloc(0))]).toEqual([i, true]);
  });
  const statuses = root.threads.map(({ status: { name, nsPid, pid: tid } }) => ({ name, nsPid, tid }));
  expect(statuses).toEqual(threads.map(({ status: { name, nsPid, pid: tid } }) => ({ name, nsPid, tid })));
});
