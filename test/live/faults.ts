/** Which system calls of a program can fail, how, and the choice among them. */

/** A call that fails: the n-th of its name, counted from 1. */
export interface Fault {
  readonly name: string;
  readonly n: number;
  readonly error: string;
}

/**
 * What the kernel may well answer. Calls that are not listed cannot fail, or belong to the runtime; what cannot be removed
 * (unlink) is left with a warning.
 */
const ERRORS: Readonly<Record<string, readonly string[]>> = {
  open: ['EMFILE', 'EIO', 'EACCES'],
  openat: ['EMFILE', 'EIO', 'EACCES'],
  openat2: ['EMFILE', 'EIO'],
  read: ['EIO'],
  pread64: ['EIO'],
  preadv: ['EIO'],
  write: ['ENOSPC', 'EIO'],
  pwrite64: ['ENOSPC', 'EIO'],
  writev: ['ENOSPC'],
  pwritev: ['ENOSPC'],
  ftruncate: ['EIO', 'EPERM'],
  fallocate: ['ENOSPC', 'EOPNOTSUPP'],
  rename: ['EIO'],
  renameat: ['EIO'],
  renameat2: ['EIO'],
  link: ['EMLINK', 'ENOSPC'],
  linkat: ['EMLINK', 'ENOSPC'],
  mkdir: ['ENOSPC'],
  stat: ['EIO'],
  fstat: ['EIO'],
  lstat: ['EIO'],
  newfstatat: ['EIO'],
  statx: ['EIO'],
  fstatfs: ['EIO'],
  readlink: ['EACCES', 'ENOENT'],
  readlinkat: ['EACCES', 'ENOENT'],
  getdents64: ['EIO'],
  clone: ['EAGAIN', 'ENOMEM'],
  clone3: ['EAGAIN', 'ENOMEM'],
  fork: ['EAGAIN'],
  vfork: ['EAGAIN'],
  pidfd_open: ['EMFILE', 'ESRCH'],
  pidfd_getfd: ['EMFILE', 'EPERM'],
  memfd_create: ['EMFILE', 'ENOMEM'],
  socket: ['EMFILE', 'EAFNOSUPPORT'],
  socketpair: ['EMFILE'],
  bind: ['EADDRINUSE'],
  sendto: ['ENOBUFS'],
  sendmsg: ['ENOBUFS'],
  recvmsg: ['ENOBUFS'],
  recvfrom: ['ENOBUFS'],
  getsockopt: ['ENOPROTOOPT'],
  setsockopt: ['EPERM'],
  ioctl: ['ENOTTY', 'EIO'],
  fcntl: ['EMFILE', 'EINVAL'],
  dup: ['EMFILE'],
  dup2: ['EMFILE'],
  dup3: ['EMFILE'],
  pipe2: ['EMFILE'],
  bpf: ['EPERM'],
  perf_event_open: ['EACCES'],
  process_vm_readv: ['EFAULT', 'EPERM'],
  process_vm_writev: ['EFAULT', 'EPERM'],
  process_madvise: ['EPERM'],
  process_mrelease: ['EINTR'],
  kcmp: ['EPERM'],
  lseek: ['ESPIPE'],
  prctl: ['EPERM'],
  setns: ['EPERM'],
  unshare: ['EPERM', 'ENOSPC'],
  chdir: ['EACCES'],
  fchdir: ['EACCES'],
  prlimit64: ['EPERM'],
  capget: ['EPERM'],
  sched_getaffinity: ['ESRCH'],
  timerfd_create: ['EMFILE'],
  eventfd2: ['EMFILE'],
  epoll_create1: ['EMFILE'],
  epoll_ctl: ['ENOMEM'],
  signalfd4: ['EMFILE'],
  userfaultfd: ['EPERM'],
  splice: ['EINVAL'],
  tee: ['EINVAL'],
  sendfile: ['EIO'],
  copy_file_range: ['EXDEV'],
  seccomp: ['EINVAL'],
  kill: ['EPERM'],
  pidfd_send_signal: ['EPERM'],
  utimensat: ['EPERM'],
  fchmod: ['EPERM'],
  fchown: ['EPERM'],
  statfs: ['EIO'],
  flock: ['EWOULDBLOCK'],
};

/** The calls of a run that strace(1) has written down, by name, and how many there were of each. */
export function countCalls(trace: string): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const [, name = ''] of trace.matchAll(/^(\w+)\(/gm)) {
    if (ERRORS[name] !== undefined) counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return counts;
}

/** One of them, which depends on the seed and the turn only. Each name has the same chance, so that rare calls come. */
export function chooseFault(calls: ReadonlyMap<string, number>, seed: number, turn: number): Fault {
  const pick = random(seed, turn);
  const [name, count] = [...calls][Math.floor(pick * calls.size)] ?? ['read', 1];
  const errors = ERRORS[name] ?? [];
  return { name, n: 1 + (Math.floor(pick * 1e6) % count), error: errors[turn % errors.length] ?? 'EIO' };
}

/** A number in 0..1. */
function random(seed: number, turn: number): number {
  return Number(Bun.hash.xxHash64(`${seed} ${turn}`) % 1_000_000_007n) / 1_000_000_007;
}
