/** Namespaces of the calling thread: thin bindings of setns and unshare (man 2 setns, unshare). */
import { SYS } from '../abi/syscall-numbers.ts';
import { syscall } from '../kernel.ts';

/** setns(2): 0 or −errno. `kind` is CLONE_NEW*. */
export function trySetns(fd: number, kind: number): number {
  return syscall(SYS.setns, fd, kind);
}

/** unshare(2): 0 or −errno. */
export function tryUnshare(flags: number): number {
  return syscall(SYS.unshare, flags);
}
