import { expect, test } from 'bun:test';
import { formatMatrix, isOurs, parseOutcomes } from './outcomes.ts';

const stderr = `
test/live/x.live.test.ts:
(pass) one [12.00ms]
183 | code
error: tree, round 1: /proc shows differences:
7/task/7/status/PPid: was "6", is "1"
      at somewhere
(fail) two (with words) [1.50s]
error: thing, round 1: $ criu dump
--- errors and warnings in the log
(00.014908) Error (dump): it cannot
(00.014942) Error (dump): Dumping FAILED. it cannot
(fail) three [3.00ms]
(pass) four [3.00ms]
(skip) five

1 tests failed:
(fail) three [3.00ms]
`;

test('results of a run, with the line that tells most', () => {
  expect([...parseOutcomes(stderr, 'skipped: four: no such kernel\n')]).toEqual([
    ['one', { state: 'pass', why: '' }],
    [
      'two (with words)',
      { state: 'fail', why: 'tree, round 1: /proc shows differences: 7/task/7/status/PPid: was "6", is "1"' },
    ],
    ['three', { state: 'fail', why: 'Error (dump): it cannot' }],
    ['four', { state: 'skip', why: 'no such kernel' }],
    ['five', { state: 'skip', why: '' }],
  ]);
});

test('a failure is ours where the other one passes alone', () => {
  const passed = { state: 'pass', why: '' } as const;
  const failed = { state: 'fail', why: 'reason' } as const;
  const columns = [
    {
      label: 'in',
      outcomes: new Map([
        ['a', failed],
        ['b', failed],
      ]),
    },
    {
      label: 'alone',
      outcomes: new Map<string, typeof passed | typeof failed>([
        ['a', passed],
        ['b', failed],
      ]),
    },
  ];
  expect(isOurs('a', columns)).toBe(true);
  expect(isOurs('b', columns)).toBe(false);
  expect(formatMatrix(columns)).toBe(
    [
      '   in  alone',
      'a  fail  pass  <',
      'b  fail  fail',
      '',
      'a',
      '  in, fail: reason',
      'b',
      '  in, fail: reason',
      '  alone, fail: reason',
      '',
      'pass  0   1',
      'fail  2   1',
      'skip  0   0',
    ].join('\n'),
  );
});
