/** Tasks: ptrace, waiting, pidfds, signals, kcmp (man 2 ptrace, wait4, pidfd_open, pidfd_getfd, kcmp). */
import { RLIMIT_NOFILE } from '../abi/resource.ts';
import { SYS } from '../abi/syscall-numbers.ts';
import { __WALL } from '../abi/wait.ts';
import { isInterrupted } from '../interrupts.ts';
import { type Arg, addressOf, check, syscall } from '../kernel.ts';

/** ptrace(2), raw: the result or −errno. Peeks store at `data` as the system call does, not as glibc's wrapper. */
export function ptrace(request: number, tid: number, address: Arg = 0, data: Arg = 0): number {
  return syscall(SYS.ptrace, request, tid, address, data);
}

const statusWord = new Int32Array(1);

/** What a wait returned: whose, and the status word of wait(2). */
export interface Waited {
  readonly tid: number;
  readonly status: number;
}

/**
 * wait4(2) with __WALL for one thread (tid > 0) or any (−1). Undefined when WNOHANG found nothing.
 * Returns −errno on failure (−ECHILD: nobody to wait for). Restarts after EINTR, but throws Interrupted
 * when the signal was one of those of interrupts.ts.
 */
export function tryWait(tid: number, options = 0): Waited | number | undefined {
  for (;;) {
    const got = syscall(SYS.wait4, tid, statusWord, options | __WALL, 0);
    if (isInterrupted(got)) continue;
    if (got < 0) return got;
    return got === 0 ? undefined : { tid: got, status: statusWord[0] ?? 0 };
  }
}

const iov = new BigUint64Array(2);

/** PTRACE_GETREGSET/SETREGSET of `type` (NT_*): moves bytes, returns how many the kernel moved, or −errno. */
export function ptraceRegset(request: number, tid: number, type: number, bytes: Uint8Array): number {
  iov[0] = BigInt(addressOf(bytes));
  iov[1] = BigInt(bytes.length);
  const result = ptrace(request, tid, type, iov);
  return result < 0 ? result : Number(iov[1]);
}

/** kill(2). Refuses pids that mean groups or everybody. Returns 0 or −errno. */
export function kill(pid: number, signal: number): number {
  if (!(pid > 1)) throw new RangeError(`kill: ${pid} is not one process`);
  return syscall(SYS.kill, pid, signal);
}

/** tgkill(2). Returns 0 or −errno. */
export function tgkill(pid: number, tid: number, signal: number): number {
  if (!(pid > 0 && tid > 0)) throw new RangeError(`tgkill: ${pid}, ${tid} is not one thread`);
  return syscall(SYS.tgkill, pid, tid, signal);
}

/** getgroups(2): our supplementary groups, ascending as the kernel keeps them. Throws SyscallError. */
export function ownGroups(): number[] {
  const count = check('getgroups', syscall(SYS.getgroups, 0, 0));
  // One more: memory without bytes has no address.
  const groups = new Uint32Array(count + 1);
  return [...groups.subarray(0, check('getgroups', syscall(SYS.getgroups, count, groups)))];
}

/** pidfd_open(2). Throws SyscallError. */
export function pidfd_open(pid: number, flags = 0): number {
  return check('pidfd_open', syscall(SYS.pidfd_open, pid, flags), `${pid}`);
}

/** pidfd_getfd(2): the task's descriptor `fd` as one of ours, or −errno. */
export function tryPidfdGetfd(pidfd: number, fd: number): number {
  return syscall(SYS.pidfd_getfd, pidfd, fd, 0);
}

/** kcmp(2): 0 equal, 1 less, 2 greater, 3 different without order; or −errno. */
export function kcmp(pid1: number, pid2: number, type: number, idx1 = 0, idx2 = 0): number {
  return syscall(SYS.kcmp, pid1, pid2, type, idx1, idx2);
}

/** Our own process id. */
export function getpid(): number {
  return syscall(SYS.getpid);
}

/** How many descriptors this process may have: its soft RLIMIT_NOFILE. */
export function descriptorLimit(): number {
  const limits = new Uint32Array(4);
  check('getrlimit', syscall(SYS.getrlimit, RLIMIT_NOFILE, limits));
  // RLIM_INFINITY and the like are more than anybody needs.
  return limits[1] === 0 ? (limits[0] ?? 0) : 0xffff_ffff;
}

/** Allows this process so many descriptors. 0 or −errno: −EPERM without CAP_SYS_RESOURCE, and above fs.nr_open. */
export function tryRaiseDescriptorLimit(count: number): number {
  const limits = new BigUint64Array(2);
  check('prlimit64', syscall(SYS.prlimit64, 0, RLIMIT_NOFILE, 0, limits));
  const [soft = 0n, hard = 0n] = limits;
  const wanted = BigInt(count);
  if (soft >= wanted) return 0;
  limits.set([wanted, hard > wanted ? hard : wanted]);
  return syscall(SYS.prlimit64, 0, RLIMIT_NOFILE, limits, 0);
}
