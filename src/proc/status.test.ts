import { expect, test } from 'bun:test';
import { fixture } from './fixtures/fixture.ts';
import { parseStatus, unescapeComm } from './status.ts';

test('a real process, with a name of brackets, newline and backslash', () => {
  expect(parseStatus(fixture('status'))).toEqual({
    name: 'a) R\n\\ (b',
    umask: 0o27,
    state: 'R',
    tgid: 31564,
    ngid: 0,
    pid: 31564,
    ppid: 31561,
    tracerPid: 0,
    uid: [0, 0, 0, 0],
    gid: [0, 0, 0, 0],
    fdSize: 256,
    groups: [],
    nsTgid: [31564],
    nsPid: [31564],
    nsPgid: [31561],
    nsSid: [16030],
    isKernelThread: false,
    memory: {
      peakKb: 23532,
      sizeKb: 23532,
      lockedKb: 8,
      pinnedKb: 0,
      peakRssKb: 20032,
      rssKb: 20032,
      rssAnonKb: 12988,
      rssFileKb: 7044,
      rssShmemKb: 0,
      dataKb: 14356,
      stackKb: 140,
      exeKb: 4,
      libKb: 4876,
      pteKb: 92,
      swapKb: 0,
      hugetlbKb: 0,
    },
    isCoreDumping: false,
    isThpEnabled: false,
    threads: 1,
    queuedSignals: 5,
    queuedSignalsMax: 96365,
    sigPnd: 0n,
    shdPnd: 0x4000n,
    sigBlk: 0x8000000000004000n,
    sigIgn: 0x1001001n,
    sigCgt: 0x202n,
    capInh: 0n,
    capPrm: 0x1fffeffffffn,
    capEff: 0x1fffeffffffn,
    capBnd: 0x1fffeffffffn,
    capAmb: 0n,
    hasNoNewPrivs: true,
    seccomp: 0,
    seccompFilters: 0,
    cpusAllowed: '3',
    threadFeatures: [],
    threadFeaturesLocked: [],
    voluntaryCtxtSwitches: 42,
    nonvoluntaryCtxtSwitches: 9,
  });
});

test('a zombie has neither memory nor umask', () => {
  const zombie = parseStatus(fixture('status-zombie'));
  expect([zombie.state, zombie.memory, zombie.umask, zombie.isThpEnabled]).toEqual([
    'Z',
    undefined,
    undefined,
    undefined,
  ]);
});

test('a kernel thread says so', () => {
  const thread = parseStatus(fixture('status-kernel-thread'));
  expect([thread.name, thread.isKernelThread, thread.memory]).toEqual(['kthreadd', true, undefined]);
});

test('groups, nested pid namespaces and no limit of signals', () => {
  const text = fixture('status')
    .replace('Groups:\t ', 'Groups:\t4 24 100000 ')
    .replace(/NSpid:.*/, 'NSpid:\t31564\t12\t1')
    .replace(/SigQ:.*/, 'SigQ:\t0/18446744073709551615');
  const status = parseStatus(text);
  expect([status.groups, status.nsPid, status.queuedSignalsMax]).toEqual([[4, 24, 100000], [31564, 12, 1], Infinity]);
});

test('a name keeps its blanks', () => {
  expect(parseStatus(fixture('status').replace(/Name:.*/, 'Name:\t  x \t')).name).toBe('  x \t');
});

test('a kernel without the newer lines', () => {
  const newer = /^(Kthread|NS.*|CoreDumping|THP_enabled|Seccomp_filters|NoNewPrivs|Seccomp):.*\n/gm;
  const status = parseStatus(fixture('status').replace(newer, ''));
  expect([status.nsPid, status.nsTgid, status.nsSid]).toEqual([[31564], [31564], []]);
  expect([status.isThpEnabled, status.seccompFilters, status.hasNoNewPrivs]).toEqual([undefined, undefined, false]);
});

test('x86 thread features', () => {
  const text = `${fixture('status')}x86_Thread_features:\tshstk wrss \nx86_Thread_features_locked:\tshstk \n`;
  expect(parseStatus(text).threadFeatures).toEqual(['shstk', 'wrss']);
  expect(parseStatus(text).threadFeaturesLocked).toEqual(['shstk']);
});

test('errors name file and line', () => {
  const text = fixture('status');
  const fail = (bad: string) => () => parseStatus(bad, '/proc/7/status');
  expect(fail(text.replace(/^Pid:/m, 'Pod:'))).toThrow(
    '/proc/7/status: cannot parse the kernel\'s text: a line "Pid:" expected, found "Name:\\x09a) R\\n\\\\ (b\\x0aUmask:',
  );
  expect(fail(text.replace(/^Uid:.*/m, 'Uid:\t0\t0\t0'))).toThrow(
    'four ids expected in line 9, found "Uid:\\x090\\x090\\x090"',
  );
  expect(fail(text.replace(/^SigBlk:.*/m, 'SigBlk:\tg'))).toThrow(
    'a hexadecimal mask expected in line 41, found "SigBlk:\\x09g"',
  );
  expect(fail(text.replace(/^VmRSS:.*/m, 'VmRSS:\t 5 MB'))).toThrow(
    'a number of kB expected in line 23, found "VmRSS:\\x09 5 MB"',
  );
  expect(fail(text.replace(/^SigQ:.*/m, 'SigQ:\t5'))).toThrow(
    'queued signals/limit expected in line 38, found "SigQ:\\x095"',
  );
});

test('names are unescaped from the left, once', () => {
  expect(unescapeComm('a\\\\nb')).toBe('a\\nb');
  expect(unescapeComm('a\\nb')).toBe('a\nb');
});
