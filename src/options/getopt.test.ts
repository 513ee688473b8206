import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import { type GetoptResult, type OptionSet, parseGetopt } from './getopt.ts';

const SET: OptionSet<string> = {
  long: [
    { name: 'tree', argument: 'required', id: 'tree' },
    { name: 'leave-stopped', argument: 'none', id: 'stopped' },
    { name: 'leave-running', argument: 'none', id: 'running' },
    { name: 'tls', argument: 'none', id: 'tls' },
    { name: 'tls-cert', argument: 'required', id: 'cert' },
    { name: 'verbosity', argument: 'optional', id: 'verbosity' },
  ],
  short: [
    { name: 't', argument: 'required', id: 'tree' },
    { name: 'd', argument: 'none', id: 'detach' },
    { name: 'S', argument: 'none', id: 'sibling' },
    { name: 'v', argument: 'optional', id: 'verbosity' },
    { name: 'o', argument: 'required', id: 'log' },
  ],
};

const parse = (...words: string[]): GetoptResult<string> => parseGetopt(words, SET);
/** "id=value" for each. */
const given = (...words: string[]): string[] =>
  parse(...words).given.map(({ id, value }) => (value === undefined ? id : `${id}=${value}`));

describe('short options', () => {
  test('take their value stuck or as the next word', () => {
    expect(given('-t5', '-t', '6')).toEqual(['tree=5', 'tree=6']);
    expect(given('-o', '-')).toEqual(['log=-']);
    expect(given('-t', '-1')).toEqual(['tree=-1']);
  });
  test('may be put together', () => {
    expect(given('-dSt5')).toEqual(['detach', 'sibling', 'tree=5']);
  });
  test('take an optional value only when it is stuck', () => {
    expect(given('-v4', '-vvv', '-v', '4')).toEqual(['verbosity=4', 'verbosity=vv', 'verbosity']);
    expect(parse('-v', '4').rest).toEqual(['4']);
  });
});

describe('long options', () => {
  test('take their value after "=" or as the next word', () => {
    expect(given('--tree=5', '--tree', '6', '--tree=')).toEqual(['tree=5', 'tree=6', 'tree=']);
  });
  test('take an optional value only after "="', () => {
    expect(given('--verbosity=4', '--verbosity')).toEqual(['verbosity=4', 'verbosity']);
    expect(parse('--verbosity', '4').rest).toEqual(['4']);
  });
  test('may be abbreviated while unambiguous, and the spelling is spelled out', () => {
    expect(given('--tre', '5', '--leave-s', '--verb=3')).toEqual(['tree=5', 'stopped', 'verbosity=3']);
    expect(parse('--tre=5').given[0]?.spelling).toBe('--tree');
  });
  test('an exact name is not ambiguous', () => {
    expect(given('--tls')).toEqual(['tls']);
  });
});

test('options and other words may be mixed; "--" ends the options', () => {
  const { given: options, rest } = parse('dump', '-d', 'x', '--', '-S', '--tree');
  expect(options).toHaveLength(1);
  expect(rest).toEqual(['dump', 'x', '-S', '--tree']);
});

test('"-" alone is a word', () => {
  expect(parse('-').rest).toEqual(['-']);
});

test('mistakes are told in the words of glibc', () => {
  expect(parse('--bogus=1').error).toBe("unrecognized option '--bogus'");
  expect(parse('--leave').error).toBe(
    "option '--leave' is ambiguous; possibilities: '--leave-stopped' '--leave-running'",
  );
  expect(parse('--tls=1').error).toBe("option '--tls' doesn't allow an argument");
  expect(parse('--tree').error).toBe("option '--tree' requires an argument");
  expect(parse('-Z').error).toBe("invalid option -- 'Z'");
  expect(parse('-dt').error).toBe("option requires an argument -- 't'");
});

test('the options before a mistake are found', () => {
  const { given: options, error } = parse('-d', '-Z', '-S');
  expect(options.map(({ id }) => id)).toEqual(['detach']);
  expect(error).toBe("invalid option -- 'Z'");
});

test('no words make it throw or lose a word', () => {
  const word = fc.oneof(fc.string(), fc.constantFrom('-', '--', '-t', '--tree', '-v', '--l', '--leave-s', '-dS'));
  fc.assert(
    fc.property(fc.array(word), (words) => {
      const result = parseGetopt(words, SET);
      if (result.error === undefined) expect(result.rest.length).toBeLessThanOrEqual(words.length);
    }),
  );
});
