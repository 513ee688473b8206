/** TCP sockets of this process: what the kernel tells of one that is asked for is what it tells in a list of all. */
import { describe, expect, test } from 'bun:test';
import { IPPROTO_TCP } from '../../../linux/abi/inet.ts';
import { AF_INET, AF_INET6, SO_REUSEPORT, SOCK_STREAM, SOL_SOCKET } from '../../../linux/abi/socket.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { check, syscall } from '../../../linux/kernel.ts';
import { close, fstat } from '../../../linux/syscalls/fs.ts';
import { packSockaddr } from './address.ts';
import { readName, readPeer } from './endpoint.ts';
import { readDiag, tryFindTcp } from './sock-diag.ts';

const LOOPBACK = { [AF_INET]: [0x0100_007f], [AF_INET6]: [0, 0, 0, 0x0100_0000] };

function socket(family: number, port = 0): number {
  const fd = check('socket', syscall(SYS.socket, family, SOCK_STREAM, 0));
  check('setsockopt', syscall(SYS.setsockopt, fd, SOL_SOCKET, SO_REUSEPORT, Int32Array.of(1), 4));
  const address = packSockaddr(family, { port, words: LOOPBACK[family as 2 | 10] });
  check('bind', syscall(SYS.bind, fd, address, address.length));
  return fd;
}

function listener(family: number, port = 0): number {
  const fd = socket(family, port);
  check('listen', syscall(SYS.listen, fd, 4));
  return fd;
}

function connected(family: number, to: number): number {
  const fd = socket(family);
  const address = packSockaddr(family, readName(to, family));
  check('connect', syscall(SYS.connect, fd, address, address.length));
  return fd;
}

const inodeOf = (fd: number) => fstat(fd).st_ino;
const ends = (fd: number, family: number) => ({ source: readName(fd, family), destination: readPeer(fd, family) });

const listed = (fd: number, family: number) => {
  const all = readDiag(family, IPPROTO_TCP);
  if (typeof all === 'number') throw new Error(`the kernel lists no sockets: ${all}`);
  return all.get(inodeOf(fd));
};

describe.each([
  ['IPv4', AF_INET],
  ['IPv6', AF_INET6],
])('%s', (_, family) => {
  const open: number[] = [];
  const opened = (fd: number) => {
    open.push(fd);
    return fd;
  };

  test('one that listens, and both ends of a connection', () => {
    const server = opened(listener(family));
    const near = opened(connected(family, server));
    const far = opened(check('accept', syscall(SYS.accept4, server, 0, 0, 0)));
    for (const fd of [server, near, far]) {
      const found = tryFindTcp(family, ends(fd, family), inodeOf(fd));
      expect(found).toBeDefined();
      expect(found).toEqual(listed(fd, family) as NonNullable<typeof found>);
    }
    open.splice(0).forEach(close);
  });

  test('of several at the same port one is found, and the others are not taken for it', () => {
    const servers = [opened(listener(family))];
    const { port } = readName(servers[0] ?? -1, family);
    for (let i = 0; i < 3; i++) servers.push(opened(listener(family, port)));
    const found = servers.filter((fd) => tryFindTcp(family, ends(fd, family), inodeOf(fd)) !== undefined);
    expect(found).toHaveLength(1);
    for (const fd of servers) expect(listed(fd, family)?.source.port).toBe(port);
    open.splice(0).forEach(close);
  });

  test('one that is only bound is not found (since Linux 6.8 the list has it)', () => {
    const fd = opened(socket(family));
    expect(tryFindTcp(family, ends(fd, family), inodeOf(fd))).toBeUndefined();
    open.splice(0).forEach(close);
  });
});
