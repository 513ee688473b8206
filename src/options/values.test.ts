import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import {
  nextLogLevel,
  parseAutoMountFlags,
  parseCgroupRoot,
  parseCpuCap,
  parseExternal,
  parseFd,
  parseInheritFd,
  parseJoinNamespace,
  parseLeadingNumber,
  parsePair,
  parsePositive,
  parseSize,
  parseSocketInodes,
  ValueError,
} from './values.ts';

describe('numbers', () => {
  test('a pid is above 0 and nothing but a number', () => {
    expect(parsePositive('12', '-t')).toBe(12);
    expect(parsePositive(' 12\n', '-t')).toBe(12);
    for (const bad of ['0', '-1', '', 'x', '12x', '1 2', '99999999999', '0x10', '1.5']) {
      expect(() => parsePositive(bad, '-t')).toThrow(`invalid argument for -t: ${bad}`);
    }
  });
  test('a port fits 16 bits', () => {
    expect(parsePositive('65535', '--port', 65_535)).toBe(65_535);
    expect(() => parsePositive('65536', '--port', 65_535)).toThrow('invalid argument for --port: 65536');
  });
  test('a descriptor may be 0', () => {
    expect(parseFd('0', '--close')).toBe(0);
    expect(() => parseFd('-1', '--close')).toThrow('invalid argument for --close: -1');
  });
  test('as atoi where callers rely on it', () => {
    expect(['10', '10s', 'x', '', '-5'].map(parseLeadingNumber)).toEqual([10, 10, 0, 0, 0]);
  });
});

test('verbosity adds up or is set', () => {
  expect(nextLogLevel(2, undefined)).toBe(3);
  expect(nextLogLevel(2, 'v')).toBe(4);
  expect(nextLogLevel(2, 'vvv')).toBe(6);
  expect(nextLogLevel(2, '4')).toBe(4);
  expect(nextLogLevel(2, '0')).toBe(0);
  // zdtm.py writes -verbosity=0
  expect(nextLogLevel(2, 'erbosity=0')).toBe(0);
});

test('sizes take K, M and G of 1024', () => {
  expect(['0', '5', '2K', '3M', '1G'].map((text) => parseSize(text, '--ghost-limit'))).toEqual([
    0,
    5,
    2048,
    3 * 1024 ** 2,
    1024 ** 3,
  ]);
  for (const bad of ['', 'K', '-1', '1T', '1k', '1MB', '9999999999999999G']) {
    expect(() => parseSize(bad, '--ghost-limit')).toThrow(`invalid argument for --ghost-limit: ${bad}`);
  }
});

describe('cpu-cap', () => {
  const DEFAULT = { fpu: true, cpu: false, ins: true, image: false };
  test('without a list all count', () => {
    expect(parseCpuCap(undefined, DEFAULT)).toEqual({ fpu: true, cpu: true, ins: true, image: true });
  });
  test('words change the set one after another', () => {
    expect(parseCpuCap('cpu', DEFAULT)).toEqual({ fpu: true, cpu: true, ins: true, image: true });
    expect(parseCpuCap('none', DEFAULT)).toEqual({ fpu: false, cpu: false, ins: false, image: false });
    expect(parseCpuCap('none,ins', DEFAULT)).toEqual({ fpu: false, cpu: false, ins: true, image: true });
    expect(parseCpuCap('all,^fpu', DEFAULT)).toEqual({ fpu: false, cpu: true, ins: true, image: true });
    expect(parseCpuCap('^none', DEFAULT)).toEqual({ fpu: true, cpu: true, ins: true, image: true });
  });
  test('another word is refused and asks for the usage', () => {
    expect(() => parseCpuCap('fpu,foo', DEFAULT)).toThrow("Unknown FPU mode `foo' selected");
    expect(() => parseCpuCap('^', DEFAULT)).toThrow("Unknown FPU mode `' selected");
    try {
      parseCpuCap('foo', DEFAULT);
    } catch (error) {
      expect(error instanceof ValueError && error.showUsage).toBe(true);
    }
  });
});

test('inherit-fd is fd[N]:KEY', () => {
  expect(parseInheritFd('fd[3]:pipe:[55]')).toEqual({ fd: 3, key: 'pipe:[55]' });
  expect(parseInheritFd('fd[10]:tmp/a:b')).toEqual({ fd: 10, key: 'tmp/a:b' });
  for (const bad of ['x', 'fd[3]', 'fd[3]:', 'fd[]:x', 'fd[-1]:x', 'fd[99999999999]:x', '3:x']) {
    expect(() => parseInheritFd(bad)).toThrow(`Invalid inherit fd argument: ${bad}`);
  }
});

