import { afterEach, describe, expect, test } from 'bun:test';
import { invocationOf, setInvocation } from '../base/invocation.ts';
import { FILL_COMMAND } from '../pages/filler-link.ts';
import { type ProgramName, type Programs, programFor, runProgram } from './run-program.ts';

describe('the program for a command line', () => {
  test.each<[ProgramName, ...string[]]>([
    ['version', 'criu', '--version'],
    ['version', '/usr/sbin/criu', '-V'],
    ['others', 'criu', '--version', '-v4'],
    ['others', 'criu', 'check'],
    ['others', 'criu'],
    ['others'],
    ['others', ''],
    ['dump', 'criu', 'dump', '-t', '1'],
    ['dump', 'criu', '-t', '1', 'dump'],
    ['restore', 'criu', '-v4', 'restore'],
    ['crit', 'criu', 'crit', 'show', 'dump'],
    ['crit', 'crit', '--version'],
    ['crit', '/usr/bin/crit', 'decode'],
    ['others', 'acrit', 'check'],
    ['others', 'criu', '--crit', 'crit'],
    ['filler', 'criu', FILL_COMMAND, '12'],
  ])('%s: %p %p %p', (program, ...words) => {
    expect(programFor(words)).toBe(program);
  });
});

describe('running it', () => {
  afterEach(() => setInvocation(undefined));

  test('what a program leaves alone goes to the one for everything', async () => {
    const asked: ProgramName[] = [];
    const program = (name: ProgramName, status: number | undefined) => () => {
      asked.push(name);
      return { run: () => status };
    };
    const programs: Programs = {
      crit: program('crit', 3),
      dump: program('dump', undefined),
      filler: program('filler', 4),
      others: program('others', 7),
      restore: program('restore', 0),
      version: program('version', 0),
    };
    setInvocation(invocationOf('criu\0dump\0restore\0', () => ''));
    expect(await runProgram(programs)).toBe(7);
    setInvocation(invocationOf('criu\0restore\0', () => ''));
    expect(await runProgram(programs)).toBe(0);
    expect(asked).toEqual(['dump', 'others', 'restore']);
  });
});
