import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import { CriuError } from '../../base/errors.ts';
import { parsePropertySpec } from './property-spec.ts';

describe('the text of --cgroup-props', () => {
  test('as the manual has it', () => {
    const text =
      '"cpu":\n - "strategy": "replace"\n - "properties": ["cpu.shares", "cpu.cfs_period_us"]\n' +
      '"memory":\n - "strategy": "merge"\n - "properties": [ "memory.limit_in_bytes" ]\n';
    expect(parsePropertySpec(text, 'x')).toEqual([
      { controller: 'cpu', strategy: 'replace', properties: ['cpu.shares', 'cpu.cfs_period_us'] },
      { controller: 'memory', strategy: 'merge', properties: ['memory.limit_in_bytes'] },
    ]);
  });

  test('without quotes, without a strategy, without properties, with blank lines', () => {
    expect(parsePropertySpec('\n  pids:\n    - properties: []\n\n', 'x')).toEqual([
      { controller: 'pids', strategy: 'merge', properties: [] },
    ]);
    expect(parsePropertySpec('', 'x')).toEqual([]);
  });

  const remedy = '; write "cpu": - "strategy": "merge" - "properties": ["cpu.shares"], each "-" in a line of its own';
  test.each([
    ['- a', 'the name of a controller expected in line 1, found "-"'],
    ['"cpu"\n', '":" expected in line 2, found the end'],
    ['"cpu":\n - "what": "x"', '"strategy" or "properties" expected in line 2, found "what"'],
    ['"cpu":\n - "strategy": "add"', '"merge" or "replace" expected in line 2, found "add"'],
    ['"cpu":\n - "strategy": "merge"', '"properties" of controller cpu expected in line 2, found the end'],
    ['"cpu":\n - "properties": ["a" "b"]', '"," expected in line 2, found "b"'],
    ['"cpu":\n - "properties": ["a",]', 'the name of a property expected in line 2, found "]"'],
    ['"cpu":\n - "properties": ["../a"]', 'a name without "/" expected in line 2, found "../a"'],
    ['"cpu":\n - "properties": [\n  $', 'the name of a property expected in line 3, found "$"'],
  ])('%j is refused', (text, message) => {
    expect(() => parsePropertySpec(text, '--cgroup-props')).toThrow(`--cgroup-props: ${message}${remedy}`);
  });

  test('anything else is a clear error, or rules', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...'"ab:-[],. \n\0') }), (text) => {
        try {
          parsePropertySpec(text, 'x');
        } catch (error) {
          if (!(error instanceof CriuError)) throw error;
        }
      }),
    );
  });
});
