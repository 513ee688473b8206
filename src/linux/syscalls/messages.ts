/**
 * UNIX sockets as a way to talk (man 7 unix): listening, packets, descriptors that go along with them (SCM_RIGHTS), and
 * who is at the other end.
 */
import { bytesOf } from '../../base/bytes.ts';
import { ERRNO } from '../abi/errno.ts';
import {
  AF_UNIX,
  MSG_NOSIGNAL,
  MSG_PEEK,
  MSG_TRUNC,
  SCM_RIGHTS,
  SO_PEERCRED,
  SO_PEERGROUPS,
  SO_PEERPIDFD,
  SOCK_CLOEXEC,
  SOCK_STREAM,
  SOL_SOCKET,
} from '../abi/socket.ts';
import { SYS } from '../abi/syscall-numbers.ts';
import { addressOf, check, syscall } from '../kernel.ts';
import { close } from './fs.ts';
import { tryGetsockopt } from './socket.ts';

const MSGHDR_BYTES = 56;
const SUN_PATH_BYTES = 108;

/** socket(2) of the UNIX family, close-on-exec. Throws SyscallError. */
export function unixSocket(type: number): number {
  return check('socket', syscall(SYS.socket, AF_UNIX, type | SOCK_CLOEXEC, 0));
}

/** socketpair(2) of the UNIX family, close-on-exec. Throws SyscallError. */
export function unixSocketPair(type: number): [number, number] {
  const pair = tryUnixSocketPair(type);
  return typeof pair === 'number' ? [check('socketpair', pair), -1] : pair;
}

function tryUnixSocketPair(type: number): [number, number] | number {
  const pair = new Int32Array(2);
  const result = syscall(SYS.socketpair, AF_UNIX, type | SOCK_CLOEXEC, 0, pair);
  return result < 0 ? result : [pair[0] ?? -1, pair[1] ?? -1];
}

/** Whether `path` fits the address of a UNIX socket, with its NUL. */
export const fitsUnixAddress = (path: string) => path.length < SUN_PATH_BYTES;

/** struct sockaddr_un of a file, or of a name that begins with a NUL byte: an abstract one, which ends where it ends. */
function unixAddress(path: string): Uint8Array {
  const address = new Uint8Array(2 + path.length + (path.startsWith('\0') ? 0 : 1));
  address[0] = AF_UNIX;
  address.set(bytesOf(path), 2);
  return address;
}

/** bind(2) to a file or an abstract name; 0 or −errno. */
export function tryBindUnix(fd: number, path: string): number {
  const address = unixAddress(path);
  return syscall(SYS.bind, fd, address, address.length);
}

/** connect(2) to a file or an abstract name; 0 or −errno. */
export function tryConnectUnix(fd: number, path: string): number {
  const address = unixAddress(path);
  return syscall(SYS.connect, fd, address, address.length);
}

/** listen(2). Throws SyscallError. */
export function listen(fd: number, backlog: number): void {
  check('listen', syscall(SYS.listen, fd, backlog));
}

/** accept4(2), close-on-exec; a descriptor or −errno. */
export function tryAccept(fd: number): number {
  return syscall(SYS.accept4, fd, 0, 0, SOCK_CLOEXEC);
}

/** Length of the next packet, which stays in the queue; 0 at the end; or −errno. Waits for it. */
export function tryPeekLength(fd: number): number {
  return syscall(SYS.recvfrom, fd, 0, 0, MSG_PEEK | MSG_TRUNC, 0, 0);
}

/** recv(2); the number of bytes or −errno. */
export function tryReceive(fd: number, bytes: Uint8Array): number {
  return syscall(SYS.recvfrom, fd, bytes, bytes.length, 0, 0, 0);
}

/** The same that goes on after a signal. */
export function tryReceiveAgain(fd: number, bytes: Uint8Array): number {
  for (;;) {
    const result = tryReceive(fd, bytes);
    if (result !== -ERRNO.EINTR) return result;
  }
}

/** sendmsg(2) without SIGPIPE, with a descriptor if one is given; the number of bytes or −errno. */
export function trySend(fd: number, bytes: Uint8Array, passed?: number): number {
  const vector = BigUint64Array.of(BigInt(bytes.length === 0 ? 0 : addressOf(bytes)), BigInt(bytes.length));
  const control = passed === undefined ? undefined : rightsMessage(passed);
  const header = new Uint8Array(MSGHDR_BYTES);
  const view = new DataView(header.buffer);
  view.setBigUint64(16, BigInt(addressOf(vector)), true);
  view.setBigUint64(24, 1n, true);
  if (control !== undefined) {
    view.setBigUint64(32, BigInt(addressOf(control)), true);
    view.setBigUint64(40, BigInt(control.byteLength), true);
  }
  const result = syscall(SYS.sendmsg, fd, header, MSG_NOSIGNAL);
  // The arrays must stay alive until the kernel has used their addresses.
  return vector.length + (control?.length ?? 0) > 0 ? result : 0;
}

/**
 * close(2) that does not wait for what the kernel does when nobody has the file any more. The file waits in the queue of a
 * socket that waits in its own queue: nobody can receive from it, so the kernel's collector of such sockets closes both, in
 * a thread of its own (net/unix/garbage.c). It does wait where there cannot be such sockets.
 */
export function closeInBackground(fd: number): void {
  const pair = tryUnixSocketPair(SOCK_STREAM);
  if (typeof pair === 'number') {
    close(fd);
    return;
  }
  const [sender, queue] = pair;
  const byte = new Uint8Array(1);
  for (const passed of [fd, queue]) trySend(sender, byte, passed);
  // The collector looks when a socket is closed.
  for (const own of [fd, queue, sender]) close(own);
}

/** struct cmsghdr with one descriptor (man 3 cmsg). */
function rightsMessage(fd: number): Uint8Array {
  const control = new Uint8Array(new ArrayBuffer(24));
  const view = new DataView(control.buffer);
  view.setBigUint64(0, 20n, true);
  view.setInt32(8, SOL_SOCKET, true);
  view.setInt32(12, SCM_RIGHTS, true);
  view.setInt32(16, fd, true);
  return control;
}

/** Who made the other end of a socket: struct ucred. */
export interface PeerCredentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/** SO_PEERCRED; undefined when the socket has no peer with credentials. */
export function tryPeerCredentials(fd: number): PeerCredentials | undefined {
  const ucred = new Int32Array(3);
  if (tryGetsockopt(fd, SOL_SOCKET, SO_PEERCRED, ucred) !== 12) return undefined;
  const [pid = 0, uid = 0, gid = 0] = ucred;
  return { pid, uid: uid >>> 0, gid: gid >>> 0 };
}

/** SO_PEERGROUPS: the supplementary groups of who made the other end, or −errno. */
export function tryPeerGroups(fd: number): Uint32Array | number {
  const groups = new Int32Array(GROUPS_MAX);
  const bytes = tryGetsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups);
  return bytes < 0 ? bytes : Uint32Array.from(groups.subarray(0, bytes / 4));
}

/** NGROUPS_MAX (linux/limits.h). */
const GROUPS_MAX = 65_536;

/** SO_PEERPIDFD (Linux 6.5): a pidfd of the process at the other end, or −errno. */
export function tryPeerPidfd(fd: number): number {
  const pidfd = new Int32Array(1);
  const result = tryGetsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, pidfd);
  return result < 0 ? result : (pidfd[0] ?? -1);
}
