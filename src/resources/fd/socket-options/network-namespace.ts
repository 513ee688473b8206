/**
 * Which network namespace a socket is in: a cookie tells (SO_NETNS_COOKIE, since 5.14), or a descriptor of it. During a
 * dump criu is in that of the tree.
 */
import {
  AF_UNIX,
  SIOCGSKNS,
  SO_NETNS_COOKIE,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  SOL_SOCKET,
} from '../../../linux/abi/socket.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { check, syscall } from '../../../linux/kernel.ts';
import { close, fstat, ioctl, tryReadlink, tryStat } from '../../../linux/syscalls/fs.ts';
import { tryGetsockopt } from '../../../linux/syscalls/socket.ts';
import type { KindDump, Unsupported } from '../file-kind.ts';
import type { NumberOfNamespace } from '../namespace-file/namespace-file.ts';

const cookie = new Uint8Array(8);

function readCookie(fd: number): bigint | undefined {
  if (tryGetsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, cookie) < 0) return undefined;
  return new DataView(cookie.buffer, cookie.byteOffset).getBigUint64(0, true);
}

function readOwnCookie(): bigint | undefined {
  const fd = check('socket', syscall(SYS.socket, AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), 'AF_UNIX');
  const own = readCookie(fd);
  close(fd);
  return own;
}

/** Why a socket of another network namespace than that of the tree cannot be dumped; undefined for the others. */
export function findForeign(fd: number, dump: Pick<KindDump, 'state'>): Unsupported | undefined {
  const { own } = dump.state('network cookie', () => ({ own: readOwnCookie() }));
  const isForeign = own === undefined ? hasOtherFile(fd) : readCookie(fd) !== own;
  if (!isForeign) return undefined;
  return { unsupported: 'it is in another network namespace than the tasks of the tree' };
}

/** The number of the tree's network namespace in the images. */
export function networkId(dump: Pick<KindDump, 'state'>): number {
  return dump.state('network id', () => {
    const { numberOf } = dump.state<{ numberOf: NumberOfNamespace }>('namespaces', () => ({
      numberOf: () => undefined,
    }));
    return { id: numberOf(String(tryReadlink('/proc/self/ns/net'))) ?? OWN_NETWORK };
  }).id;
}

/** The second kind of namespace that is numbered. */
const OWN_NETWORK = 2;

/** The kernel tells to those with CAP_NET_ADMIN, since 4.10; others are believed. */
function hasOtherFile(fd: number): boolean {
  const namespace = ioctl(fd, SIOCGSKNS, 0);
  if (namespace < 0) return false;
  try {
    const own = tryStat('/proc/self/ns/net');
    return typeof own === 'object' && fstat(namespace).st_ino !== own.st_ino;
  } finally {
    close(namespace);
  }
}
