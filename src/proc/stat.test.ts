import { expect, test } from 'bun:test';
import fc from 'fast-check';
import { fixture } from './fixtures/fixture.ts';
import { parseStat } from './stat.ts';

test('a real process, with a name of brackets, newline and backslash', () => {
  expect(parseStat(fixture('stat'))).toEqual({
    comm: 'a) R\n\\ (b',
    state: 'R',
    ppid: 31561,
    pgrp: 31561,
    session: 16030,
    ttyNr: 0,
    tpgid: -1,
    flags: 4194560,
    numThreads: 1,
    rss: 4968,
    startcode: 94299766353920,
    endcode: 94299766354261,
    startstack: 140729191832512,
    exitSignal: 17,
    startData: 94299766365616,
    endData: 94299766366232,
    startBrk: 94299909689344,
    argStart: 140729191835892,
    argEnd: 140729191835944,
    envStart: 140729191835944,
    envEnd: 140729191837647,
    exitCode: 0,
  });
});

test('a zombie', () => {
  const zombie = parseStat(fixture('stat-zombie'));
  expect([zombie.state, zombie.startcode, zombie.exitCode]).toEqual(['Z', 0, 0]);
});

test('a later field does not disturb', () => {
  expect(parseStat(`${fixture('stat').trimEnd()} 77\n`).exitCode).toBe(0);
});

test('any name is found', () => {
  const rest = fixture('stat').slice(fixture('stat').lastIndexOf(') '));
  const comm = fc.string({ unit: fc.constantFrom(')', '(', ' ', '\n', 'R', '1'), maxLength: 15 });
  fc.assert(fc.property(comm, (name) => expect(parseStat(`5 (${name}${rest}`).comm).toBe(name)));
});

test('errors name file and field', () => {
  const text = fixture('stat');
  const prefix = "/proc/7/stat: cannot parse the kernel's text: ";
  expect(() => parseStat('5 x R', '/proc/7/stat')).toThrow(
    `${prefix}a name in brackets expected in line 1, found "5 x R"`,
  );
  expect(() => parseStat('5 (x) R 1 2', '/proc/7/stat')).toThrow(
    `${prefix}a number as field 6 expected in line 1, found "5 (x) R 1 2"`,
  );
  expect(() => parseStat('5 (x) R 1 y 3', '/proc/7/stat')).toThrow(
    `${prefix}a number as field 5 expected in line 1, found "5 (x) R 1 y 3"`,
  );
  expect(() => parseStat(text.slice(0, -3), '/proc/7/stat')).toThrow(
    `${prefix}a number as field 52 expected in line 1`,
  );
});
