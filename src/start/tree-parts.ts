/** What the roots of trees for the warm-up do before they sleep: programs of the agent that make objects of all kinds. */
import type { Program } from '../agent/program.ts';
import { bytesOf } from '../base/bytes.ts';
import { EPOLL_CTL_ADD } from '../linux/abi/event.ts';
import {
  AT_FDCWD,
  O_APPEND,
  O_CLOEXEC,
  O_CREAT,
  O_DIRECTORY,
  O_NONBLOCK,
  O_RDWR,
  O_WRONLY,
} from '../linux/abi/fcntl.ts';
import { FUTEX_WAIT } from '../linux/abi/futex.ts';
import { IPV6_ADD_MEMBERSHIP, SOL_IPV6 } from '../linux/abi/inet.ts';
import {
  MADV_DONTDUMP,
  MADV_HUGEPAGE,
  MAP_ANONYMOUS,
  MAP_FIXED_NOREPLACE,
  MAP_NORESERVE,
  MAP_PRIVATE,
  MAP_SHARED,
  PROT_NONE,
  PROT_READ,
  PROT_WRITE,
} from '../linux/abi/mman.ts';
import { PR_SET_NAME } from '../linux/abi/prctl.ts';
import { RSEQ, RSEQ_SIG } from '../linux/abi/rseq.ts';
import { SA_RESTORER, SIG_SETMASK, SIGSET_BYTES, SIGUSR1, SIGUSR2 } from '../linux/abi/signal.ts';
import { AF_INET, AF_INET6, AF_UNIX, SO_REUSEADDR, SOCK_DGRAM, SOCK_STREAM, SOL_SOCKET } from '../linux/abi/socket.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { CLOCK_MONOTONIC } from '../linux/abi/time.ts';
import { addChild, addThread, FIRST_IDLE_FD } from '../tracee/idle.ts';

const PAGE = 4096;
/**
 * Far away from all that the process and the agent have. The lower halves of these addresses are above 2^31 as often as
 * below, as everywhere: code for words that have always been below is left when one is not.
 */
const AREA = 0x10_7f80_0000;
/** For mappings that are one of a kind, and for a few threads. */
const SINGLES = 0x20_e000_0000;
const THREADS = 0x21_c000_0000;
const AREA_FLAGS = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE;
const READ_WRITE = PROT_READ | PROT_WRITE;

/** Anonymous memory. */
function addArea(p: Program, bytes: number, at = AREA): void {
  p.must('map memory', SYS.mmap, at, bytes, READ_WRITE, AREA_FLAGS, -1, 0);
}

export function addMemory(p: Program, bytes: number): void {
  addArea(p, bytes);
  p.must('fill memory', SYS.getrandom, AREA, bytes, 0);
}

export function addSparseMemory(p: Program, pages: number): void {
  const STEP = 512 * PAGE;
  addArea(p, pages * STEP);
  for (let i = 0; i < pages; i++) p.store64(AREA + i * STEP, i + 1);
}

/** Neighbours differ in their protection. */
export function addMappings(p: Program, count: number): void {
  addArea(p, count * PAGE);
  for (let i = 0; i < count; i += 2) p.store64(AREA + i * PAGE, i + 1);
  for (let i = 1; i < count; i += 2) p.must('protect memory', SYS.mprotect, AREA + i * PAGE, PAGE, PROT_READ);
}

/** Each with a position of its own; every hundredth has the same name. */
export function addFiles(p: Program, folder: string, count: number): void {
  for (let i = 0; i < count; i++) {
    const path = p.string(`${folder}/file-${i % 100}`);
    const fd = p.must('open a file', SYS.openat, AT_FDCWD, path, O_RDWR | O_CREAT, 0o600);
    p.call(SYS.lseek, fd, i, 0);
  }
}

export function addPipes(p: Program, count: number): void {
  const bytes = p.data(new Uint8Array(PAGE).fill(1));
  for (let i = 0; i < count; i++) {
    p.must('make a pipe', SYS.pipe2, p.scratch, 0);
    p.must('write to a pipe', SYS.write, FIRST_IDLE_FD + 2 * i + 1, bytes, PAGE);
  }
}

/** One whose reader has gone, and one whose writer has. Nothing has been opened before. */
export function addHalfPipes(p: Program): void {
  const bytes = p.data(Uint8Array.of(1));
  p.must('make a pipe', SYS.pipe2, p.scratch, O_CLOEXEC);
  p.must('make a pipe', SYS.pipe2, p.scratch, 0);
  p.must('write to a pipe', SYS.write, FIRST_IDLE_FD + 3, bytes, 1);
  p.must('close its reader', SYS.close, FIRST_IDLE_FD);
  p.must('close its writer', SYS.close, FIRST_IDLE_FD + 3);
}

export function addUnixPairs(p: Program, count: number): void {
  for (let i = 0; i < count; i++) {
    p.must('make sockets', SYS.socketpair, AF_UNIX, SOCK_STREAM, 0, p.scratch);
    addMessage(p, FIRST_IDLE_FD + 2 * i + 1, i);
  }
}

