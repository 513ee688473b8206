/** Options of real sockets: what equal values tell, and what they do not. */
import { afterEach, describe, expect, test } from 'bun:test';
import { SOL_IP, SOL_TCP, TCP_NODELAY } from '../../../linux/abi/inet.ts';
import * as SOCKET from '../../../linux/abi/socket.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { addressOf, check, syscall } from '../../../linux/kernel.ts';
import { close } from '../../../linux/syscalls/fs.ts';
import { OptionValues } from './option-values.ts';
import { KnownOptions } from './socket-options.ts';

const UNIX = { family: SOCKET.AF_UNIX, type: SOCKET.SOCK_DGRAM, proto: 0 };
const TCP = { family: SOCKET.AF_INET, type: SOCKET.SOCK_STREAM, proto: 6 };
const INT_BYTES = 4;
const fds: number[] = [];

afterEach(() => {
  for (const fd of fds.splice(0)) close(fd);
});

function make({ family, type, proto }: typeof UNIX): number {
  const fd = check('socket', syscall(SYS.socket, family, type | SOCKET.SOCK_CLOEXEC, proto));
  fds.push(fd);
  return fd;
}

const set = (fd: number, level: number, option: number, value: Uint8Array | Int32Array) =>
  check('setsockopt', syscall(SYS.setsockopt, fd, level, option, value, value.byteLength));

/** "Accept so many bytes of each packet." */
function attachFilter(fd: number, bytes: number): void {
  const instruction = new Uint8Array(new ArrayBuffer(8));
  instruction[0] = 6;
  new DataView(instruction.buffer).setUint32(4, bytes, true);
  set(
    fd,
    SOCKET.SOL_SOCKET,
    SOCKET.SO_ATTACH_FILTER,
    new Uint8Array(BigUint64Array.of(1n, BigInt(addressOf(instruction))).buffer),
  );
}

describe('sockets one after the other', () => {
  test('have equal options once, also when two take turns', () => {
    const known = new KnownOptions(TCP);
    const sockets = Array.from({ length: 6 }, () => make(TCP));
    for (const [i, fd] of sockets.entries()) set(fd, SOCKET.SOL_SOCKET, SOCKET.SO_PRIORITY, Int32Array.of(i % 2));
    const described = sockets.map((fd) => known.describe(fd, known.reader.read(fd), []));
    expect(new Set(described).size).toBe(2);
    expect(described.map((opts) => 'so_priority' in opts && opts.so_priority)).toEqual([0, 1, 0, 1, 0, 1]);
  });

  test('have filters of their own, of the same length', () => {
    const known = new KnownOptions(UNIX);
    const filters = [1, 2].map((bytes) => {
      const fd = make(UNIX);
      attachFilter(fd, bytes);
      const opts = known.describe(fd, known.reader.read(fd), []);
      return 'so_filter' in opts && opts.so_filter;
    });
    expect(filters).toEqual([[(6n << 48n) | 1n], [(6n << 48n) | 2n]]);
  });

  test('have IP options of their own that begin alike', () => {
    const known = new KnownOptions(TCP);
    const values = [1, 2].map((last) => {
      const fd = make(TCP);
      // A record of the route that has room for two more hosts.
      set(fd, SOL_IP, 4, Uint8Array.of(7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0, last === 1 ? 0 : 1));
      const opts = known.describe(fd, known.reader.read(fd), []);
      return 'options_ext' in opts && opts.options_ext.map(({ value }) => [...value]);
    });
    expect(values[0]).not.toEqual(values[1]);
  });
});

describe('a table', () => {
  test('has the values that each socket has by itself', () => {
    const specs = [
      [SOL_TCP, TCP_NODELAY, INT_BYTES],
      [SOCKET.SOL_SOCKET, SOCKET.SO_PRIORITY, INT_BYTES],
      [SOCKET.SOL_SOCKET, SOCKET.SO_LINGER, 8],
      [SOCKET.SOL_SOCKET, 9999, INT_BYTES],
    ] as const;
    const [one, many] = [new OptionValues(specs), new OptionValues(specs, 4)];
    const sockets = Array.from({ length: 11 }, (_, i) => {
      const fd = make(TCP);
      set(fd, SOL_TCP, TCP_NODELAY, Int32Array.of(i & 1));
      set(fd, SOCKET.SOL_SOCKET, SOCKET.SO_PRIORITY, Int32Array.of(i % 3));
      return fd;
    });
    const valuesOf = (of: OptionValues) =>
      specs.map(([level, option]) => [of.tryInt(level, option), of.tryLength(level, option)]);
    const expected = sockets.map((fd) => {
      one.read(fd);
      return valuesOf(one);
    });
    const found: unknown[] = [];
    many.readAll(sockets, (index) => {
      found[index] = valuesOf(many);
    });
    expect(found).toEqual(expected);
    expect(found[0]).toEqual([
      [0, 4],
      [0, 4],
      [0, 8],
      [undefined, -92],
    ]);
  });
});
