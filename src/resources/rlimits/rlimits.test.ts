import { expect, test } from 'bun:test';
import { Program } from '../../agent/program.ts';
import { planRlimits } from './rlimits.ts';

const limits = Array.from({ length: 16 }, () => ({ soft: 100n, hard: 200n }));

function plan(cur: bigint, max: bigint, capEff: bigint): { warnings: string[]; ops: string[] } {
  const program = new Program();
  const rlimits = limits.map(({ soft, hard }, i) => (i === 7 ? { cur, max } : { cur: soft, max: hard }));
  const warnings = planRlimits(program, { rlimits }, { limits, capEff });
  return { warnings, ops: Array.from({ length: program.length }, (_, i) => program.describe(i).because) };
}

test('sets only what differs', () => {
  expect(plan(100n, 200n, 0n)).toEqual({ warnings: [], ops: [] });
  expect(plan(50n, 60n, 0n)).toEqual({ warnings: [], ops: ['set RLIMIT_NOFILE to 50:60'] });
});

test('raises a hard limit with CAP_SYS_RESOURCE', () => {
  expect(plan(300n, 400n, 1n << 24n)).toEqual({ warnings: [], ops: ['set RLIMIT_NOFILE to 300:400'] });
});

test('goes as far as it may without, and says so', () => {
  expect(plan(300n, 400n, 0n)).toEqual({
    warnings: ['RLIMIT_NOFILE: hard limit stays 200 instead of 400: no CAP_SYS_RESOURCE'],
    ops: ['set RLIMIT_NOFILE to 200:200'],
  });
});

test('never asks for a soft limit above the hard one', () => {
  expect(plan(90n, 80n, 0n).ops).toEqual(['set RLIMIT_NOFILE to 80:80']);
});
