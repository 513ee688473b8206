/**
 * Whatever the text, a parser returns or throws CriuError: random bytes, and real text with a piece damaged.
 */
import { expect, test } from 'bun:test';
import fc from 'fast-check';
import { CriuError } from '../base/errors.ts';
import { parseAuxv } from './auxv.ts';
import { parseCgroup } from './cgroup.ts';
import { parseFdinfo } from './fdinfo.ts';
import { fixture } from './fixtures/fixture.ts';
import { parseLimits } from './limits.ts';
import { parseLocks } from './locks.ts';
import { parseMaps } from './maps.ts';
import { parseMountinfo } from './mountinfo.ts';
import * as small from './small.ts';
import { parseSmaps } from './smaps.ts';
import { parseStat } from './stat.ts';
import { parseStatus } from './status.ts';
import { unescapeOctal } from './text.ts';
import { parseTimensOffsets } from './timens.ts';
import { parseTimers } from './timers.ts';

type Parser = (text: string) => unknown;

const PARSERS: ReadonlyArray<readonly [name: string, parse: Parser, fixtures: readonly string[]]> = [
  ['maps', parseMaps, ['maps']],
  ['smaps', parseSmaps, ['smaps']],
  ['status', parseStatus, ['status', 'status-zombie']],
  ['stat', parseStat, ['stat']],
  ['fdinfo', parseFdinfo, ['fdinfo-inotify', 'fdinfo-fanotify', 'fdinfo-epoll', 'fdinfo-timerfd', 'fdinfo-bpf-map']],
  [
    'fdinfo',
    parseFdinfo,
    ['fdinfo-bpf-prog', 'fdinfo-pidfd', 'fdinfo-userfaultfd', 'fdinfo-eventfd', 'fdinfo-regular'],
  ],
  ['mountinfo', parseMountinfo, ['mountinfo']],
  ['cgroup', parseCgroup, ['cgroup']],
  ['limits', parseLimits, ['limits']],
  ['timers', parseTimers, ['timers']],
  ['locks', parseLocks, ['locks']],
  ['timens', parseTimensOffsets, ['timens_offsets']],
  ['children', small.parseChildren, ['children']],
  ['oom_score_adj', small.parseOomScoreAdj, ['oom_score_adj']],
  ['loginuid', small.parseLoginuid, ['loginuid']],
  ['namespace link', small.parseNamespaceLink, []],
];

function onlyCriuErrors(parse: Parser, text: string): void {
  try {
    parse(text);
  } catch (error) {
    expect(error).toBeInstanceOf(CriuError);
  }
}

const bytes = fc.uint8Array({ maxLength: 200 }).map((array) => String.fromCharCode(...array));
const likely = fc.string({ unit: fc.constantFrom(...'0 9:-ra\n\t/()[]xf'), maxLength: 60 });
const damage = fc.record({
  at: fc.double({ min: 0, max: 1, noNaN: true }),
  remove: fc.nat(20),
  insert: fc.oneof(bytes, likely),
});

for (const [name, parse, fixtures] of PARSERS) {
  test(`${name}: random bytes`, () => {
    fc.assert(fc.property(fc.oneof(bytes, likely), (text) => onlyCriuErrors(parse, text)));
  });

  for (const recorded of fixtures) {
    test(`${name}: ${recorded}, damaged`, () => {
      const text = fixture(recorded).slice(0, 4000);
      fc.assert(
        fc.property(damage, ({ at, remove, insert }) => {
          const index = Math.floor(at * text.length);
          onlyCriuErrors(parse, text.slice(0, index) + insert + text.slice(index + remove));
        }),
      );
    });
  }
}

test('auxv: random bytes', () => {
  fc.assert(fc.property(fc.uint8Array(), (array) => onlyCriuErrors(() => parseAuxv(array), '')));
});

test('octal escapes undo what the kernel escapes', () => {
  const escapeOctal = (text: string) =>
    text.replace(/[ \t\n\\#]/g, (char) => `\\${char.charCodeAt(0).toString(8).padStart(3, '0')}`);
  fc.assert(fc.property(bytes, (text) => expect(unescapeOctal(escapeOctal(text))).toBe(text)));
  expect(unescapeOctal('a\\9\\04\\477')).toBe('a\\9\\04\\477');
});
