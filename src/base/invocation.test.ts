import { expect, test } from 'bun:test';
import { invocationOf } from './invocation.ts';

const of = (commandLine: string, environment = '') => invocationOf(commandLine, () => environment);

test('words are what stands before each zero', () => {
  expect(of('criu\0dump\0-t\x0012\0').words).toEqual(['criu', 'dump', '-t', '12']);
  expect(of('criu\0\0a b\0\0').words).toEqual(['criu', '', 'a b', '']);
  expect(of('').words).toEqual([]);
});

test('a variable is found by its whole name, wherever it stands', () => {
  const { variable } = of('criu\0', 'OLD_HOME=/old\0HOME=/root\0HOME_2=/two\0EMPTY=\0LAST=a=b\0');
  expect(['HOME', 'OLD_HOME', 'HOME_2', 'EMPTY', 'LAST'].map(variable)).toEqual(['/root', '/old', '/two', '', 'a=b']);
  expect(['OME', '/root', 'MISSING', ''].map(variable)).toEqual([undefined, undefined, undefined, undefined]);
  expect(of('criu\0').variable('HOME')).toBeUndefined();
});

test('the environment is read once, when it is asked for', () => {
  let reads = 0;
  const called = invocationOf('criu\0', () => {
    reads++;
    return 'A=1\0';
  });
  expect(reads).toBe(0);
  expect([called.variable('A'), called.variable('B'), called.environment()]).toEqual(['1', undefined, { A: '1' }]);
  expect(reads).toBe(1);
});

test('the environment for programs is text: bytes are UTF-8', () => {
  expect(of('criu\0', 'A=1\0NAME=\xc3\xa4\0X=a=b\0').environment()).toEqual({ A: '1', NAME: 'ä', X: 'a=b' });
});
