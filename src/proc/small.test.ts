import { describe, expect, test } from 'bun:test';
import { AT_ENTRY, AT_PAGESZ, AT_SYSINFO_EHDR } from '../linux/abi/auxvec.ts';
import { RLIMIT_CORE, RLIMIT_NICE, RLIMIT_NOFILE, RLIMIT_RTTIME, RLIMIT_STACK } from '../linux/abi/resource.ts';
import { parseAuxv } from './auxv.ts';
import { parseCgroup } from './cgroup.ts';
import { binaryFixture, fixture } from './fixtures/fixture.ts';
import { parseLimits, RLIM_INFINITY } from './limits.ts';
import { parseLocks } from './locks.ts';
import {
  LOGINUID_UNSET,
  parseChildren,
  parseCoredumpFilter,
  parseLoginuid,
  parseNamespaceLink,
  parseOomScoreAdj,
  tryParseInodeLink,
} from './small.ts';
import { parseTimensOffsets } from './timens.ts';
import { parseTimers } from './timers.ts';

const PARSE = "cannot parse the kernel's text: ";

describe('limits', () => {
  test('all 16 in the order of RLIMIT_*', () => {
    const limits = parseLimits(fixture('limits'));
    expect(limits.length).toBe(16);
    expect(limits[RLIMIT_STACK]).toEqual({ soft: 8388608n, hard: RLIM_INFINITY });
    expect(limits[RLIMIT_CORE]).toEqual({ soft: 0n, hard: RLIM_INFINITY });
    expect(limits[RLIMIT_NOFILE]).toEqual({ soft: 512n, hard: 1024n });
    expect(limits[RLIMIT_NICE]).toEqual({ soft: 0n, hard: 0n });
    expect(limits[RLIMIT_RTTIME]).toEqual({ soft: RLIM_INFINITY, hard: RLIM_INFINITY });
  });

  test('errors', () => {
    const text = fixture('limits');
    expect(() => parseLimits(text.replace('Max data size', 'Max date size'), '/proc/7/limits')).toThrow(
      `/proc/7/limits: ${PARSE}a line "Max data size" expected, found "Limit   `,
    );
    expect(() => parseLimits(text.replace(/Max open files +512/, 'Max open files  many'), '/proc/7/limits')).toThrow(
      `/proc/7/limits: ${PARSE}a number or "unlimited" expected in line 9, found "Max open files  many`,
    );
  });
});

describe('timers', () => {
  test('all kinds of notification', () => {
    expect(parseTimers(fixture('timers'))).toEqual([
      { id: 3, signal: 12, sigval: 7n, notify: 'thread', isThreadTarget: false, target: 31564, clockId: -6 },
      { id: 2, signal: 10, sigval: 5n, notify: 'signal', isThreadTarget: true, target: 31564, clockId: 7 },
      { id: 1, signal: 0, sigval: 0n, notify: 'none', isThreadTarget: false, target: 31564, clockId: 0 },
      {
        id: 0,
        signal: 34,
        sigval: 0xdeadbeefcafen,
        notify: 'signal',
        isThreadTarget: false,
        target: 31564,
        clockId: 1,
      },
    ]);
    expect(parseTimers('')).toEqual([]);
  });

  test('errors', () => {
    const fail = (text: string) => () => parseTimers(text, '/proc/7/timers');
    expect(fail('signal: 1/0\n')).toThrow(
      `/proc/7/timers: ${PARSE}"ID: " of a timer expected in line 1, found "signal: 1/0"`,
    );
    expect(fail('ID: 1\nID: 2\n')).toThrow(`${PARSE}"signal: " before expected in line 2, found "ID: 2"`);
    expect(fail('ID: 1\nsignal: 1/0\nnotify: mail/pid.3\n')).toThrow(
      `${PARSE}a kind of notification and its target expected in line 3, found "notify: mail/pid.3"`,
    );
    expect(fail('ID: 1\nsignal: 1/0\nnotify: none/pid.3\n')).toThrow(`${PARSE}"ClockID: " before expected in line 3`);
  });
});

describe('locks', () => {
  test('a real list', () => {
    const locks = parseLocks(fixture('locks'));
    expect(locks.map(({ id, kind, start, end }) => [id, kind, start, end])).toEqual([
      [1n, 'LEASE', 0n, undefined],
      [2n, 'OFDLCK', 0n, undefined],
      [3n, 'FLOCK', 0n, undefined],
      [4n, 'POSIX', 5n, 14n],
    ]);
  });

  test('waiters, locks without inode, and what old kernels print', () => {
    const text = [
      '1: POSIX  MANDATORY WRITE 12 08:11:34 0 EOF',
      '1: -> POSIX  ADVISORY  READ 13 08:11:34 0 EOF',
      '1:  -> POSIX  ADVISORY  READ 14 08:11:34 0 EOF',
      '2: POSIX  *NOINODE* UNLCK 0 <none>:0 0 EOF',
      '3: DELEG  BREAKING  READ 5 00:2a:18446744073709551615 0 EOF',
    ];
    const locks = parseLocks(`${text.join('\n')}\n`);
    expect(locks.map(({ mode, isBlocked, device, inode }) => [mode, isBlocked, device, inode])).toEqual([
      ['MANDATORY', false, { major: 8, minor: 17 }, 34n],
      ['ADVISORY', true, { major: 8, minor: 17 }, 34n],
      ['ADVISORY', true, { major: 8, minor: 17 }, 34n],
      ['*NOINODE*', false, undefined, 0n],
      ['BREAKING', false, { major: 0, minor: 42 }, 18446744073709551615n],
    ]);
  });

  test('errors', () => {
    expect(() => parseLocks('1: POSIX\n')).toThrow(
      `/proc/locks: ${PARSE}a file lock expected in line 1, found "1: POSIX"`,
    );
  });
});

