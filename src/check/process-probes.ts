/** Probes of ptrace, namespaces of tasks, clone3, descriptors of events (man 2 ptrace, clone, seccomp, kcmp). */
import { Program } from '../agent/program.ts';
import { ERRNO, errnoName } from '../linux/abi/errno.ts';
import * as EV from '../linux/abi/event.ts';
import { F_GETOWNER_UIDS, O_NOCTTY, O_RDONLY, O_RDWR } from '../linux/abi/fcntl.ts';
import { KCMP_EPOLL_TFD } from '../linux/abi/kcmp.ts';
import { PR_SET_SECCOMP } from '../linux/abi/prctl.ts';
import * as PT from '../linux/abi/ptrace.ts';
import { CLONE_NEWPID, CLONE_PARENT, CLONE_VM } from '../linux/abi/sched.ts';
import { SIGTRAP } from '../linux/abi/signal.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { TFD_IOC_SET_TICKS } from '../linux/abi/time.ts';
import { TIOCGPTN, TIOCSPTLCK } from '../linux/abi/tty.ts';
import { syscall } from '../linux/kernel.ts';
import { close, fcntl, ioctl, open, tryOpen } from '../linux/syscalls/fs.ts';
import { getpid, kcmp, ptrace, tryWait } from '../linux/syscalls/process.ts';
import { CLONE_ARGS_BYTES, cloneArgs, OwnProgram } from '../tracee/clone-agent.ts';
import { readRegisters, register } from '../tracee/registers.ts';
import { resume } from '../tracee/stop.ts';
import { Child, withTracee } from './child.ts';
import { failed, type Missing } from './probe.ts';
import { probeFdinfo } from './proc-probes.ts';

/** Pending signals and blocked signals of a tracee (3.10, 3.11). */
export function probePeekSiginfo(): Missing {
  return withTracee(({ pid }) => {
    const args = new Uint8Array(PT.PTRACE_PEEKSIGINFO_ARGS.bytes);
    new DataView(args.buffer).setInt32(PT.PTRACE_PEEKSIGINFO_ARGS.nr, 1, true);
    const siginfo = new Uint8Array(128);
    return (
      failed('ptrace(PTRACE_PEEKSIGINFO)', ptrace(PT.PTRACE_PEEKSIGINFO, pid, args, siginfo)) ??
      failed('ptrace(PTRACE_GETSIGMASK)', ptrace(PT.PTRACE_GETSIGMASK, pid, 8, new BigUint64Array(1)))
    );
  });
}

/** PTRACE_O_SUSPEND_SECCOMP (4.3). */
export function probeSeccompSuspend(): Missing {
  return withTracee(({ pid }) =>
    failed('ptrace(PTRACE_O_SUSPEND_SECCOMP)', ptrace(PT.PTRACE_SETOPTIONS, pid, 0, PT.PTRACE_O_SUSPEND_SECCOMP)),
  );
}

const SECCOMP_MODE_FILTER = 2;
/** struct sock_filter: BPF_RET | BPF_K, SECCOMP_RET_ALLOW. */
const ALLOW_ALL = Uint8Array.of(0x06, 0, 0, 0, 0, 0, 0xff, 0x7f);

/** PTRACE_SECCOMP_GET_FILTER (4.4, CONFIG_CHECKPOINT_RESTORE), of a child with a filter that allows everything. */
export function probeSeccompFilters(): Missing {
  const child = new Child();
  const { program } = child;
  const fprog = program.words(1, 0);
  program.store64(program.at(fprog, 8), program.data(ALLOW_ALL));
  child.step('prctl(PR_SET_SECCOMP)', SYS.prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, fprog, 0, 0);
  return child.runToStop(({ pid }) =>
    failed('ptrace(PTRACE_SECCOMP_GET_FILTER)', ptrace(PT.PTRACE_SECCOMP_GET_FILTER, pid, 0, 0)),
  );
}

