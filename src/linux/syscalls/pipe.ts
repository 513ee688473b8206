/** Pipes (man 2 pipe, read). */
import { SYS } from '../abi/syscall-numbers.ts';
import { check, syscall } from '../kernel.ts';

const pair = new Int32Array(2);

/** pipe2(2); returns the read end and the write end. Throws SyscallError. */
export function pipe2(flags: number): [number, number] {
  check('pipe2', syscall(SYS.pipe2, pair, flags));
  return [pair[0] ?? -1, pair[1] ?? -1];
}

const pollfd = new Int32Array(2);
const POLLIN = 1;

/** poll(2) of one descriptor, for something to read or its end: 1, 0 when the time is over, or −errno. */
export function tryPoll(fd: number, timeoutMs: number): number {
  pollfd[0] = fd;
  pollfd[1] = POLLIN;
  return syscall(SYS.poll, pollfd, 1, timeoutMs);
}

export const SPLICE_F_NONBLOCK = 2;

/** read(2); the number of bytes or −errno. */
export function tryRead(fd: number, bytes: Uint8Array): number {
  return syscall(SYS.read, fd, bytes, bytes.length);
}
