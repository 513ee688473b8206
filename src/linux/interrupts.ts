/**
 * Signals that end an operation in good order. JavaScript handlers would run only when nothing synchronous is under way,
 * so the handler is machine code that notes the signal in a word, in whatever thread it arrives; blocking system calls
 * return EINTR, and the operation looks at the word at its resting points. Who waits for long polls an eventfd too.
 */
import { once } from '../base/per-run.ts';
import { ERRNO } from './abi/errno.ts';
import { SA_RESTORER, signalName } from './abi/signal.ts';
import { SYS } from './abi/syscall-numbers.ts';
import { addressOf, check, placeCode, syscall } from './kernel.ts';

/**
 * What the handler looks at, so it must never move: it has a buffer of its own. Bit n of the first eight bytes is signal n;
 * then the descriptor to be written to, or −1; then what is held (below); then what is written to an eventfd.
 */
const block = new Uint32Array(new ArrayBuffer(24));
const noted = block.subarray(0, 2);
const WAKE_FD = 2;
const HELD = 3;
const ONE = 4;
const SIGSET_BYTES = 8;

/** The address of the block stands at byte 2. */
const HANDLER = [
  0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, // mov rax, block
  0xf0, 0x48, 0x0f, 0xab, 0x38, // lock bts [rax], rdi
  0x8b, 0x78, 0x08, // mov edi, [rax+8]
  0x85, 0xff, // test edi, edi
  0x78, 0x10, // js: to the end
  0x48, 0x8d, 0x70, 0x10, // lea rsi, [rax+16]
  0xba, 8, 0, 0, 0, // mov edx, 8
  0xb8, 1, 0, 0, 0, // mov eax, 1 (write)
  0x0f, 0x05, // syscall
  0xc3, // ret
]; // biome-ignore format: one instruction a line

/** mov eax, 15 (rt_sigreturn); syscall */
const RESTORER = [0xb8, 0x0f, 0x00, 0x00, 0x00, 0x0f, 0x05];

const code = once(() => {
  const handler = new Uint8Array(HANDLER);
  new DataView(handler.buffer).setBigUint64(2, BigInt(addressOf(block)), true);
  return { handler: BigInt(placeCode(handler)), restorer: BigInt(placeCode(RESTORER)) };
});

/**
 * From now on the signals are noted. With `wakeFd`, an eventfd, whoever polls it is woken, whichever thread a signal comes
 * to, and also when it comes just before. Throws SyscallError.
 */
export function noteSignals(signals: readonly number[], wakeFd = -1): void {
  const { handler, restorer } = code();
  noted.fill(0);
  block[WAKE_FD] = wakeFd;
  block[HELD] = 0;
  block[ONE] = 1;
  // struct sigaction of the kernel: handler, flags, restorer, mask (arch/x86/include/uapi/asm/signal.h).
  const action = BigUint64Array.of(handler, BigInt(SA_RESTORER), restorer, 0n);
  for (const signal of signals) {
    const old = new BigUint64Array(4);
    setAction(signal, action, old);
    if (!before.has(signal)) before.set(signal, old);
  }
}

/** What the signals did before they were noted; each run takes its own out. */
const before = new Map<number, BigUint64Array>();

/** The signals have the effect again that they had before. */
export function forgetSignals(signals: readonly number[]): void {
  for (const signal of signals) {
    const old = before.get(signal);
    if (old !== undefined) setAction(signal, old, 0);
    before.delete(signal);
  }
}

function setAction(signal: number, action: BigUint64Array, old: BigUint64Array | number): void {
  check('rt_sigaction', syscall(SYS.rt_sigaction, signal, action, old, SIGSET_BYTES), signalName(signal));
}

const WAITS = 1;
const ALL = 2;

/** Blocking system calls are not given up any more, as when programs run in tasks; only resting points are. */
export function holdWaits(): void {
  block[HELD] = WAITS;
}

/** Nothing is given up any more: what comes now puts things in order, and must be done in full. */
export function holdSignals(): void {
  block[HELD] = ALL;
}

/** Whether a signal was noted. */
export function isNoted(signal: number): boolean {
  return ((noted[signal >> 5] ?? 0) & (1 << (signal & 31))) !== 0;
}

/** The signal that was noted, the lowest of several; 0 when there was none. */
function notedSignal(): number {
  if (noted[0] === 0 && noted[1] === 0) return 0;
  let signal = 1;
  while (!isNoted(signal)) signal++;
  return signal;
}

/** Thrown out of a blocking system call when a signal was noted. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';
  readonly signal: number;

  constructor(signal: number) {
    super(`interrupted by ${signalName(signal)}`);
    this.signal = signal;
  }
}

/**
 * Throws Interrupted when a signal was noted: to be called at points where the operation can be given up. It does so once:
 * what runs then puts things in order.
 */
export function stopIfInterrupted(): void {
  const signal = block[HELD] === ALL ? 0 : notedSignal();
  if (signal === 0) return;
  holdSignals();
  throw new Interrupted(signal);
}

/** True when a result says that a signal came in between; throws Interrupted when it was one of those. */
export function isInterrupted(result: number): boolean {
  if (result !== -ERRNO.EINTR) return false;
  if (block[HELD] === 0) stopIfInterrupted();
  return true;
}

const ITIMER_REAL = 0;

/** Sends SIGALRM in `seconds` seconds; 0 takes that back. */
export function setAlarm(seconds: number): void {
  const value = BigInt64Array.of(0n, 0n, BigInt(seconds), 0n);
  check('setitimer', syscall(SYS.setitimer, ITIMER_REAL, value, 0));
}
