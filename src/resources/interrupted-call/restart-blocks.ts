/**
 * Until when an interrupted sleep goes on. The kernel keeps that in `task_struct.restart_block` only (linux/
 * restart_block.h), which no interface shows, so a small BPF program reads it: at the tracepoint of system calls, when a
 * thread makes getpid(2) with a secret number, it copies the thread's restart block into an array.
 *
 * Where the restart block is in a task_struct depends on the kernel. It is found in our own: nanosleep(2) puts the address
 * that is to get the rest of the time there at once, even for a sleep that is not interrupted, and does not look at it.
 *
 * Where the kernel or its policy does not allow it (CAP_BPF and CAP_PERFMON are needed), nobody knows the rest.
 */
import type { Program } from '../../agent/program.ts';
import {
  BPF_FUNC_get_current_task,
  BPF_FUNC_map_lookup_elem,
  BPF_FUNC_probe_read_kernel,
} from '../../linux/abi/bpf.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { BpfProgram } from '../../linux/bpf-assembler.ts';
import { syscall } from '../../linux/kernel.ts';
import {
  tryAttachTracepoint,
  tryCreateArray,
  tryLoadTracepointProgram,
  tryLookup,
} from '../../linux/syscalls/bpf-program.ts';
import { close } from '../../linux/syscalls/fs.ts';

/** So much of a task_struct is copied. The restart block is in its first kilobytes, the whole is larger. */
const TASK_BYTES = 8 * 1024;
/** From the union in struct restart_block on: as much as a `RestartBlock` has. */
const BLOCK_BYTES = 40;
/** restart_block.nanosleep.rmtp, counted from the union on. */
const RMTP_OFFSET = 8;
/** struct pt_regs: rsi and rdi, in this order. */
const PT_REGS_SI = 104;

/** The union of a restart block. Which of its structures is in use must be known. */
export type RestartBlock = DataView;

/** A program at the tracepoint, and the array it fills. */
export class RestartBlocks {
  readonly #secret: bigint;
  readonly #fds: readonly number[];
  readonly #map: number;
  #offset = 0;
  #asked = 1;

  private constructor(secret: bigint, map: number, fds: readonly number[]) {
    this.#secret = secret;
    this.#map = map;
    this.#fds = fds;
  }

  /** For `count` threads. Undefined where restart blocks can't be read. */
  static tryOpen(count: number): RestartBlocks | undefined {
    const [secret = 0n] = crypto.getRandomValues(new BigUint64Array(1));
    const map = tryCreateArray(1 + count, TASK_BYTES);
    const program = map < 0 ? map : tryLoadTracepointProgram(probeCode(secret, map));
    const link = program < 0 ? program : tryAttachTracepoint(program, 'sys_enter');
    const fds = [link, program, map].filter((fd) => fd >= 0);
    const blocks = new RestartBlocks(secret, map, fds);
    if (link >= 0 && blocks.#findOffset()) return blocks;
    blocks[Symbol.dispose]();
    return undefined;
  }

  /** Has a thread show its restart block: it can be read by the number that is returned when the program has run. */
  ask(program: Program): number {
    const index = this.#asked++;
    program.call(SYS.getpid, this.#secret, index);
    return index;
  }

  read(index: number): RestartBlock | undefined {
    const task = this.#readTask(index);
    return task === undefined ? undefined : new DataView(task.buffer, this.#offset, BLOCK_BYTES);
  }

  #readTask(index: number): DataView | undefined {
    const task = new Uint8Array(TASK_BYTES);
    return tryLookup(this.#map, index, task) < 0 ? undefined : new DataView(task.buffer);
  }

  /** Finds the union in our own task_struct. False when it is not clear where it is. */
  #findOffset(): boolean {
    // An address that no memory of a program has: it is kept, not used.
    const mark = this.#secret | (1n << 63n);
    syscall(SYS.nanosleep, new BigInt64Array([0n, 1n]), mark);
    syscall(SYS.getpid, this.#secret, 0);
    const task = this.#readTask(0);
    const found: number[] = [];
    for (let at = RMTP_OFFSET; task !== undefined && at <= TASK_BYTES - BLOCK_BYTES; at += 8) {
      if (task.getBigUint64(at, true) === mark) found.push(at);
    }
    this.#offset = (found[0] ?? 0) - RMTP_OFFSET;
    return found.length === 1;
  }

  [Symbol.dispose](): void {
    for (const fd of this.#fds) close(fd);
  }
}

/** getpid(secret, index) copies the begin of the caller's task_struct to the array. */
function probeCode(secret: bigint, map: number): Uint8Array {
  const p = new BpfProgram();
  const [r0, r1, r2, r3, r6, r7] = [0, 1, 2, 3, 6, 7];
  // The tracepoint has two arguments: the address of the registers, and the number of the call.
  p.load(r6, r1, 0);
  p.load(r7, r1, 8);
  p.endUnless(r7, SYS.getpid);
  p.stackAddress(r1, -16);
  p.set(r2, 16);
  p.move(r3, r6);
  p.add(r3, PT_REGS_SI);
  p.call(BPF_FUNC_probe_read_kernel);
  p.loadStack(r1, -8);
  p.set64(r2, secret);
  p.endUnlessSame(r1, r2);
  p.loadStack(r1, -16);
  p.store32(-24, r1);
  p.setMap(r1, map);
  p.stackAddress(r2, -24);
  p.call(BPF_FUNC_map_lookup_elem);
  p.endIfZero(r0);
  p.move(r6, r0);
  p.call(BPF_FUNC_get_current_task);
  p.move(r3, r0);
  p.move(r1, r6);
  p.set(r2, TASK_BYTES);
  p.call(BPF_FUNC_probe_read_kernel);
  return p.finish();
}
