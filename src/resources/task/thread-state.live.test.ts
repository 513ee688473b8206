/**
 * Goal: what is restored into a task is what a dump finds there afterwards.
 * Method: a stub gets the state of an image by the restore's programs and is asked by the dump's programs.
 */
import { afterEach, test as anyTest, describe, expect } from 'bun:test';
import { ABI_64 } from '../../agent/abi.ts';
import { Program } from '../../agent/program.ts';
import type { FrozenTask, FrozenThread } from '../../dump/frozen-tree.ts';
import type { TaskCoreEntry, ThreadCoreEntry } from '../../image/gen/core.ts';
import type { CredsEntry } from '../../image/gen/creds.ts';
import { CAP_CHOWN, CAP_NET_RAW, CAP_SETUID } from '../../linux/abi/capability.ts';
import { MAP_ANONYMOUS, MAP_FIXED_NOREPLACE, MAP_PRIVATE, PROT_READ, PROT_WRITE } from '../../linux/abi/mman.ts';
import { SECBIT_KEEP_CAPS, SECBIT_NO_CAP_AMBIENT_RAISE, SECBIT_NOROOT } from '../../linux/abi/prctl.ts';
import { SIGEV_THREAD_ID, SIGTERM, SIGUSR1, SIGUSR2, SS_AUTODISARM } from '../../linux/abi/signal.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { readFile } from '../../linux/syscalls/fs.ts';
import { parseLimits } from '../../proc/limits.ts';
import { parseMaps } from '../../proc/maps.ts';
import { parseStat } from '../../proc/stat.ts';
import { parseStatus } from '../../proc/status.ts';
import { Guest } from '../../tracee/guest.ts';
import type { HostTask } from '../../tracee/host.ts';
import { endStubs, newStub } from '../../tracee/stub.test-support.ts';
import { splitCaps } from '../creds/creds.ts';
import { SeccompFilters } from '../seccomp/seccomp.ts';
import { supportsTimerIds } from '../timers/posix-timers.ts';
import {
  type DescribedTask,
  type DescribedThread,
  describeTask,
  describeThread,
  inspectTask,
  inspectThread,
  readTask,
  readThread,
} from './dump-thread.ts';
import { writeProcAttributes } from './proc-attributes.ts';
import { planTaskEarly, planTaskLate, planThread } from './restore-thread.ts';
import { writeSyscallDispatch } from './syscall-dispatch.ts';
import { readThreads } from './thread-probe.ts';
import { putU32 } from './words.ts';

/** Tracing and setting credentials needs root. */
const isRoot = process.getuid?.() === 0;
const test = anyTest.skipIf(!isRoot);

const PAGE = 0x5000_0000;

afterEach(endStubs);

interface State {
  readonly thread: DescribedThread;
  readonly task: DescribedTask;
  readonly filters: SeccompFilters;
}

function readStub(pid: number): FrozenThread {
  const [thread] = readThreads([{ pid, tids: [pid] }]);
  if (thread === undefined) throw new Error('one thread was asked for');
  return thread;
}

/** The dump's half. */
function dumpStub(pid: number): State {
  const leader = readStub(pid);
  const task: FrozenTask = {
    kind: 'task',
    pid,
    ppid: 1,
    pgid: 1,
    sid: 1,
    threads: [leader],
    leader,
    stat: parseStat(readFile(`/proc/${pid}/stat`)),
    pidfd: -1,
    stopSignal: undefined,
    deadTwins: [],
    label: 'stub',
  };
  const [facts, taskFacts] = [readThread(leader), readTask(task)];
  const program = new Program();
  const [token, taskToken] = [inspectThread(program, leader, facts), inspectTask(program, task, taskFacts)];
  const vdso = parseMaps(readFile(`/proc/${pid}/maps`)).find(({ path }) => path === '[vdso]');
  using guest = new Guest(leader, vdso === undefined ? [] : [vdso], leader.status.sigCgt);
  const [result] = guest.run([{ thread: leader, program }]);
  if (result === undefined) throw new Error('one visit, one result');
  const filters = new SeccompFilters();
  const thread = describeThread({ token, result, own: undefined, thread: leader, outside: facts });
  Object.assign(thread.threadCore, filters.add([facts.seccomp])[0]);
  return { thread, task: describeTask(taskToken, result, task, taskFacts, thread), filters };
}

