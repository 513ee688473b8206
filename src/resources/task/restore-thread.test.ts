import { expect, test } from 'bun:test';
import { ABI_64 } from '../../agent/abi.ts';
import { Program } from '../../agent/program.ts';
import type { ThreadCoreEntry } from '../../image/gen/core.ts';
import { SETTABLE_SIGNALS } from '../signals/sigactions.ts';
import { isInherited, planCommonState, planOwnState, planTaskLate } from './restore-thread.ts';

const off = { isec: 0, iusec: 0, vsec: 0, vusec: 0 };
const root = {
  uid: 1, gid: 0, euid: 1, egid: 0, suid: 1, sgid: 0, fsuid: 1, fsgid: 0, groups: [], secbits: 0, no_new_privs: 1,
  cap_inh: [], cap_prm: [], cap_eff: [], cap_bnd: [0xffff_ffff, 0x1ff], cap_amb: [],
}; // biome-ignore format: one line a kind
const threadCore: ThreadCoreEntry = {
  futex_rla: 0n,
  futex_rla_len: 24,
  sched_nice: 5,
  pdeath_sig: 15,
  seccomp_mode: 2,
  seccomp_filter: 0,
  creds: root,
  signals_p: { signals: [{ siginfo: new Uint8Array(Uint32Array.of(10, ...new Array(31).fill(0)).buffer) }] },
};
const posix = { it_id: 0, clock_id: 1, si_signo: 14, it_sigev_notify: 0, sival_ptr: 0n, overrun: 0 };
const tc = {
  task_state: 1,
  exit_code: 0,
  personality: 0x40000,
  flags: 0,
  blk_sigset: 0n,
  comm: 'x',
  sem_undo_ext: [],
  sigactions: SETTABLE_SIGNALS.map(() => ({ sigaction: 0n, flags: 0n, restorer: 0n, mask: 0n })),
  child_subreaper: true,
  rlimits: { rlimits: [{ cur: 1n, max: 1n }] },
  timers: {
    real: { ...off, vsec: 1 },
    virt: off,
    prof: off,
    posix: [{ ...posix, isec: 0, insec: 0, vsec: 1, vnsec: 0 }],
  },
};

test('the order of the last program keeps every step possible', () => {
  const program = new Program();
  const creds = { status: undefined, securebits: 0 };
  planOwnState(program, { pid: 5, tid: 5, abi: ABI_64, threadCore, clearTidAddr: 0n, tc });
  planCommonState(program, { threadCore, tc });
  const warnings = planTaskLate(program, {
    pid: 5,
    tc,
    threadCore,
    dumpable: 1,
    isThpDisabled: false,
    filters: { seccomp_filters: [{ filter: new Uint8Array(8) }] },
    now: { creds, rlimits: { limits: [], capEff: 0n }, loginuid: undefined, supportsTimerIds: false },
  });
  expect(warnings).toEqual([]);
  const reasons = Array.from({ length: program.length }, (_, i) => program.describe(i).because);
  expect(reasons.filter((text) => text !== '')).toEqual([
    'register robust futexes',
    'queue SIGUSR1 for the thread',
    'set the name',
    'set nice value 5',
    'set scheduling policy 0 with priority 0',
    'set personality 0x40000',
    'make POSIX timer 0 on clock 1',
    'find POSIX timer 0',
    'set RLIMIT_CPU to 1:1',
    'install seccomp filter 0',
    'set 0 supplementary groups',
    'keep capabilities while user ids change',
    'set group ids 0, 0, 0',
    'set user ids 1, 1, 1',
    'set file system group id 0',
    'set file system user id 1',
    'read the capabilities',
    'set inheritable capabilities 0x0',
    'set securebits 0x0',
    'set capabilities to permitted 0x0, effective 0x0',
    'set no_new_privs',
    'set the parent death signal 15',
    'become a child subreaper',
    'set dumpable to 1',
    'arm POSIX timer 0',
    'arm the real-time interval timer',
  ]);
});

test('threads inherit what is the same in them and their leader, unless the kernel resets it', () => {
  const like = (leader: Partial<ThreadCoreEntry>, thread: Partial<ThreadCoreEntry>) =>
    isInherited({ ...threadCore, ...leader }, { ...threadCore, ...thread }, tc);
  expect(like({}, {})).toBe(true);
  expect(like({}, { comm: 'x' })).toBe(true);
  expect(like({ sched_policy: 1, sched_prio: 3 }, { sched_policy: 1, sched_prio: 3 })).toBe(true);
  expect(like({}, { comm: 'y' })).toBe(false);
  expect(like({}, { sched_nice: 6 })).toBe(false);
  expect(like({}, { personality_ext: 0 })).toBe(false);
  for (const sched_policy of [5, 6, 0x4000_0000]) expect(like({ sched_policy }, { sched_policy })).toBe(false);
  expect(like({ timerslack_ext: 1n }, { timerslack_ext: 1n })).toBe(false);
});
