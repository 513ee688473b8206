/**
 * Signals that end an operation in good order. JavaScript handlers would run only when nothing synchronous is under way,
 * so the handler is machine code that notes the signal in a word, in whatever thread it arrives; blocking system calls
 * return EINTR, and the operation looks at the word at its resting points. Who waits for long polls an eventfd too.
 */
import { ERRNO } from './abi/errno.ts';
import { SA_RESTORER, signalName } from './abi/signal.ts';
import { SYS } from './abi/syscall-numbers.ts';
import { addressOf, check, placeCode, syscall } from './kernel.ts';

/** Bit n is signal n. The handler writes to it, so it must never move: it has a buffer of its own. */
const noted = new Uint32Array(new ArrayBuffer(8));
const SIGSET_BYTES = 8;

/** mov rax, word; lock bts [rax], rdi; ret */
const NOTE = [0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xf0, 0x48, 0x0f, 0xab, 0x38, 0xc3];
/** The same, and then: mov eax, 1 (write); mov edi, fd; mov rsi, one; mov edx, 8; syscall; ret */
const NOTE_AND_WAKE = [
  0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xf0, 0x48, 0x0f, 0xab, 0x38, 0xb8, 1, 0, 0, 0, 0xbf, 0, 0, 0, 0, 0x48, 0xbe, 0,
  0, 0, 0, 0, 0, 0, 0, 0xba, 8, 0, 0, 0, 0x0f, 0x05, 0xc3,
];
const WORD_AT = 2;
const FD_AT = 21;
const ONE_AT = 27;

function handlerCode(wakeFd: number | undefined): Uint8Array {
  const code = new Uint8Array(wakeFd === undefined ? NOTE : NOTE_AND_WAKE);
  const view = new DataView(code.buffer);
  view.setBigUint64(WORD_AT, BigInt(addressOf(noted)), true);
  if (wakeFd === undefined) return code;
  view.setInt32(FD_AT, wakeFd, true);
  view.setBigUint64(ONE_AT, BigInt(addressOf(ONE)), true);
  return code;
}

/** What is written to an eventfd. */
const ONE = new BigUint64Array(new ArrayBuffer(8));

/** mov eax, 15 (rt_sigreturn); syscall */
const RESTORER = [0xb8, 0x0f, 0x00, 0x00, 0x00, 0x0f, 0x05];

let restorer: number | undefined;

/**
 * From now on the signals are noted. With `wakeFd`, an eventfd, whoever polls it is woken, whichever thread a signal comes
 * to, and also when it comes just before. Throws SyscallError.
 */
export function noteSignals(signals: readonly number[], wakeFd?: number): void {
  restorer ??= placeCode(RESTORER);
  noted.fill(0);
  ONE[0] = 1n;
  const handler = placeCode(handlerCode(wakeFd));
  // struct sigaction of the kernel: handler, flags, restorer, mask (arch/x86/include/uapi/asm/signal.h).
  const action = BigUint64Array.of(BigInt(handler), BigInt(SA_RESTORER), BigInt(restorer), 0n);
  for (const signal of signals) {
    const old = new BigUint64Array(4);
    setAction(signal, action, old);
    if (!before.has(signal)) before.set(signal, old);
  }
}

/** What the signals did before they were noted. */
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

/** Throws Interrupted when a signal was noted: to be called at points where the operation can be given up. */
export function stopIfInterrupted(): void {
  const signal = notedSignal();
  if (signal !== 0) throw new Interrupted(signal);
}

/** True when a result says that a signal came in between; throws Interrupted when it was one of those. */
export function isInterrupted(result: number): boolean {
  if (result !== -ERRNO.EINTR) return false;
  stopIfInterrupted();
  return true;
}

const ITIMER_REAL = 0;

/** Sends SIGALRM in `seconds` seconds; 0 takes that back. */
export function setAlarm(seconds: number): void {
  const value = BigInt64Array.of(0n, 0n, BigInt(seconds), 0n);
  check('setitimer', syscall(SYS.setitimer, ITIMER_REAL, value, 0));
}