describe('cgroup', () => {
  test('v1 and v2 side by side', () => {
    const entries = parseCgroup(fixture('cgroup'));
    expect(entries[0]).toEqual({ hierarchy: 9, controllers: ['name=systemd'], path: '/', isDeleted: false });
    expect(entries.at(-1)).toEqual({ hierarchy: 0, controllers: [], path: '/', isDeleted: false });
  });

  test('colons in the path, several controllers, a removed cgroup', () => {
    expect(parseCgroup('4:cpu,cpuacct:/a:b/c\n0::/../x (deleted)\n')).toEqual([
      { hierarchy: 4, controllers: ['cpu', 'cpuacct'], path: '/a:b/c', isDeleted: false },
      { hierarchy: 0, controllers: [], path: '/../x', isDeleted: true },
    ]);
  });

  test('errors', () => {
    expect(() => parseCgroup('4:cpu', '/proc/7/cgroup')).toThrow(
      `/proc/7/cgroup: ${PARSE}hierarchy:controllers:path expected in line 1, found "4:cpu"`,
    );
  });
});

describe('time namespace offsets', () => {
  test('names, the numbers of Linux 5.6, negative values', () => {
    const zero = { sec: 0n, nsec: 0 };
    expect(parseTimensOffsets(fixture('timens_offsets'))).toEqual({ monotonic: zero, boottime: zero });
    expect(parseTimensOffsets('1 -86400 5\n7 3 0\n')).toEqual({
      monotonic: { sec: -86400n, nsec: 5 },
      boottime: { sec: 3n, nsec: 0 },
    });
  });

  test('errors', () => {
    expect(() => parseTimensOffsets('monotonic 0 0\n')).toThrow(
      `${PARSE}a line "boottime" expected, found "monotonic 0 0\\x0a"`,
    );
  });
});

describe('auxv', () => {
  test('a real vector, without its end', () => {
    const pairs = parseAuxv(binaryFixture('auxv'));
    const values = new Map(pairs);
    expect(values.get(BigInt(AT_PAGESZ))).toBe(4096n);
    expect(values.get(BigInt(AT_SYSINFO_EHDR))).toBe(0x7f0880f40000n);
    expect(values.get(BigInt(AT_ENTRY))).toBeGreaterThan(0n);
    expect(values.has(0n)).toBe(false);
  });

  test('errors', () => {
    expect(() => parseAuxv(new Uint8Array(17), '/proc/7/auxv')).toThrow(
      `/proc/7/auxv: ${PARSE}a multiple of 16 bytes expected, found "17 bytes"`,
    );
  });
});

describe('single values', () => {
  test('real ones', () => {
    expect(parseChildren(fixture('children'))).toEqual([31606, 31607]);
    expect(parseChildren('')).toEqual([]);
    expect(parseOomScoreAdj(fixture('oom_score_adj'))).toBe(0);
    expect(parseOomScoreAdj('-1000\n')).toBe(-1000);
    expect(parseLoginuid(fixture('loginuid'))).toBe(LOGINUID_UNSET);
    expect(parseCoredumpFilter(fixture('coredump_filter'))).toBe(0x33);
  });

  test('links', () => {
    expect(parseNamespaceLink('pid:[4026531836]')).toEqual({ type: 'pid', inode: 4026531836n });
    expect(tryParseInodeLink('socket:[621027]')).toEqual({ type: 'socket', inode: 621027n });
    expect(tryParseInodeLink('/tmp/pid:[1]')).toBeUndefined();
    expect(tryParseInodeLink('anon_inode:[eventfd]')).toBeUndefined();
  });

  test('errors', () => {
    expect(() => parseChildren('1 x')).toThrow(`/proc/PID/task/TID/children: ${PARSE}pids expected, found "1 x"`);
    expect(() => parseLoginuid('99999999999999999999')).toThrow(
      `/proc/PID/loginuid: ${PARSE}a user id below 2^53 expected, found "99999999999999999999"`,
    );
    expect(() => parseNamespaceLink('/x')).toThrow(`/proc/PID/ns/X: ${PARSE}type:[inode] expected, found "/x"`);
  });
});