function addMessage(p: Program, fd: number, i: number): void {
  const text = bytesOf(`message ${i}`);
  p.must('send', SYS.sendto, fd, p.data(text), text.length, 0, 0, 0);
}

const SOCKADDR_IN_BYTES = 16;
/** A port of 127.0.0.1 that the kernel chooses. */
const LOOPBACK = Uint8Array.of(AF_INET, 0, 0, 0, 127, 0, 0, 1, ...new Uint8Array(8));
const SOCKADDR_IN6_BYTES = 28;
/** The same of ::1. */
const LOOPBACK6 = Uint8Array.of(AF_INET6, ...new Uint8Array(22), 1, 0, 0, 0, 0);
/** struct ipv6_mreq: a group of the loopback device, which is number 1. */
const GROUP6 = Uint8Array.of(0xff, 2, ...new Uint8Array(13), 0xfb, 1, 0, 0, 0);

/** Connections over the loopback device, and who listens for them. */
export function addConnections(p: Program, count: number): void {
  const address = p.data(LOOPBACK);
  const bytes = p.words(SOCKADDR_IN_BYTES);
  const listener = p.must('make a TCP socket', SYS.socket, AF_INET, SOCK_STREAM, 0);
  p.must('bind it', SYS.bind, listener, address, SOCKADDR_IN_BYTES);
  p.must('listen', SYS.listen, listener, count);
  p.must('ask for the port', SYS.getsockname, listener, address, bytes);
  for (let i = 0; i < count; i++) {
    const near = p.must('make a TCP socket', SYS.socket, AF_INET, SOCK_STREAM, 0);
    p.must('connect', SYS.connect, near, address, SOCKADDR_IN_BYTES);
    p.must('accept', SYS.accept4, listener, 0, 0, 0);
    addMessage(p, FIRST_IDLE_FD + 1 + 2 * i, i);
  }
}

/** As the C library makes them: each with a stack, struct rseq and a list of futexes. `wait`: what one does then. */
export function addThreads(p: Program, count: number, at = AREA, wait: (index: number) => void = () => {}): void {
  const ROOM = 4 * PAGE;
  addArea(p, count * ROOM, at);
  for (let i = 0; i < count; i++) {
    const stack = at + i * ROOM;
    addThread(p, { stack, stackBytes: ROOM - PAGE }, () => {
      const own = stack + ROOM - PAGE;
      p.must('register struct rseq', SYS.rseq, own, RSEQ.bytes, 0, RSEQ_SIG);
      p.must('register robust futexes', SYS.set_robust_list, own + 2 * RSEQ.bytes, 24);
      wait(i);
    });
  }
}

/** Threads in the system calls in which most threads are; some of them are alike. */
function addWaitingThreads(p: Program): void {
  const futex = () => p.call(SYS.futex, p.words(0), FUTEX_WAIT, 0, 0);
  const calls = [
    futex,
    futex,
    futex,
    futex,
    () => p.call(SYS.nanosleep, p.words(1_000_000, 0), 0),
    () => p.call(SYS.poll, 0, 0, -1),
    () => p.call(SYS.poll, 0, 0, 1_000_000_000),
  ];
  // Blocked: none, all, SIGPIPE, all real-time signals, the lowest one.
  const masks = [0, 0, 0, 0xffff_ffff_ffff_ffffn, 0x1000, 0xffff_ffff_0000_0000n, 1];
  addThreads(p, calls.length, THREADS, (index) => {
    if (index > 1) p.call(SYS.prctl, PR_SET_NAME, p.string(`waiting ${index}`));
    p.call(SYS.rt_sigprocmask, SIG_SETMASK, p.words(masks[index] ?? 0), 0, SIGSET_BYTES);
    calls[index]?.();
  });
}

export function addChildren(p: Program, count: number): void {
  for (let i = 0; i < count; i++) addChild(p);
}

/** A descriptor, mapping, timer or thread of most kinds that a program has. */
export function addOneOfEach(p: Program, folder: string): void {
  addFilesAndMappings(p, folder);
  addEventFiles(p);
  addSockets(p);
  addSignals(p);
  addWaitingThreads(p);
}

