import { describe, expect, test } from 'bun:test';
import { TtyType } from '../../../image/gen/tty.ts';
import { ptyId, TerminalIds, terminalKey, terminalOf } from './terminal.ts';

const device = (major: number, minor: number) => (minor & 0xff) + major * 256 + (minor >> 8) * 2 ** 20;

describe('terminalOf', () => {
  const cases: [string, number, number, TtyType | undefined, boolean, number][] = [
    ['/dev/tty', 5, 0, TtyType.CTTY, false, -1],
    ['/dev/console', 5, 1, TtyType.CONSOLE, false, -1],
    ['/dev/ptmx', 5, 2, TtyType.PTY, true, -1],
    ['another auxiliary device', 5, 3, undefined, false, -1],
    ['/dev/tty1', 4, 1, TtyType.VT, false, -1],
    ['/dev/ttyS0', 4, 64, TtyType.SERIAL, false, -1],
    ['/dev/ttyUSB0', 188, 0, TtyType.SERIAL, false, -1],
    ['/dev/pts/7', 136, 7, TtyType.PTY, false, 7],
    ['/dev/pts/300', 136, 300, TtyType.PTY, false, 300],
    ['/dev/null', 1, 3, undefined, false, -1],
  ];
  for (const [name, major, minor, type, isMaster, index] of cases) {
    test(name, () => {
      const expected = type === undefined ? undefined : { type, isMaster, index };
      expect(terminalOf(device(major, minor))).toEqual(expected);
    });
  }
});

test('the key of a terminal is hexadecimal', () => {
  expect(terminalKey(0x8814, 0x1a)).toBe('tty[8814:1a]');
});

describe('TerminalIds', () => {
  const pty = (index: number, isMaster: boolean) => ({ type: TtyType.PTY, isMaster, index });
  const simple = (type: TtyType) => ({ type, isMaster: false, index: -1 });

  test('both sides of a pseudo terminal are neighbours', () => {
    const ids = new TerminalIds();
    expect(ids.identify(pty(21, true), '21')).toBe(43);
    expect(ids.identify(pty(21, false), '21')).toBe(42);
    expect(ids.identify(pty(21, true), '21')).toBe(43);
    expect(ptyId(1000, true)).toBe(2001);
  });

  test('a high index does not meet the numbers of other kinds', () => {
    const ids = new TerminalIds();
    expect(ids.identify(simple(TtyType.CONSOLE), '1281')).toBe(2004);
    expect(ids.identify(pty(1002, false), '1002')).toBe(65536 + 2004);
  });

  test('the first of each kind has the number of CRIU, others have spare ones', () => {
    const ids = new TerminalIds();
    expect(ids.identify(simple(TtyType.VT), '1025')).toBe(2008);
    expect(ids.identify(simple(TtyType.VT), '1026')).toBe(2154);
    expect(ids.identify(simple(TtyType.VT), '1025')).toBe(2008);
    expect(ids.identify(simple(TtyType.CTTY), '10')).toBe(2012);
    expect(ids.identify(simple(TtyType.CTTY), '20')).toBe(2155);
    expect(ids.identify(simple(TtyType.EXT_TTY), 'a')).toBe(2026);
    expect(ids.identify(simple(TtyType.EXT_TTY), 'b')).toBe(2028);
  });
});
