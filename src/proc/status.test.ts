import { describe, expect, test } from 'bun:test';
import { bytesOf } from '../base/bytes.ts';
import { fixture } from './fixtures/fixture.ts';
import { parseStatus, StatusParser, unescapeComm } from './status.ts';

test('a real process, with a name of brackets, newline and backslash', () => {
  expect(parseStatus(fixture('status'))).toEqual({
    name: 'a) R\n\\ (b',
    umask: 0o27,
    state: 'R',
    tgid: 31564,
    pid: 31564,
    ppid: 31561,
    tracerPid: 0,
    uid: [0, 0, 0, 0],
    gid: [0, 0, 0, 0],
    groups: [],
    nsPid: [31564],
    isKernelThread: false,
    queuedSignals: 5,
    queuedSignalsMax: 96365,
    sigPnd: 0n,
    shdPnd: 0x4000n,
    sigCgt: 0x202n,
    capInh: 0n,
    capPrm: 0x1fffeffffffn,
    capEff: 0x1fffeffffffn,
    capBnd: 0x1fffeffffffn,
    capAmb: 0n,
    hasNoNewPrivs: true,
    seccomp: 0,
    cpusAllowed: '3',
  });
});

test('a zombie has no umask', () => {
  const zombie = parseStatus(fixture('status-zombie'));
  expect([zombie.state, zombie.umask]).toEqual(['Z', undefined]);
});

test('a kernel thread says so', () => {
  const thread = parseStatus(fixture('status-kernel-thread'));
  expect([thread.name, thread.isKernelThread]).toEqual(['kthreadd', true]);
});

test('groups, nested pid namespaces, no limit of signals', () => {
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
  expect([status.nsPid, status.hasNoNewPrivs, status.seccomp]).toEqual([[31564], false, 0]);
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
  expect(fail(text.replace(/^SigCgt:.*/m, 'SigCgt:\tg'))).toThrow(
    'a hexadecimal mask expected in line 43, found "SigCgt:\\x09g"',
  );
  expect(fail(text.replace(/^Umask:.*/m, 'Umask:\t8'))).toThrow(
    'an octal number expected in line 2, found "Umask:\\x098"',
  );
  expect(fail(text.replace(/^Name:.*\n/m, ''))).toThrow('a line "Name:" expected in line 1, found "Umask:');
  expect(fail(text.replace(/^SigQ:.*/m, 'SigQ:\t5'))).toThrow(
    'queued signals/limit expected in line 38, found "SigQ:\\x095"',
  );
});

test('names are unescaped from the left, once', () => {
  expect(unescapeComm('a\\\\nb')).toBe('a\\nb');
  expect(unescapeComm('a\\nb')).toBe('a\nb');
});

describe('many status files', () => {
  const text = fixture('status');
  const thread = (pid: string, change = (same: string) => same) =>
    change(text.replace(/\nPid:.*/, `\nPid:\t${pid}`).replace(/\nNSpid:.*/, `\nNSpid:\t${pid}\t${pid}7`));
  const texts = [
    text,
    thread('9'),
    thread('123456'),
    thread('12345', (same) => same.replace(/voluntary_ctxt_switches:.*/g, 'voluntary_ctxt_switches:\t77')),
    thread('12346', (same) => same.replace('a) R', 'other')),
    thread('12347', (same) => same.replace('CapEff:\t000001ff', 'CapEff:\t000001f0')),
    thread('12348', (same) => same.replace(/Umask:.*\n/, '')),
    thread('12349'),
    thread('12350', (same) => same.slice(0, same.indexOf('voluntary'))),
  ];

  test('are what each of them is by itself, in any order', () => {
    for (const order of [texts, texts.toReversed(), [...texts, ...texts.toReversed()]]) {
      const parser = new StatusParser();
      for (const one of order) expect(parser.parse(bytesOf(one), 'status')).toEqual(parseStatus(one));
    }
  });

  test('are refused when they are broken', () => {
    const parser = new StatusParser();
    parser.parse(bytesOf(text), 'status');
    expect(() => parser.parse(bytesOf(text.slice(0, 40)), 'status')).toThrow('cannot parse');
    expect(() => parser.parse(bytesOf(thread('12x')), 'status')).toThrow('cannot parse');
  });
});
