/** How criu tells its caller that it is ready or which pid it made: --status-fd and --pidfile. */

import { CriuError, errorText, SyscallError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { errnoName } from '../linux/abi/errno.ts';
import { O_CREAT, O_EXCL, O_WRONLY } from '../linux/abi/fcntl.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { syscall } from '../linux/kernel.ts';
import { close, tryOpen } from '../linux/syscalls/fs.ts';

/** Writes one zero byte to the descriptor of --status-fd and closes it. Throws CriuError when nobody reads it. */
export function reportReady(statusFd: number): void {
  const result = syscall(SYS.write, statusFd, new Uint8Array(1), 1);
  close(statusFd);
  if (result === 1) return;
  throw new CriuError({ object: `--status-fd ${statusFd}`, action: `cannot write to it: ${errnoName(-result)}` });
}

/**
 * For what is told about work that is done and cannot be taken back: that nobody can be told is worth a warning. An error would
 * say that the tree is as before.
 */
export function tryTell(log: Logger, tell: () => void): void {
  try {
    tell();
  } catch (error) {
    if (!(error instanceof CriuError || error instanceof SyscallError)) throw error;
    log.warn(`all is done, but ${errorText(error)}`);
  }
}

/** Makes the file of --pidfile (mode 0600) with the pid in decimal, without line feed. Throws CriuError; it must be new. */
export function writePidfile(path: string, pid: number): void {
  const fd = tryOpen(path, O_WRONLY | O_EXCL | O_CREAT, 0o600);
  if (fd < 0) throw new CriuError({ object: `pidfile ${path}`, action: `Can't open ${path}: ${errnoName(-fd)}` });
  const bytes = Buffer.from(String(pid), 'latin1');
  const result = syscall(SYS.write, fd, bytes, bytes.length);
  close(fd);
  if (result === bytes.length) return;
  const reason = result < 0 ? errnoName(-result) : 'no space';
  throw new CriuError({ object: `pidfile ${path}`, action: `Can't write pid ${pid} to ${path}: ${reason}` });
}
