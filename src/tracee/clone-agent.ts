/**
 * The agent in our own process: clone3 of a child that executes an agent program in our memory.
 *
 * The agent needs no stack and no thread-local storage, so the child may share our whole memory (CLONE_VM) and still do
 * no harm: it starts stubs (CLONE_VFORK, then execveat) and copies memory on another core (a thread that ends by exit).
 */

import { agentCode, OP_BYTES, OP_RESULT } from '../agent/agent-code.ts';
import type { Program, Result } from '../agent/program.ts';
import { once, perRun } from '../base/per-run.ts';
import {
  CLONE_FILES,
  CLONE_FS,
  CLONE_SIGHAND,
  CLONE_SYSVSEM,
  CLONE_THREAD,
  CLONE_VFORK,
  CLONE_VM,
} from '../linux/abi/sched.ts';
import { SIG_SETMASK } from '../linux/abi/signal.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { addressOf, callable, placeCode, syscall } from '../linux/kernel.ts';

/** C function(clone_args, size, program counter, agent): clone3; the child jumps to the agent. */
const THUNK = [
  0x41, 0x57, // push r15
  0x41, 0x56, // push r14
  0x49, 0x89, 0xd7, // mov r15, rdx
  0x49, 0x89, 0xce, // mov r14, rcx
  0xb8, 0xb3, 0x01, 0x00, 0x00, // mov eax, 435 (clone3)
  0x0f, 0x05, // syscall
  0x48, 0x85, 0xc0, // test rax, rax
  0x74, 0x05, // jz child
  0x41, 0x5e, // pop r14
  0x41, 0x5f, // pop r15
  0xc3, // ret
  0x41, 0xff, 0xe6, // child: jmp r14
]; // biome-ignore format: one instruction a line

/** Size of struct clone_args up to cgroup (CLONE_ARGS_SIZE_VER2, include/uapi/linux/sched.h). */
export const CLONE_ARGS_BYTES = 88;

export interface CloneArgs {
  readonly flags: number;
  readonly exitSignal: number;
  /** Address of an array of pid_t, and its length. */
  readonly setTid?: number | bigint;
  readonly setTidCount?: number;
  /** Address of the word that is cleared, and woken as a futex, when the child ends (CLONE_CHILD_CLEARTID). */
  readonly childTid?: number;
  /** The lowest address of its stack, and its length; the caller's stack unless stated. */
  readonly stack?: number;
  readonly stackBytes?: number;
}

/** What a thread shares with the others of its task (nptl does the same). */
export const THREAD_FLAGS = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;

/** struct clone_args as words. */
export function cloneArgs(args: CloneArgs): bigint[] {
  const { flags, exitSignal, setTid = 0, setTidCount = 0, childTid = 0, stack = 0, stackBytes = 0 } = args;
  const words = [flags, 0, childTid, 0, exitSignal, stack, stackBytes, 0, setTid, setTidCount, 0];
  return words.map((word) => BigInt(word));
}

const ALL_SIGNALS = 0xffff_ffff_ffff_ffffn;

const entry = once(() => ({ thunk: callable(placeCode(THUNK)), agent: placeCode(agentCode()) }));

/**
 * Programs that a child in our memory may execute while we run: kept to the end of the run, since nobody may have a
 * reference to them any more.
 */
const inExecution = perRun((): Uint8Array[] => []);

/** A program laid out in our own memory. */
export class OwnProgram {
  readonly #program: Program;
  readonly #block: Uint8Array;
  readonly #view: DataView;

  /** `memory`: where it is laid out, if that matters. */
  constructor(program: Program, memory?: Uint8Array) {
    this.#program = program;
    // The runtime keeps a small array without a buffer of its own in its heap, and copies it when `buffer` is asked for:
    // results would be read from the copy while the child writes to the old place.
    this.#block = memory ?? new Uint8Array(new ArrayBuffer(program.byteLength));
    this.#view = new DataView(this.#block.buffer, this.#block.byteOffset);
    this.#block.set(program.assemble(addressOf(this.#block)));
  }

  get address(): number {
    return addressOf(this.#block);
  }

  /** Address of a place of the program. */
  addressOf(place: { kind: 'place'; offset: number; bytes: number }): number {
    return this.address + this.#program.placeOffset(place);
  }

  /** What is there now. */
  bytes(place: { kind: 'place'; offset: number; bytes: number }): Uint8Array {
    const start = this.#program.placeOffset(place);
    return this.#block.subarray(start, start + place.bytes);
  }

  /** What an op returned. */
  result(of: Result): number {
    return Number(this.#view.getBigInt64(of.op * OP_BYTES + OP_RESULT, true));
  }

  /** The same by the index of the op, for results of 32 bits. */
  resultAt(op: number): number {
    return this.#view.getInt32(op * OP_BYTES + OP_RESULT, true);
  }

  /** Starts a child that executes the program, with all signals blocked. Returns its tid, or −errno. */
  clone(args: CloneArgs): number {
    if ((args.flags & (CLONE_VM | CLONE_VFORK)) === CLONE_VM) inExecution().push(this.#block);
    const words = new BigUint64Array(cloneArgs(args));
    const old = new BigUint64Array(1);
    // No handler of ours may run in the child.
    syscall(SYS.rt_sigprocmask, SIG_SETMASK, BigUint64Array.of(ALL_SIGNALS), old, 8);
    const { thunk, agent } = entry();
    const result = thunk(addressOf(words), CLONE_ARGS_BYTES, this.address, agent, 0, 0, 0);
    syscall(SYS.rt_sigprocmask, SIG_SETMASK, old, 0, 8);
    return Number(result);
  }
}
