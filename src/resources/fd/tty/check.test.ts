import { describe, expect, test } from 'bun:test';
import { type FdinfoEntry, FdTypes, type FileEntry } from '../../../image/gen/fdinfo.ts';
import { type TtyInfoEntry, TtyType } from '../../../image/gen/tty.ts';
import type { RestoreContext } from '../file-kind.ts';
import { checkTerminal, isTakenOver, terminalFile } from './check.ts';

const fown = { uid: 0, euid: 0, signum: 0, pid_type: 0, pid: 0 };
const termios = {
  c_iflag: 0,
  c_oflag: 0,
  c_cflag: 0,
  c_lflag: 0,
  c_line: 0,
  c_ispeed: 0,
  c_ospeed: 0,
  c_cc: new Array<number>(19).fill(0),
};
const winsize = { ws_row: 1, ws_col: 1, ws_xpixel: 0, ws_ypixel: 0 };
const PTMX = 0x502;
const PTS = 0x8800;

const info = (fields: Partial<TtyInfoEntry>): TtyInfoEntry => ({
  id: 6,
  type: TtyType.PTY,
  locked: false,
  exclusive: false,
  packet_mode: false,
  sid: 0,
  pgrp: 0,
  rdev: PTS + 3,
  dev: 0x1a,
  termios,
  termios_locked: termios,
  winsize,
  pty: { index: 3 },
  ...fields,
});

interface Setting {
  readonly infos: readonly TtyInfoEntry[];
  readonly shellJob?: boolean;
  readonly pids?: readonly number[];
  readonly inherited?: Readonly<Record<string, number>>;
}

/** One open file for each terminal; its id is 100 and the number of the terminal. */
function contextOf({ infos, shellJob = false, pids = [10], inherited = {} }: Setting): RestoreContext {
  const files = new Map<number, FileEntry>();
  for (const { id, type } of infos) {
    const path = type === TtyType.EXT_TTY ? {} : { regf_id: 200 + id };
    files.set(100 + id, {
      type: FdTypes.TTY,
      id: 100 + id,
      tty: { id: 100 + id, tty_info_id: id, flags: 2, fown, ...path },
    });
  }
  const states = new Map<string, unknown>();
  const fds: FdinfoEntry[] = [];
  return {
    tree: { files, members: pids.map((pid) => ({ pid, fds })) },
    images: { tryRead: (kind: string) => (kind === 'tty-info' ? infos : undefined) },
    options: { shellJob },
    inherited: (key: string) => inherited[key],
    state<T>(key: string, make: () => T): T {
      if (!states.has(key)) states.set(key, make());
      return states.get(key) as T;
    },
  } as unknown as RestoreContext;
}

function check(setting: Setting, id = 6) {
  const context = contextOf(setting);
  const entry = context.tree.files.get(100 + id)?.tty;
  if (entry === undefined) throw new Error(`no terminal ${id}`);
  return checkTerminal(entry, context);
}

const object = 'terminal 6 (/dev/pts/3)';
const action = 'cannot be restored';

describe('checkTerminal', () => {
  test('a pair is fine, and so is a terminal that is hung up', () => {
    expect(check({ infos: [info({}), info({ id: 7, rdev: PTMX })] })).toEqual([]);
    expect(check({ infos: [info({ termios: undefined, termios_locked: undefined, winsize: undefined })] })).toEqual([]);
  });

  test('a slave without its master is for --shell-job, or for another terminal', () => {
    const remedy =
      'take over the terminal of criu with --shell-job, or give another one with --inherit-fd fd[N]:tty[8803:1a]';
    const why = 'it is the terminal of the shell that the program was started from';
    expect(check({ infos: [info({})] })).toEqual([{ object, action, why, remedy }]);
    expect(check({ infos: [info({})], shellJob: true })).toEqual([]);
  });

  test('a terminal of a session outside is for --shell-job', () => {
    const infos = [info({ sid: 99 }), info({ id: 7, rdev: PTMX, sid: 99 })];
    const remedy = 'take over the terminal of criu with --shell-job';
    const why = 'it is the terminal of the shell that the program was started from';
    expect(check({ infos })).toEqual([{ object, action, why, remedy }]);
    expect(check({ infos, pids: [10, 99] })).toEqual([]);
    expect(check({ infos, shellJob: true })).toEqual([]);
  });

  test('an external terminal needs a descriptor', () => {
    const infos = [info({ type: TtyType.EXT_TTY, pty: undefined })];
    expect(check({ infos })).toEqual([
      {
        object: 'terminal 6 (tty[8803:1a])',
        action,
        why: 'this terminal was declared external at the dump, and no descriptor was given for it',
        remedy: 'add --inherit-fd fd[N]:tty[8803:1a]',
      },
    ]);
    expect(check({ infos, inherited: { 'tty[8803:1a]': 5 } })).toEqual([]);
  });

  test('a descriptor can be given for a slave that was not declared external', () => {
    expect(check({ infos: [info({})], inherited: { 'tty[8803:1a]': 5 } })).toEqual([]);
  });

  const damages: [string, Partial<TtyInfoEntry>][] = [
    ['it has no type', { type: TtyType.UNKNOWN }],
    ['it has no number', { pty: undefined }],
    ['it has a number without being a pseudo terminal', { type: TtyType.VT }],
    ['it has only a part of its settings', { winsize: undefined }],
    [
      'it has no settings',
      { type: TtyType.VT, pty: undefined, termios: undefined, termios_locked: undefined, winsize: undefined },
    ],
    ['it has no path', { type: TtyType.VT, pty: undefined }],
    ['it has too few control characters', { termios: { ...termios, c_cc: [1] } }],
  ];
  for (const [damage, fields] of damages) {
    test(`damaged: ${damage}`, () => {
      const name = 'pty' in fields ? 'terminal 6 (tty[8803:1a])' : object;
      const why = `${damage}: the image is damaged`;
      expect(check({ infos: [info(fields)] })).toEqual([{ object: name, action, why }]);
    });
  }

  test('damaged: the terminal is missing', () => {
    const context = contextOf({ infos: [] });
    expect(checkTerminal({ id: 106, tty_info_id: 6, flags: 2, fown }, context)).toEqual([
      { object: 'files.img: file 106', action, why: 'terminal 6 is not in tty-info.img: the image is damaged' },
    ]);
  });
});

test('only a slave that nobody has the master of is taken over', () => {
  const paired = contextOf({ infos: [info({}), info({ id: 7, rdev: PTMX })] });
  expect(isTakenOver(terminalFile(106, paired), paired)).toBe(false);
  expect(isTakenOver(terminalFile(107, paired), paired)).toBe(false);
  const alone = contextOf({ infos: [info({})] });
  expect(isTakenOver(terminalFile(106, alone), alone)).toBe(true);
  const given = contextOf({ infos: [info({})], inherited: { 'tty[8803:1a]': 5 } });
  expect(isTakenOver(terminalFile(106, given), given)).toBe(false);
});
