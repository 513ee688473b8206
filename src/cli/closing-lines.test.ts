import { expect, test } from 'bun:test';
import { linesForStderr } from './closing-lines.ts';

test('a failure without findings is one line', () => {
  expect(linesForStderr([], 'Dumping FAILED. why', 'd.log')).toEqual(['Dumping FAILED. why (log: d.log)']);
});

test('ten findings are all shown, of more the log is named', () => {
  const findings = Array.from({ length: 12 }, (_, n) => `finding ${n}`);
  expect(linesForStderr(findings.slice(0, 10), 'FAILED', 'd.log')).toEqual([
    ...findings.slice(0, 10),
    'FAILED (log: d.log)',
  ]);
  expect(linesForStderr(findings, 'FAILED', 'd.log')).toEqual([
    ...findings.slice(0, 10),
    'FAILED (log with 2 more of the 12 findings: d.log)',
  ]);
});