/** The restore's half. */
function restoreStub(host: HostTask, { thread, task, filters }: State, kernel = supportsTimerIds()): void {
  const { pid } = host;
  const program = new Program();
  const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
  program.must('map a page', SYS.mmap, PAGE, 4096, PROT_READ | PROT_WRITE, flags, -1, 0);
  const status = parseStatus(readFile(`/proc/${pid}/status`));
  const limits = parseLimits(readFile(`/proc/${pid}/limits`));
  const creds = { status, securebits: 0 };
  const now = { creds, rlimits: { limits, capEff: status.capEff }, loginuid: undefined, supportsTimerIds: kernel };
  const { tc, mm } = task;
  const { threadCore, clearTidAddr } = thread;
  planTaskEarly(program, tc, now, threadCore);
  planThread(program, { pid, tid: pid, abi: ABI_64, threadCore, clearTidAddr, tc });
  const { dumpable, isThpDisabled } = mm;
  planTaskLate(program, { pid, tc, threadCore, dumpable, isThpDisabled, filters: filters.entry, now });
  program.stopBySignal(pid);
  host.run(program);
}

interface Changes {
  readonly threadCore?: Partial<ThreadCoreEntry>;
  readonly creds?: Partial<CredsEntry>;
  readonly tc?: Partial<TaskCoreEntry>;
  readonly mm?: Partial<DescribedTask['mm']>;
  readonly clearTidAddr?: bigint;
  readonly filters?: SeccompFilters;
}

/** Restores a changed stub into a new one and returns what was wanted and what is there. */
function roundTrip(changes: Changes, kernel?: boolean): { wanted: State; got: State } {
  const plain = dumpStub(newStub().pid);
  const target = newStub();
  const { threadCore } = plain.thread;
  const creds = threadCore.creds === undefined ? undefined : { ...threadCore.creds, ...changes.creds };
  const wanted: State = {
    thread: {
      ...plain.thread,
      threadCore: { ...threadCore, ...changes.threadCore, creds },
      clearTidAddr: changes.clearTidAddr ?? plain.thread.clearTidAddr,
    },
    task: { tc: { ...plain.task.tc, ...changes.tc }, mm: { ...plain.task.mm, ...changes.mm } },
    filters: changes.filters ?? plain.filters,
  };
  restoreStub(target, wanted, kernel);
  return { wanted, got: dumpStub(target.pid) };
}

const caps = (...list: number[]) => splitCaps(list.reduce((mask, cap) => mask | (1n << BigInt(cap)), 0n));
const NO_CAPS = { cap_inh: [0, 0], cap_prm: [0, 0], cap_eff: [0, 0], cap_amb: [0, 0] };

/** The credentials come back as they are in `creds`. */
function expectCreds(creds: Partial<CredsEntry>): void {
  const { wanted, got } = roundTrip({ creds });
  expect(got.thread.threadCore.creds).toEqual(wanted.thread.threadCore.creds);
}

describe('credentials', () => {
  test('eight different ids and groups', () => {
    expectCreds({ uid: 1, euid: 2, suid: 3, fsuid: 4, gid: 5, egid: 6, sgid: 7, fsgid: 8, groups: [9, 1000, 70_000] });
  });

  test('a plain user without capabilities', () => {
    const ids = { uid: 1000, euid: 1000, suid: 1000, fsuid: 1000, gid: 1000, egid: 1000, sgid: 1000, fsgid: 1000 };
    expectCreds({ ...ids, ...NO_CAPS, groups: [1000] });
  });

  test('root without capabilities and with an empty bounding set', () => {
    expectCreds({ ...NO_CAPS, cap_bnd: [0, 0], no_new_privs: 1 });
  });

  test('ambient capabilities that may no longer be raised', () => {
    const some = caps(CAP_NET_RAW, CAP_SETUID);
    const sets = { cap_inh: some, cap_prm: some, cap_eff: caps(CAP_NET_RAW), cap_amb: caps(CAP_NET_RAW) };
    expectCreds({ ...sets, cap_bnd: some, secbits: SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NOROOT | SECBIT_KEEP_CAPS });
  });

  test('an inheritable capability outside of the bounding set', () => {
    expectCreds({ uid: 5, ...NO_CAPS, cap_inh: caps(CAP_CHOWN), cap_bnd: caps(CAP_SETUID) });
  });
});

/** BPF_RET | BPF_K with an action. */
function filter(action: number): Uint8Array {
  const code = new Uint8Array(8);
  putU32(code, 0, 6);
  putU32(code, 4, action);
  return code;
}

