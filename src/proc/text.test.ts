import { expect, test } from 'bun:test';
import fc from 'fast-check';
import { toInteger, tryInteger } from './text.ts';

test('an integer is what the kernel prints, and nothing else', () => {
  fc.assert(fc.property(fc.maxSafeInteger(), (value) => tryInteger(String(value)) === value));
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.stringMatching(/^-?[0-9]{1,18}$/)), (text) => {
      const value = tryInteger(text);
      // A zero has no sign.
      const isPrinted = Number.isSafeInteger(Number(text)) && String(Number(text)) === text;
      return isPrinted ? value === Number(text) : value === undefined;
    }),
  );
  expect(['0', '-1', '999999999', '1000000000', '9007199254740991'].map(tryInteger)).toEqual([
    0, -1, 999_999_999, 1_000_000_000, 9_007_199_254_740_991,
  ]);
  for (const text of [
    '',
    '-',
    '-0',
    '00',
    '01',
    '-01',
    '+1',
    ' 1',
    '1 ',
    '1e3',
    '0x1',
    '1.0',
    '9007199254740992',
    '--1',
  ])
    expect([text, tryInteger(text)]).toEqual([text, undefined]);
});

test('leading zeros are allowed where a number is asked for; what is too large is said', () => {
  const place = { file: '/proc/x', line: 3, text: '007' };
  expect([toInteger('007', place, 'a number'), toInteger('-01', place, 'a number')]).toEqual([7, -1]);
  expect(() => toInteger('9007199254740992', place, 'a number')).toThrow('a number below 2^53 expected in line 3');
  expect(() => toInteger('7x', place, 'a number')).toThrow('a number expected in line 3');
});