describe('external', () => {
  test('is TYPE[ID]:VALUE', () => {
    expect(parseExternal('file[1f:2a]')).toEqual({ key: 'file[1f:2a]', type: 'file', id: '1f:2a', value: undefined });
    expect(parseExternal('mnt[/a b]:x:y')).toEqual({ key: 'mnt[/a b]:x:y', type: 'mnt', id: '/a b', value: 'x:y' });
    expect(parseExternal('veth[eth0]:v@br')).toEqual({
      key: 'veth[eth0]:v@br',
      type: 'veth',
      id: 'eth0',
      value: 'v@br',
    });
    expect(parseExternal('foo')).toEqual({ key: 'foo', type: 'foo', id: undefined, value: undefined });
  });
  test('half a bracket is refused', () => {
    for (const bad of ['', 'mnt[', 'mnt[x', '[x]', 'mnt[x]y']) {
      expect(() => parseExternal(bad)).toThrow(`Could not add external resource when initializing config: ${bad}`);
    }
  });
  test('mnt[] takes the flags m and s', () => {
    const flags = (text: string) => parseAutoMountFlags(parseExternal(text));
    expect(flags('mnt[]')).toEqual({ masters: false, sharing: false });
    expect(flags('mnt[]:ms')).toEqual({ masters: true, sharing: true });
    expect(flags('mnt[]:s')).toEqual({ masters: false, sharing: true });
    expect(() => flags('mnt[]:x')).toThrow('Could not add external resource when initializing config: mnt[]:x');
  });
});

test('join-ns is NS:PID or NS:FILE, with ids for user', () => {
  const parse = (text: string) => parseJoinNamespace(text, '-J');
  expect(parse('net:/run/ns')).toEqual({ type: 'net', source: '/run/ns', uid: undefined, gid: undefined });
  expect(parse('user:12,0,5')).toEqual({ type: 'user', source: '12', uid: 0, gid: 5 });
  expect(() => parse('net')).toThrow('invalid argument for -J: net');
  expect(() => parse('foo:1')).toThrow('invalid namespace type foo');
  expect(() => parse('pid:1')).toThrow('join-ns pid namespace not supported');
  expect(() => parse('net:0')).toThrow('Invalid join_ns pid 0');
  expect(() => parse('net:')).toThrow('Invalid join_ns pid ');
  expect(() => parse('net:1,2')).toThrow('invalid argument for -J: net:1,2');
  expect(() => parse('user:1,70000')).toThrow('invalid user namespace extra_opts user:1,70000');
});

test('cgroup-root is an absolute path, maybe for one controller', () => {
  expect(parseCgroupRoot('/a', '--cgroup-root')).toEqual({ controller: undefined, path: '/a' });
  expect(parseCgroupRoot('cpu:/a:b', '--cgroup-root')).toEqual({ controller: 'cpu', path: '/a:b' });
  for (const bad of ['', 'a', ':/a', 'cpu:']) {
    expect(() => parseCgroupRoot(bad, '--cgroup-root')).toThrow(`invalid argument for --cgroup-root: ${bad}`);
  }
});

test('socket inodes are a list of numbers above 0', () => {
  expect(parseSocketInodes('12,,13')).toEqual([12, 13]);
  for (const bad of ['abc', '0', '1,x', '-1']) {
    expect(() => parseSocketInodes(bad)).toThrow(`Failed to parse unix socket inode from optarg: ${bad}`);
  }
});

test('pairs are split at the first separator', () => {
  expect(parsePair('a=b=c', '=', '--veth-pair')).toEqual(['a', 'b=c']);
  expect(() => parsePair('a', '=', '--veth-pair')).toThrow('invalid argument for --veth-pair: a');
});

test('garbage only produces ValueErrors', () => {
  const parsers: ((text: string) => unknown)[] = [
    (text) => parsePositive(text, '-t'),
    (text) => parseSize(text, '-t'),
    (text) => parseCpuCap(text, { fpu: true, cpu: false, ins: true, image: false }),
    parseInheritFd,
    parseExternal,
    (text) => parseJoinNamespace(text, '-J'),
    (text) => parseCgroupRoot(text, '--cgroup-root'),
    parseSocketInodes,
  ];
  fc.assert(
    fc.property(fc.string(), (text) => {
      for (const parse of parsers) {
        try {
          parse(text);
        } catch (error) {
          if (!(error instanceof ValueError)) throw error;
        }
      }
    }),
  );
});