describe('seccomp', () => {
  test('a chain of filters that forbids everything, without no_new_privs and without capabilities', () => {
    const filters = new SeccompFilters();
    const ALLOW = { code: filter(0x7fff_0000), flags: 0 };
    const [fields] = filters.add([{ mode: 2, filters: [ALLOW, { code: filter(0), flags: 2 }, ALLOW] }]);
    const { wanted, got } = roundTrip({ creds: NO_CAPS, threadCore: { ...fields }, filters });
    expect(got.filters.entry).toEqual(wanted.filters.entry);
    expect(got.thread.threadCore).toMatchObject({ seccomp_mode: 2, seccomp_filter: 2, creds: NO_CAPS });
  });

  test('strict mode', () => {
    const { got } = roundTrip({ threadCore: { seccomp_mode: 1 } });
    expect(got.thread.threadCore.seccomp_mode).toBe(1);
  });
});

function siginfo(signal: number, code: number): { siginfo: Uint8Array } {
  const bytes = new Uint8Array(128);
  putU32(bytes, 0, signal);
  putU32(bytes, 8, code >>> 0);
  putU32(bytes, 16, 77);
  return { siginfo: bytes };
}

describe('signals', () => {
  test('queues of the thread and the process, with codes that only the kernel gives', () => {
    const signals_p = { signals: [siginfo(SIGUSR1, 0), siginfo(40, -1), siginfo(40, -2), siginfo(11, 1)] };
    const signals_s = { signals: [siginfo(SIGUSR2, 0x80), siginfo(50, -6), siginfo(SIGTERM, 0)] };
    const { got } = roundTrip({ threadCore: { signals_p }, tc: { signals_s } });
    const inOrder = (queue: typeof signals_p | undefined) => queue?.signals.map(({ siginfo: bytes }) => bytes);
    expect(inOrder(got.thread.threadCore.signals_p)).toEqual(inOrder(signals_p));
    expect(inOrder(got.task.tc.signals_s)).toEqual(inOrder(signals_s));
  });

  test('actions with flags, masks and restorers', () => {
    const plain = dumpStub(newStub().pid).task.tc.sigactions;
    const sigactions = plain.map((action, i) => ({
      ...action,
      sigaction: i % 3 === 0 ? 1n : BigInt(0x1000 + i),
      flags: i % 2 === 0 ? 0x0c00_0004n : 0xc800_0001n,
      restorer: BigInt(i),
      mask: BigInt(i) << 32n,
    }));
    expect(roundTrip({ tc: { sigactions } }).got.task.tc.sigactions).toEqual(sigactions);
  });

  test('an alternative stack with SS_AUTODISARM', () => {
    const sas = { ss_sp: BigInt(PAGE), ss_size: 4096n, ss_flags: SS_AUTODISARM };
    expect(roundTrip({ threadCore: { sas } }).got.thread.threadCore.sas).toEqual(sas);
  });
});

const timer = {
  clock_id: 1,
  si_signo: 40,
  it_sigev_notify: 0,
  sival_ptr: 0xffff_8000_1234_5678n,
  overrun: 0,
  isec: 0,
  insec: 0,
  vsec: 0,
  vnsec: 0,
};
const none = { isec: 0, iusec: 0, vsec: 0, vusec: 0 };

describe('timers', () => {
  for (const kernel of [true, false]) {
    anyTest.skipIf(!isRoot || (kernel && !supportsTimerIds()))(
      `POSIX timers, ids ${kernel ? 'wanted' : 'counted'}`,
      () => {
        const posix = [
          { ...timer, it_id: 2, vsec: 1000, isec: 5, insec: 7 },
          { ...timer, it_id: 5, clock_id: 0, it_sigev_notify: 1, si_signo: 0 },
          // The kernel's own number for CLOCK_PROCESS_CPUTIME_ID.
          { ...timer, it_id: 17, clock_id: -6 >>> 0, vsec: 5000 },
        ];
        const { got } = roundTrip({ tc: { timers: { real: none, virt: none, prof: none, posix } } }, kernel);
        const seen = got.task.tc.timers?.posix.map((entry) => ({
          ...entry,
          vsec: entry.vsec + Math.sign(entry.vnsec),
          vnsec: 0,
        }));
        expect(seen).toEqual(posix);
      },
    );
  }

  test('a timer for a thread', () => {
    const plain = dumpStub(newStub().pid);
    const target = newStub();
    const posix = [{ ...timer, it_id: 0, it_sigev_notify: SIGEV_THREAD_ID, notify_thread_id: target.pid }];
    const tc = { ...plain.task.tc, timers: { real: none, virt: none, prof: none, posix } };
    restoreStub(target, { ...plain, task: { ...plain.task, tc } });
    expect(dumpStub(target.pid).task.tc.timers?.posix).toEqual(posix);
  });

  test('interval timers', () => {
    const real = { isec: 3, iusec: 5, vsec: 100, vusec: 0 };
    const virt = { isec: 7, iusec: 0, vsec: 0, vusec: 0 };
    const prof = { isec: 0, iusec: 0, vsec: 200, vusec: 0 };
    const { got } = roundTrip({ tc: { timers: { real, virt, prof, posix: [] } } });
    const { timers } = got.task.tc;
    expect(timers?.real).toMatchObject({ isec: 3, iusec: 5, vsec: 99 });
    expect(timers?.virt).toEqual(virt);
    expect(timers?.prof.vsec).toBeWithin(199, 201);
  });
});

