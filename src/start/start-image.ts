/**
 * The start image: criu's own memory after it was loaded and its code was run, from which each run of criu starts
 * (tools/start-image makes it; ARCHITECTURE.md says how it works).
 */
import { CriuError } from '../base/errors.ts';
import { type Invocation, invocationOf } from '../base/invocation.ts';
import { O_RDWR } from '../linux/abi/fcntl.ts';
import { SIGSTOP } from '../linux/abi/signal.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { addressOf, check, cString, readWord64, stringAt, syscall } from '../linux/kernel.ts';
import { tryListNumbers, tryReadFile } from '../linux/syscalls/fs.ts';
import { getpid } from '../linux/syscalls/process.ts';
import { FIRST_FD, STACK_WORD } from './layout.ts';

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
}

const SIGNALS = 64;
const SIGSET_BYTES = 8;
const PR_GET_TID_ADDRESS = 40;

/** Throws SyscallError. */
export function describeSelf(): SelfDescription {
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
  openStandardStreams();
  raiseDescriptorLimit();
  return readStack(readWord64(STACK_WORD));
}

/** What the runtime does when it starts: nobody else's file shall get one of these numbers. */
function openStandardStreams(): void {
  for (let fd = 0; fd < 3; fd++) {
    if (syscall(SYS.fcntl, fd, F_GETFD) < 0) syscall(SYS.open, cString('/dev/null'), O_RDWR);
  }
}

const F_GETFD = 1;
const RLIMIT_NOFILE = 7;

/** This too. */
function raiseDescriptorLimit(): void {
  const limit = new BigUint64Array(2);
  check('prlimit64', syscall(SYS.prlimit64, 0, RLIMIT_NOFILE, 0, limit));
  const [soft = 0n, hard = 0n] = limit;
  if (soft === hard) return;
  limit[0] = hard;
  syscall(SYS.prlimit64, 0, RLIMIT_NOFILE, limit, 0);
}

/** argc, argv and envp, as the kernel lays them out (fs/binfmt_elf.c, create_elf_tables). */
function readStack(address: number): Invocation {
  let at = address + 8;
  const strings = () => {
    const texts: string[] = [];
    for (;;) {
      const text = readWord64(at);
      at += 8;
      if (text === 0) return texts;
      texts.push(stringAt(text));
    }
  };
  return invocationOf(strings(), strings());
}
