/**
 * Until when an interrupted sleep goes on. The kernel keeps that in `task_struct.restart_block` only (linux/
 * restart_block.h), which no interface shows, so each thread shows its task_struct (kernel-memory.ts).
 *
 * Where the restart block is in a task_struct depends on the kernel. It is found in our own: nanosleep(2) puts the address
 * that is to get the rest of the time there at once, even for a sleep that is not interrupted, and does not look at it.
 *
 * Where the kernel or its policy does not allow it, nobody knows the rest.
 */
import type { Program } from '../../agent/program.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { syscall } from '../../linux/kernel.ts';
import { COPY_MAX, KernelMemory } from '../../linux/kernel-memory.ts';

/** From the union in struct restart_block on: as much as a `RestartBlock` has. */
const BLOCK_BYTES = 40;
/** restart_block.nanosleep.rmtp, counted from the union on. */
const RMTP_OFFSET = 8;

/** The union of a restart block. Which of its structures is in use must be known. */
export type RestartBlock = DataView;

export class RestartBlocks {
  readonly #memory: KernelMemory;
  #offset = 0;
  #asked = 1;

  private constructor(memory: KernelMemory) {
    this.#memory = memory;
  }

  /** For `count` threads. Undefined where restart blocks can't be read. */
  static tryOpen(count: number): RestartBlocks | undefined {
    const memory = KernelMemory.tryOpen(count);
    if (memory === undefined) return undefined;
    const blocks = new RestartBlocks(memory);
    if (blocks.#findOffset()) return blocks;
    blocks[Symbol.dispose]();
    return undefined;
  }

  /** Has a thread show its restart block: it can be read by the number that is returned when the program has run. */
  ask(program: Program): number {
    const index = this.#asked++;
    program.call(SYS.getpid, ...this.#memory.showTask(index));
    return index;
  }

  read(index: number): RestartBlock | undefined {
    const task = this.#memory.shown(index)?.bytes;
    return task === undefined ? undefined : new DataView(task.buffer, task.byteOffset + this.#offset, BLOCK_BYTES);
  }

  /** Finds the union in our own task_struct. False when it is not clear where it is. */
  #findOffset(): boolean {
    // An address that no memory of a program has: it is kept, not used.
    const mark = this.#memory.secret | (1n << 63n);
    syscall(SYS.nanosleep, new BigInt64Array([0n, 1n]), mark);
    const task = this.#memory.ownTask()?.bytes;
    const found: number[] = [];
    for (let at = RMTP_OFFSET; task !== undefined && at <= COPY_MAX - BLOCK_BYTES; at += 8) {
      if (task.getBigUint64(at, true) === mark) found.push(at);
    }
    this.#offset = (found[0] ?? 0) - RMTP_OFFSET;
    return found.length === 1;
  }

  [Symbol.dispose](): void {
    this.#memory[Symbol.dispose]();
  }
}