function addFilesAndMappings(p: Program, folder: string): void {
  const path = p.string(`${folder}/file`);
  const file = p.must('open a file', SYS.openat, AT_FDCWD, path, O_RDWR | O_CREAT, 0o600);
  p.must('size it', SYS.ftruncate, file, 4 * PAGE);
  p.must('open it again', SYS.openat, AT_FDCWD, path, O_RDWR | O_APPEND | O_CLOEXEC, 0);
  p.must('open a log', SYS.openat, AT_FDCWD, path, O_WRONLY | O_APPEND | O_CLOEXEC, 0);
  p.must('open a folder', SYS.openat, AT_FDCWD, p.string(folder), O_DIRECTORY | O_CLOEXEC, 0);
  p.must('map it', SYS.mmap, SINGLES, PAGE, READ_WRITE, MAP_PRIVATE | MAP_FIXED_NOREPLACE, file, 0);
  p.must('map it', SYS.mmap, SINGLES + 2 * PAGE, PAGE, READ_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, file, 0);
  const shared = MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
  p.must('map shared memory', SYS.mmap, SINGLES + 4 * PAGE, 4 * PAGE, READ_WRITE, shared, -1, 0);
  p.store64(SINGLES + 5 * PAGE, 1);
  p.store64(SINGLES, 1);
  // As an allocator leaves it: pages that are used, between others, with guards.
  const heap = SINGLES + 16 * PAGE;
  addArea(p, 64 * PAGE, heap);
  for (const page of [1, 2, 5, 20, 21, 40, 63]) p.store64(heap + page * PAGE, page);
  p.must('protect memory', SYS.mprotect, heap, PAGE, PROT_NONE);
  p.must('protect memory', SYS.mprotect, heap + 5 * PAGE, PAGE, PROT_READ);
  p.must('protect memory', SYS.mprotect, heap + 30 * PAGE, 8 * PAGE, PROT_NONE);
  p.must('advise', SYS.madvise, heap + 40 * PAGE, 8 * PAGE, MADV_HUGEPAGE);
  for (const page of [50, 52, 54, 56]) p.must('advise', SYS.madvise, heap + page * PAGE, PAGE, MADV_DONTDUMP);
}

function addEventFiles(p: Program): void {
  p.must('make an eventfd', SYS.eventfd2, 1, O_CLOEXEC);
  p.must('make an eventfd', SYS.eventfd2, 0, O_NONBLOCK);
  const timer = p.must('make a timerfd', SYS.timerfd_create, CLOCK_MONOTONIC, 0);
  p.must('set it', SYS.timerfd_settime, timer, 0, p.words(0, 0, 1_000_000, 0), 0);
  p.must('make a signalfd', SYS.signalfd4, -1, p.words(0), 8, 0);
  p.must('make an inotify', SYS.inotify_init1, 0);
  const epoll = p.must('make an epoll', SYS.epoll_create1, O_CLOEXEC);
  const pipe = FIRST_IDLE_FD - 2;
  p.must('watch a pipe', SYS.epoll_ctl, epoll, EPOLL_CTL_ADD, pipe, p.words(1, 0));
  p.must('watch a timer', SYS.epoll_ctl, epoll, EPOLL_CTL_ADD, timer, p.words(1, 0));
}

function addSockets(p: Program): void {
  p.must('make a UNIX socket', SYS.socket, AF_UNIX, SOCK_DGRAM, 0);
  const server = p.must('make a UNIX socket', SYS.socket, AF_UNIX, SOCK_STREAM | O_CLOEXEC, 0);
  // The kernel chooses a name.
  p.must('bind it', SYS.bind, server, p.words(AF_UNIX), 2);
  p.must('listen', SYS.listen, server, 1);
  p.must('make a pair of sockets', SYS.socketpair, AF_UNIX, SOCK_STREAM, 0, p.scratch);
  p.must('make a UDP socket', SYS.socket, AF_INET, SOCK_DGRAM, 0);
  const tcp = p.must('make a TCP socket', SYS.socket, AF_INET, SOCK_STREAM | O_CLOEXEC | O_NONBLOCK, 0);
  p.must('share its port', SYS.setsockopt, tcp, SOL_SOCKET, SO_REUSEADDR, p.int(1), 4);
  p.must('bind it', SYS.bind, tcp, p.data(LOOPBACK), SOCKADDR_IN_BYTES);
  p.must('listen', SYS.listen, tcp, 1);
  // Where there is no IPv6 these fail, and nothing is lost.
  const tcp6 = p.call(SYS.socket, AF_INET6, SOCK_STREAM | O_CLOEXEC, 0);
  p.call(SYS.bind, tcp6, p.data(LOOPBACK6), SOCKADDR_IN6_BYTES);
  p.call(SYS.listen, tcp6, 1);
  const udp6 = p.call(SYS.socket, AF_INET6, SOCK_DGRAM | O_CLOEXEC, 0);
  p.call(SYS.setsockopt, udp6, SOL_IPV6, IPV6_ADD_MEMBERSHIP, p.data(GROUP6), GROUP6.length);
}

function addSignals(p: Program): void {
  p.must('ignore a signal', SYS.rt_sigaction, SIGUSR1, p.words(1, 0, 0, 0), 0, SIGSET_BYTES);
  const [handler, restorer] = [AREA, AREA];
  const action = p.words(handler, SA_RESTORER, restorer, 0);
  p.must('handle a signal', SYS.rt_sigaction, SIGUSR2, action, 0, SIGSET_BYTES);
  p.must('set a timer', SYS.setitimer, 0, p.words(0, 0, 1_000_000, 0), 0);
  p.must('make a timer', SYS.timer_create, CLOCK_MONOTONIC, 0, p.scratch);
}