test('small attributes', () => {
  const changes = {
    clearTidAddr: BigInt(PAGE + 8),
    threadCore: {
      futex_rla: BigInt(PAGE + 64),
      futex_rla_len: 24,
      pdeath_sig: SIGUSR2,
      comm: 'a (b)\\ \xff',
      sched_nice: 7,
      sched_policy: 3,
      rseq_entry: { rseq_abi_pointer: BigInt(PAGE + 128), rseq_abi_size: 32, signature: 0x1234_5678 },
    },
    tc: { comm: 'a (b)\\ \xff', personality: 0x0044_0000, child_subreaper: true, membarrier_registration_mask: 0x54 },
    mm: { dumpable: 0, isThpDisabled: true },
  };
  const { got } = roundTrip(changes);
  expect(got.thread.threadCore).toMatchObject(changes.threadCore);
  expect(got.thread.clearTidAddr).toBe(changes.clearTidAddr);
  expect(got.task.tc).toMatchObject(changes.tc);
  expect(got.task.mm).toMatchObject(changes.mm);
});

describe('what CRIU has no field for', () => {
  test('of a thread', () => {
    const threadCore = {
      timerslack_ext: 123_456n,
      ioprio_ext: (2 << 13) | 7,
      cpu_affinity_ext: Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0),
      personality_ext: 0x0008_0000,
      tsc_ext: 2,
      mce_kill_ext: 1,
    };
    const { got } = roundTrip({ threadCore });
    const { personality_ext, ...rest } = threadCore;
    expect(got.thread.threadCore).toMatchObject(rest);
    expect(got.thread.personality).toBe(personality_ext);
  });

  test('deadline scheduling', () => {
    const times = { runtime: 1_000_000n, deadline: 50_000_000n, period: 100_000_000n };
    const threadCore = { sched_policy: 6, sched_deadline_ext: { flags: 0n, ...times } };
    expect(roundTrip({ threadCore }).got.thread.threadCore).toMatchObject(threadCore);
  });

  test('of a process', () => {
    const tc = { mdwe_ext: 3, memory_merge_ext: true };
    expect(roundTrip({ tc }).got.task.tc).toMatchObject(tc);
  });

  test('of files in /proc', () => {
    const { pid } = newStub();
    expect(writeProcAttributes(pid, { oomScoreAdj: 321, coredumpFilter: 0x7f })).toEqual([]);
    expect(dumpStub(pid).task.tc).toMatchObject({ oom_score_adj: 321, coredump_filter_ext: 0x7f });
  });

  test('syscall user dispatch', () => {
    const { pid } = newStub();
    const entry = { mode: 1n, selector: BigInt(PAGE), offset: 0x1000n, len: 0x2000n };
    writeSyscallDispatch(pid, entry);
    expect(readStub(pid).dispatch).toEqual(entry);
    writeSyscallDispatch(pid, undefined);
    expect(readStub(pid).dispatch).toBeUndefined();
  });
});

test('resource limits that become lower', () => {
  const plain = dumpStub(newStub().pid).task.tc.rlimits?.rlimits ?? [];
  const rlimits = { rlimits: plain.map(({ cur, max }, i) => (i === 7 ? { cur: 5n, max: 6n } : { cur, max })) };
  expect(roundTrip({ tc: { rlimits } }).got.task.tc.rlimits).toEqual(rlimits);
});
