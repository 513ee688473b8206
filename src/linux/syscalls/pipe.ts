/** Pipes (man 2 pipe, read). */
import { SYS } from '../abi/syscall-numbers.ts';
import { check, syscall } from '../kernel.ts';

const pair = new Int32Array(2);

/** pipe2(2); returns the read end and the write end. Throws SyscallError. */
export function pipe2(flags: number): [number, number] {
  check('pipe2', syscall(SYS.pipe2, pair, flags));
  return [pair[0] ?? -1, pair[1] ?? -1];
}

export const SPLICE_F_NONBLOCK = 2;

/** read(2); the number of bytes or −errno. */
export function tryRead(fd: number, bytes: Uint8Array): number {
  return syscall(SYS.read, fd, bytes, bytes.length);
}
