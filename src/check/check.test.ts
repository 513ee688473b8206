import { describe, expect, test } from 'bun:test';
import { SyscallError } from '../base/errors.ts';
import { FEATURE_NAMES } from '../options/feature-names.ts';
import { experimentalProbes, extraProbes, REQUIRED } from './categories.ts';
import { ask } from './check.ts';
import { FEATURES } from './features.ts';

describe('the table of features', () => {
  test('has exactly the names that the option knows', () => {
    expect(Object.keys(FEATURES).sort()).toEqual([...FEATURE_NAMES].sort());
  });

  test('every probe of a category says what it is for, and has a name of its own', () => {
    const all = [...REQUIRED, ...extraProbes(), ...experimentalProbes()];
    expect(all.filter(({ neededFor }) => neededFor === '')).toEqual([]);
    for (const category of [REQUIRED, extraProbes(), experimentalProbes()]) {
      expect(new Set(category.map(({ name }) => name)).size).toBe(category.length);
    }
  });
});

describe('asking', () => {
  test('a system call that fails means that the feature is missing', () => {
    const run = () => {
      throw new SyscallError('open', 2, 'ENOENT', '/proc/x');
    };
    expect(ask({ neededFor: 'x', run })).toBe('open(/proc/x): ENOENT');
  });

  test('any other failure is a mistake of ours and not an answer', () => {
    const run = () => {
      throw new TypeError('oops');
    };
    expect(() => ask({ neededFor: 'x', run })).toThrow('oops');
  });
});
