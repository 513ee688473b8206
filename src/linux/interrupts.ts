/**
 * Signals that end an operation in good order. JavaScript handlers would run only when nothing synchronous is under way,
 * so the handler is machine code that notes the signal in a word, in whatever thread it arrives; blocking system calls
 * return EINTR, and the operation looks at the word at its resting points.
 */
import { ERRNO } from './abi/errno.ts';
import { SA_RESTORER, signalName } from './abi/signal.ts';
import { SYS } from './abi/syscall-numbers.ts';
import { addressOf, check, placeCode, syscall } from './kernel.ts';

const noted = new Uint32Array(1);
const SIGSET_BYTES = 8;

/** mov rax, imm64; mov [rax], edi; ret */
function handlerCode(word: number): Uint8Array {
  const code = new Uint8Array([0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0x89, 0x38, 0xc3]);
  new DataView(code.buffer).setBigUint64(2, BigInt(word), true);
  return code;
}

/** mov eax, 15 (rt_sigreturn); syscall */
const RESTORER = [0xb8, 0x0f, 0x00, 0x00, 0x00, 0x0f, 0x05];

let code: { handler: number; restorer: number } | undefined;

/** From now on the signals are noted. Throws SyscallError. */
export function noteSignals(signals: readonly number[]): void {
  code ??= { handler: placeCode(handlerCode(addressOf(noted))), restorer: placeCode(RESTORER) };
  noted[0] = 0;
  // struct sigaction of the kernel: handler, flags, restorer, mask (arch/x86/include/uapi/asm/signal.h).
  const action = BigUint64Array.of(BigInt(code.handler), BigInt(SA_RESTORER), BigInt(code.restorer), 0n);
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

/** The signal that was noted last; 0 when there was none. */
export function notedSignal(): number {
  return noted[0] ?? 0;
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