/** PTRACE_GET_RSEQ_CONFIGURATION (5.13). */
export function probeGetRseqConf(): Missing {
  return withTracee(({ pid }) => {
    const { bytes } = PT.PTRACE_RSEQ_CONFIGURATION;
    const got = ptrace(PT.PTRACE_GET_RSEQ_CONFIGURATION, pid, bytes, new Uint8Array(bytes));
    return got === bytes
      ? undefined
      : (failed('ptrace(PTRACE_GET_RSEQ_CONFIGURATION)', got) ?? `it fills ${got} bytes`);
  });
}

/** offsetof(struct user, u_debugreg) on x86-64 (arch/x86/include/asm/user_64.h). */
const DEBUG_REGISTERS = 848;
const DR7_ENABLE_0 = 1;

/** A hardware breakpoint at the next instruction of a tracee stops it. */
export function probeBreakpoints(): Missing {
  return withTracee((tracee) => {
    const rip = register(readRegisters(tracee.pid), 'rip');
    const missing =
      failed('set a breakpoint', ptrace(PT.PTRACE_POKEUSR, tracee.pid, DEBUG_REGISTERS, rip)) ??
      failed('enable it', ptrace(PT.PTRACE_POKEUSR, tracee.pid, DEBUG_REGISTERS + 7 * 8, DR7_ENABLE_0));
    if (missing !== undefined) return missing;
    resume(tracee.pid);
    const stop = tracee.wait();
    const isHit = typeof stop !== 'string' && stop.kind === 'signal' && stop.signal === SIGTRAP;
    return isHit ? undefined : 'a hardware breakpoint is not hit; the hypervisor may not pass them on';
  });
}

/**
 * clone3 with set_tid (5.5). An array without a length is refused by a kernel that knows it (kernel/fork.c
 * copy_clone_args_from_user()); older ones say that the structure is too big.
 */
export function probeClone3SetTid(): Missing {
  const program = new Program();
  program.call(SYS.exit, 0);
  const own = new OwnProgram(program);
  const pid = own.clone({ flags: CLONE_VM, exitSignal: 0, setTid: 1, setTidCount: 0 });
  if (pid > 0) tryWait(pid);
  if (pid === -ERRNO.EINVAL) return undefined;
  return `clone3(set_tid): ${pid < 0 ? errnoName(-pid) : 'not looked at'}`;
}

/** CLONE_PARENT together with CLONE_NEWPID (3.12). The grandchild becomes our child. */
export function probeCloneParent(): Missing {
  const child = new Child();
  const { program } = child;
  const args = program.words(...cloneArgs({ flags: CLONE_VM | CLONE_PARENT | CLONE_NEWPID, exitSignal: 0 }));
  const start = program.label();
  const made = program.clone('clone3(CLONE_PARENT | CLONE_NEWPID)', SYS.clone3, args, CLONE_ARGS_BYTES, start);
  child.watch('clone3(CLONE_PARENT | CLONE_NEWPID)', made);
  program.call(SYS.exit, 0);
  program.place(start);
  const missing = child.run();
  const pid = child.result(made);
  if (pid > 0) tryWait(pid);
  return missing;
}

/** kcmp(2) (3.5, CONFIG_KCMP). */
export function probeKcmp(): Missing {
  return failed('kcmp', kcmp(getpid(), getpid(), 0, 0, 0));
}

/** kcmp of a descriptor and the target of an epoll (4.13). */
export function probeKcmpEpoll(): Missing {
  return withEpoll((epoll, target) => {
    const slot = Uint32Array.of(epoll, target, 0);
    const pid = getpid();
    const result = syscall(SYS.kcmp, pid, pid, KCMP_EPOLL_TFD, target, slot);
    return failed('kcmp(KCMP_EPOLL_TFD)', result) ?? (result === 0 ? undefined : 'kcmp does not find an epoll target');
  });
}

function withEpoll(use: (epoll: number, target: number) => Missing): Missing {
  const epoll = syscall(SYS.epoll_create1, EV.EPOLL_CLOEXEC);
  if (epoll < 0) return failed('epoll_create1', epoll);
  const target = syscall(SYS.eventfd2, 0, EV.EFD_CLOEXEC);
  try {
    const event = Uint32Array.of(EV.EPOLLIN, 0, 0);
    return failed('epoll_ctl', syscall(SYS.epoll_ctl, epoll, EV.EPOLL_CTL_ADD, target, event)) ?? use(epoll, target);
  } finally {
    close(target);
    close(epoll);
  }
}

