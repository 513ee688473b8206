/**
 * Goal: what was read of a running task is used only as far as it is still true when the task stands still.
 * Method: a stub with 9 MiB changes its mappings between the reading and what stands for the freeze.
 */
import { afterEach, test as anyTest, expect } from 'bun:test';
import { Program } from '../agent/program.ts';
import {
  MADV_RANDOM,
  MAP_ANONYMOUS,
  MAP_FIXED_NOREPLACE,
  MAP_POPULATE,
  MAP_PRIVATE,
  PROT_READ,
  PROT_WRITE,
} from '../linux/abi/mman.ts';
import { SIGKILL } from '../linux/abi/signal.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { readFile } from '../linux/syscalls/fs.ts';
import { kill } from '../linux/syscalls/process.ts';
import { tryReadTaskMappings } from '../linux/task-mappings.ts';
import type { HostTask } from '../tracee/host.ts';
import { endStubs, newStub } from '../tracee/stub.test-support.ts';
import { EarlyMappings, findBigTasks } from './early-mappings.ts';
import type { FrozenTask } from './frozen-tree.ts';

// The kernel lets root look at flags of mappings, unless BPF is locked down.
const test = anyTest.skipIf(tryReadTaskMappings(process.pid) === undefined);

const BIG = 0x5000_0000;
const BIG_BYTES = 9 << 20;
const SMALL = 0x6000_0000;

afterEach(endStubs);

/** A stub with much memory, and a page beside it, and what it is called in a frozen tree. */
function newTask(): { host: HostTask; task: FrozenTask } {
  const host = newStub();
  run(host, (program) => {
    const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_POPULATE;
    program.must('map much', SYS.mmap, BIG, BIG_BYTES, PROT_READ | PROT_WRITE, flags, -1, 0);
    program.must('map a page', SYS.mmap, SMALL, 4096, PROT_READ | PROT_WRITE, flags, -1, 0);
  });
  return { host, task: { pid: host.pid, label: 'stub' } as FrozenTask };
}

function run(host: HostTask, plan: (program: Program) => void): void {
  const program = new Program();
  plan(program);
  program.stop();
  host.run(program);
}

test('mappings that have not changed are taken', () => {
  const { task } = newTask();
  const early = new EarlyMappings(findBigTasks(task.pid));
  const { mappings = [], vmas = [] } = early.tryTake(task) ?? {};
  expect(early.taken).toBe(1);
  expect(mappings.map(({ start }) => start)).toContain(BIG);
  expect(vmas.some(({ entry }) => entry.start === SMALL)).toBe(true);
});

test('of a task that was killed nothing is taken', () => {
  const { task } = newTask();
  const early = new EarlyMappings(findBigTasks(task.pid));
  kill(task.pid, SIGKILL);
  // It stays a zombie until it is waited for.
  while (readFile(`/proc/${task.pid}/stat`).split(' ')[2] !== 'Z') Bun.sleepSync(1);
  expect(early.tryTake(task)).toBeUndefined();
});

const CHANGES: [what: string, plan: (program: Program) => void][] = [
  ['a mapping less', (program) => program.must('unmap', SYS.munmap, SMALL, 4096)],
  ['other access', (program) => program.must('protect', SYS.mprotect, SMALL, 4096, PROT_READ)],
  ['advice', (program) => program.must('advise', SYS.madvise, SMALL, 4096, MADV_RANDOM)],
  ['locked memory', (program) => program.must('lock', SYS.mlock, SMALL, 4096)],
];
for (const [what, plan] of CHANGES) {
  test(`${what}: they are read again`, () => {
    const { host, task } = newTask();
    const early = new EarlyMappings(findBigTasks(task.pid));
    run(host, plan);
    expect(early.tryTake(task)).toBeUndefined();
    expect(early.taken).toBe(0);
  });
}

test('small tasks are not read early', () => {
  const { pid } = newStub();
  expect(new EarlyMappings(findBigTasks(pid)).tryTake({ pid, label: 'stub' } as FrozenTask)).toBeUndefined();
});
