/** Sockets: thin bindings of getsockopt and getsockname (man 2 getsockopt, getsockname). */
import { SYS } from '../abi/syscall-numbers.ts';
import { check, syscall } from '../kernel.ts';

const length = new Int32Array(1);
const word = new Int32Array(1);

/** getsockopt(2): fills `value`; returns how many bytes the option has, or −errno. */
export function tryGetsockopt(fd: number, level: number, option: number, value: Uint8Array | Int32Array): number {
  length[0] = value.byteLength;
  const result = syscall(SYS.getsockopt, fd, level, option, value.byteLength === 0 ? 0 : value, length);
  return result < 0 ? result : (length[0] ?? 0);
}

/** An option that is an int. Throws SyscallError, naming the option. */
export function getsockoptInt(fd: number, level: number, option: number): number {
  check('getsockopt', tryGetsockopt(fd, level, option, word), `${fd}, ${level}, ${option}`);
  return word[0] ?? 0;
}

/** The same, undefined when the kernel or this kind of socket has no such option. */
export function tryGetsockoptInt(fd: number, level: number, option: number): number | undefined {
  return tryGetsockopt(fd, level, option, word) < 0 ? undefined : (word[0] ?? 0);
}

const SOCKADDR_STORAGE_BYTES = 128;

/** getsockname(2): a copy of the address the socket is bound to (struct sockaddr), or −errno. */
export const tryGetsockname = (fd: number): Uint8Array | number => readAddress(SYS.getsockname, fd);

/** getpeername(2): the same of the other side. */
export const tryGetpeername = (fd: number): Uint8Array | number => readAddress(SYS.getpeername, fd);

function readAddress(nr: number, fd: number): Uint8Array | number {
  const address = new Uint8Array(SOCKADDR_STORAGE_BYTES);
  length[0] = address.length;
  const result = syscall(nr, fd, address, length);
  return result < 0 ? result : address.subarray(0, Math.min(length[0] ?? 0, address.length));
}