const CLOCK_MONOTONIC = 1;

/** TFD_IOC_SET_TICKS (3.18, CONFIG_CHECKPOINT_RESTORE): a kernel that has it looks at the argument. */
export function probeTimerfd(): Missing {
  const fd = syscall(SYS.timerfd_create, CLOCK_MONOTONIC, 0);
  if (fd < 0) return failed('timerfd_create', fd);
  const result = ioctl(fd, TFD_IOC_SET_TICKS, 0);
  close(fd);
  return result === -ERRNO.EFAULT ? undefined : failed('ioctl(TFD_IOC_SET_TICKS)', result);
}

/** What fdinfo says of eventfd, epoll, signalfd, inotify (3.8, CONFIG_CHECKPOINT_RESTORE). */
export function probeFdinfoEvents(): Missing {
  const signals = BigUint64Array.of(0x200n);
  const inotify = syscall(SYS.inotify_init1, EV.IN_CLOEXEC);
  const watch = () => syscall(SYS.inotify_add_watch, inotify, Buffer.from('/proc\0'), EV.IN_ALL_EVENTS);
  return (
    probeFdinfo('eventfd', syscall(SYS.eventfd2, 13, EV.EFD_CLOEXEC), /^eventfd-count:\s*d$/m) ??
    probeFdinfo('signalfd', syscall(SYS.signalfd4, -1, signals, 8, EV.SFD_CLOEXEC), /^sigmask:\s*0*200$/m) ??
    probeFdinfo('inotify', inotify, /^inotify wd:1 ino:/m, watch) ??
    withEpoll((epoll, target) =>
      probeFdinfo('epoll', syscall(SYS.dup, epoll), new RegExp(`^tfd:\\s*${target} events:`, 'm')),
    )
  );
}

/** Real and effective user of a descriptor's owner (3.6, CONFIG_CHECKPOINT_RESTORE). */
export function probeOwnerUids(): Missing {
  const fd = open('/proc/self/comm', O_RDONLY);
  const result = fcntl(fd, F_GETOWNER_UIDS, new Uint32Array(2));
  close(fd);
  return failed('fcntl(F_GETOWNER_UIDS)', result);
}

/** A locked pty cannot be opened: the slave side says EIO. */
export function probePty(): Missing {
  const master = tryOpen('/dev/ptmx', O_RDWR | O_NOCTTY);
  if (master < 0) return failed('/dev/ptmx', master);
  const number = new Int32Array(1);
  const missing =
    failed('ioctl(TIOCSPTLCK)', ioctl(master, TIOCSPTLCK, Int32Array.of(1))) ??
    failed('ioctl(TIOCGPTN)', ioctl(master, TIOCGPTN, number));
  const slave = missing === undefined ? tryOpen(`/dev/pts/${number[0]}`, O_RDWR | O_NOCTTY) : -1;
  if (slave >= 0) close(slave);
  close(master);
  if (missing !== undefined) return missing;
  if (slave >= 0) return 'a locked pty can be opened';
  return slave === -ERRNO.EIO ? undefined : failed('open a locked pty', slave);
}

const SIGUSR1 = 10;

/** Queueing a signal with a kernel's si_code to oneself (3.9, kernel/signal.c do_rt_sigqueueinfo()), in a child. */
export function probeSigqueueinfo(): Missing {
  const child = new Child();
  const { program } = child;
  const pid = program.call(SYS.getpid);
  // struct siginfo: si_signo, si_errno, si_code. All signals are blocked in the child.
  const siginfo = new Uint8Array(128);
  new DataView(siginfo.buffer).setInt32(8, 1, true);
  child.step('rt_sigqueueinfo', SYS.rt_sigqueueinfo, pid, SIGUSR1, program.data(siginfo));
  return child.run();
}

/** openat2(2) (5.6): a kernel that has it looks at the arguments. */
export function probeOpenat2(): Missing {
  const result = syscall(SYS.openat2, -1, 0, 0, 0);
  return result === -ERRNO.ENOSYS ? failed('openat2', result) : undefined;
}
