/**
 * The door to the kernel: raw system calls from TypeScript.
 *
 * A 27-byte thunk in an executable page moves the C calling convention's registers into the kernel's and executes
 * `syscall`. It returns −errno like the kernel does, so no runtime code can overwrite errno on the way (man 2 syscall,
 * "Architecture calling conventions").
 *
 * Everything here is synchronous and belongs to the main thread: ptrace is bound to the thread that attached.
 */
import { CFunction, dlopen, FFIType, type Pointer, ptr, read, toArrayBuffer } from 'bun:ffi';
import { SyscallError } from '../base/errors.ts';
import { errnoName } from './abi/errno.ts';
import { MAP_ANONYMOUS, MAP_PRIVATE, PROT_EXEC, PROT_READ, PROT_WRITE } from './abi/mman.ts';

/** A value that a system call takes: an integer that fits 64 bits, or memory of ours passed by address. */
export type Arg = number | bigint | Uint8Array | BigUint64Array | BigInt64Array | Uint32Array | Int32Array;

type RawCall = (nr: Word, a: Word, b: Word, c: Word, d: Word, e: Word, f: Word) => number | bigint;
type Word = number | bigint;

const PAGE_BYTES = 4096;
const THUNK = [
  0x48, 0x89, 0xf8, // mov rax, rdi    system call number
  0x48, 0x89, 0xf7, // mov rdi, rsi    first argument
  0x48, 0x89, 0xd6, // mov rsi, rdx
  0x48, 0x89, 0xca, // mov rdx, rcx
  0x4d, 0x89, 0xc2, // mov r10, r8
  0x4d, 0x89, 0xc8, // mov r8, r9
  0x4c, 0x8b, 0x4c, 0x24, 0x08, // mov r9, [rsp+8]   the seventh C argument is on the stack
  0x0f, 0x05, // syscall
  0xc3, // ret
]; // biome-ignore format: one instruction a line

/** In the memory of each run. */
let executablePage: { address: number; bytes: Uint8Array; used: number } | undefined;

/** Puts position-independent code into executable memory of our own; returns its address. */
export function placeCode(code: readonly number[] | Uint8Array): number {
  executablePage ??= mapExecutablePage();
  const { address, bytes, used } = executablePage;
  bytes.set(code, used);
  executablePage.used += (code.length + 15) & ~15;
  return address + used;
}

function mapExecutablePage() {
  const libc = dlopen('libc.so.6', {
    mmap: { args: ['u64', 'u64', 'i32', 'i32', 'i32', 'i64'], returns: 'u64' },
  });
  const flags = MAP_PRIVATE | MAP_ANONYMOUS;
  const address = Number(libc.symbols.mmap(0, PAGE_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC, flags, -1, 0));
  return { address, bytes: memoryAt(address, PAGE_BYTES), used: 0 };
}

const WORD = FFIType.i64_fast;

/** Makes a function of C's calling convention at `address` callable with seven words. */
export function callable(address: number): RawCall {
  const args = [WORD, WORD, WORD, WORD, WORD, WORD, WORD];
  return CFunction({ ptr: address as Pointer, args, returns: WORD }) as unknown as RawCall;
}

/** The same in each run, and called too often for `once`. */
let rawCall: RawCall | undefined;

function word(arg: Arg | undefined): Word {
  if (typeof arg === 'number') return arg;
  if (arg === undefined) return 0;
  return typeof arg === 'bigint' ? arg : ptr(arg);
}

/**
 * Does system call `nr`; returns the kernel's answer: the result, or −errno.
 * Results are user addresses, sizes or ids and fit a number.
 */
export function syscall(nr: number, a?: Arg, b?: Arg, c?: Arg, d?: Arg, e?: Arg, f?: Arg): number {
  rawCall ??= callable(placeCode(THUNK));
  // Most arguments are numbers: a call for each of them would cost as much as the system call.
  const answer = rawCall(
    nr,
    typeof a === 'number' ? a : word(a),
    typeof b === 'number' ? b : word(b),
    typeof c === 'number' ? c : word(c),
    d === undefined ? 0 : word(d),
    e === undefined ? 0 : word(e),
    f === undefined ? 0 : word(f),
  );
  return typeof answer === 'number' ? answer : Number(answer);
}

/** Passes a system call's answer through, or throws when it is −errno. `args` is the call for people. */
export function check(name: string, result: number, args = ''): number {
  if (result < 0 && result >= -4095) throw new SyscallError(name, -result, errnoName(-result), args);
  return result;
}

/**
 * The address of memory of ours. The array must stay referenced as long as the address is used; those of the last few calls
 * are, so that one which is only for the next system call needs no care: compiled code forgets what it does not need.
 */
export function addressOf(array: Exclude<Arg, number | bigint>): number {
  recent[next] = array;
  next = (next + 1) % recent.length;
  return ptr(array);
}

const recent: Exclude<Arg, number | bigint>[] = new Array(16).fill(new Uint8Array(1));
/** It goes round: where it begins in each run does not matter. */
let next = 0;

/** A view of memory of ours by address (a mapping we made). It must not be used after munmap. */
export function memoryAt(address: number, bytes: number): Uint8Array {
  return new Uint8Array(toArrayBuffer(address as Pointer, 0, bytes));
}

/** Reads one 32-bit word of our own memory. */
export function readWord32(address: number): number {
  return read.i32(address as Pointer, 0);
}

const NUL = 1;

/** A byte string as the kernel wants it: its bytes and a terminating NUL. Throws when it contains NUL itself. */
export function cString(text: string): Uint8Array {
  if (text.includes('\0')) throw new SyscallError('path', 22, 'EINVAL', 'a NUL byte inside a string');
  const bytes = new Uint8Array(text.length + NUL);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}
