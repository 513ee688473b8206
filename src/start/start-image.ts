/**
 * The start image: criu's own memory after it was loaded and its code was run, from which each run of criu starts
 * (tools/start-image makes it; ARCHITECTURE.md says how it works).
 */
import { byteString } from '../base/bytes.ts';
import { CriuError } from '../base/errors.ts';
import { type Invocation, invocationOf } from '../base/invocation.ts';
import { CLOSE_RANGE_CLOEXEC, F_DUPFD_CLOEXEC, F_GETFD, O_CLOEXEC, O_RDWR } from '../linux/abi/fcntl.ts';
import { MAP_ANONYMOUS, MAP_FIXED_NOREPLACE, MAP_PRIVATE, PROT_NONE } from '../linux/abi/mman.ts';
import { PR_GET_TID_ADDRESS } from '../linux/abi/prctl.ts';
import { RLIMIT_NOFILE } from '../linux/abi/resource.ts';
import { SIG_UNBLOCK, SIGPWR, SIGSET_BYTES, SIGSTOP } from '../linux/abi/signal.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { addressOf, check, cString, memoryAt, syscall } from '../linux/kernel.ts';
import { close, readFile, tryListNumbers, tryReadFile } from '../linux/syscalls/fs.ts';
import { descriptorLimit, getpid } from '../linux/syscalls/process.ts';
import { parseStat } from '../proc/stat.ts';
import { FIRST_FD } from './layout.ts';

/** What a process says of itself for an image, as far as it cannot be seen from outside. Numbers as text. */
export interface SelfDescription {
  /** Of each signal that is not left to the kernel: its number, then struct sigaction. */
  readonly actions: readonly (readonly string[])[];
  /** stack_t. */
  readonly altStack: readonly string[];
  /** Head and size. */
  readonly robustList: readonly string[];
  /** Where the runtime keeps the id of its main thread. */
  readonly tidAddress: string;
  /** An address in the memory where objects are, if it is known. */
  readonly heap?: number | undefined;
}

const SIGNALS = 64;

/** `heap`: see there. Throws SyscallError. */
export function describeSelf(heap: number | undefined): SelfDescription {
  const actions: string[][] = [];
  const action = new BigUint64Array(4);
  for (let signal = 1; signal <= SIGNALS; signal++) {
    check('rt_sigaction', syscall(SYS.rt_sigaction, signal, 0, action, SIGSET_BYTES));
    if (action[0] !== 0n) actions.push([String(signal), ...Array.from(action, String)]);
  }
  const stack = new BigUint64Array(3);
  check('sigaltstack', syscall(SYS.sigaltstack, 0, stack));
  const robust = new BigUint64Array(2);
  check('get_robust_list', syscall(SYS.get_robust_list, 0, addressOf(robust), addressOf(robust) + 8));
  const tid = new BigUint64Array(1);
  check('prctl', syscall(SYS.prctl, PR_GET_TID_ADDRESS, tid), 'PR_GET_TID_ADDRESS');
  return {
    actions,
    altStack: Array.from(stack, String),
    robustList: Array.from(robust, String),
    tidAddress: String(tid[0]),
    heap,
  };
}

const THREADS_END_MS = 60_000;
/** The allocator's thread, which gives memory back to the kernel. It stays; a process from the image does without. */
const SCAVENGER = 'mi-scavenger\n';

/** The compilers' and the collector's threads end when they have had nothing to do for ten seconds. Throws CriuError. */
export function waitForThreads(): void {
  for (let waited = 0; waited < THREADS_END_MS; waited += 100) {
    const threads = tryListNumbers('/proc/self/task');
    if (typeof threads !== 'number' && threads.filter(isNeeded).length === 1) return;
    Bun.sleepSync(100);
  }
  throw new CriuError({ action: 'no image can be taken: threads of the runtime do not end' });
}

const isNeeded = (tid: number) => tryReadFile(`/proc/self/task/${tid}/comm`) !== SCAVENGER;

/**
 * Stops, for an image to be taken, and returns what criu was called with in a process that started from the image.
 * Undefined in the process that stopped, if it is continued.
 */
export function stopForImage(): Invocation | undefined {
  check('close_range', syscall(SYS.close_range, 3, FIRST_FD - 1, 0));
  if (check('kill', syscall(SYS.kill, getpid(), SIGSTOP)) === 0) return undefined;
  settleIn();
  return readInvocation();
}

/** Does what each start does, so that this code has been run, too. */
export function rehearseStart(): void {
  const heapEnd = settleIn();
  syscall(SYS.munmap, heapEnd, 1);
  readInvocation().variable('HOME');
}

/** What the runtime does when it starts, for its own sake and for what it starts. Returns the end of the heap. */
function settleIn(): number {
  openStandardStreams();
  // Inherited descriptors are ours alone. Kernels before 5.11 can't do it; they are for crit only.
  syscall(SYS.close_range, 3, FD_MAX, CLOSE_RANGE_CLOEXEC);
  raiseDescriptorLimit();
  makeRoomForDescriptors();
  // With it the collector's thread stops the others; a caller may have blocked it.
  check('rt_sigprocmask', syscall(SYS.rt_sigprocmask, SIG_UNBLOCK, signalBit(SIGPWR), 0, SIGSET_BYTES));
  return endHeap();
}

const FD_MAX = 0xffff_ffff;
const signalBit = (signal: number) => BigUint64Array.of(1n << BigInt(signal - 1));

/** Nobody else's file shall get one of these numbers. */
function openStandardStreams(): void {
  for (let fd = 0; fd < 3; fd++) {
    if (syscall(SYS.fcntl, fd, F_GETFD) < 0) syscall(SYS.open, cString('/dev/null'), O_RDWR | O_CLOEXEC);
  }
}

function raiseDescriptorLimit(): void {
  const limit = new BigUint64Array(2);
  check('prlimit64', syscall(SYS.prlimit64, 0, RLIMIT_NOFILE, 0, limit));
  const [soft = 0n, hard = 0n] = limit;
  if (soft === hard) return;
  limit[0] = hard;
  syscall(SYS.prlimit64, 0, RLIMIT_NOFILE, limit, 0);
}

/** Later, when there are threads, the kernel lets all cores pass a quiet point before it takes a bigger table: 10 ms. */
function makeRoomForDescriptors(): void {
  const fd = syscall(SYS.fcntl, 0, F_DUPFD_CLOEXEC, Math.min(DESCRIPTORS, descriptorLimit()) - 1);
  if (fd >= 0) close(fd);
}

const DESCRIPTORS = 4096;

/**
 * The C library believes the end of its heap to be where it was in the image; the kernel has put it somewhere else. So it
 * must never grow: then the library maps memory instead. Where something is mapped already it can't grow either.
 */
function endHeap(): number {
  const end = syscall(SYS.brk, 0);
  syscall(SYS.mmap, end, 1, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  return end;
}

const readInvocation = (): Invocation => invocationOf(readFile('/proc/self/cmdline'), readEnvironment);

/** The file is root's alone when criu has capabilities of its file (fs/proc/base.c, task_dump_owner); the memory is ours. */
function readEnvironment(): string {
  const text = tryReadFile('/proc/self/environ');
  if (typeof text === 'string') return text;
  const { envStart, envEnd } = parseStat(readFile('/proc/self/stat'));
  return byteString(memoryAt(envStart, envEnd - envStart));
}
