/**
 * Reads memory of the kernel, for what no interface shows: a small BPF program at the tracepoint of system calls. When a
 * thread makes getpid(2) with a secret number, it copies from the address that is given, or from the thread's own
 * task_struct, into an array. What is not there, or must not be read, gives an error and does no harm.
 *
 * Where the kernel or its policy does not allow it (CAP_BPF and CAP_PERFMON are needed, and no lockdown for
 * confidentiality), nobody can look.
 */

import { CriuError } from '../base/errors.ts';
import { BPF_FUNC_get_current_task, BPF_FUNC_map_lookup_elem, BPF_FUNC_probe_read_kernel } from './abi/bpf.ts';
import { SYS } from './abi/syscall-numbers.ts';
import { BpfProgram } from './bpf-assembler.ts';
import { syscall } from './kernel.ts';
import { tryAttachTracepoint, tryCreateArray, tryLoadTracepointProgram, tryLookup } from './syscalls/bpf-program.ts';
import { close } from './syscalls/fs.ts';
import { randomBytes } from './syscalls/random.ts';

/** The most that is copied at once. */
export const COPY_MAX = 8 * 1024;
/** What an element of the array has before the bytes: from where they are, and 0 or −errno. */
const HEADER_BYTES = 16;
/** struct pt_regs, from r10 on: the arguments 4, 3, 2 and 1 are in it at 0, 40, 48 and 56. */
const PT_REGS_R10 = 56;
const ARGUMENT_BYTES = 64;

/** Arguments of the getpid(2) that shows something. */
export type ShowArguments = readonly [secret: bigint, index: number, address: number, bytes: number];

export interface KernelBytes {
  /** Where they are in the kernel's memory. */
  readonly address: bigint;
  readonly bytes: DataView;
}

export class KernelMemory {
  readonly #secret: bigint;
  readonly #map: number;
  /** Descriptors that are to be closed, here or by somebody else. */
  readonly fds: readonly number[];

  private constructor(secret: bigint, map: number, fds: readonly number[]) {
    this.#secret = secret;
    this.#map = map;
    this.fds = fds;
  }

  /** With room for what `others` threads are to show. Undefined where it is not allowed. */
  static tryOpen(others: number): KernelMemory | undefined {
    const word = new BigUint64Array(1);
    randomBytes(word);
    const [secret = 0n] = word;
    const map = tryCreateArray(1 + others, HEADER_BYTES + COPY_MAX);
    const program = map < 0 ? map : tryLoadTracepointProgram(probeCode(secret, map));
    const link = program < 0 ? program : tryAttachTracepoint(program, 'sys_enter');
    const memory = new KernelMemory(
      secret,
      map,
      [link, program, map].filter((fd) => fd >= 0),
    );
    if (link >= 0) return memory;
    memory[Symbol.dispose]();
    return undefined;
  }

  /** A number that nobody else knows. */
  get secret(): bigint {
    return this.#secret;
  }

  /** With these arguments of getpid(2) a thread shows the begin of its task_struct; `index` from 1 on. */
  showTask(index: number): ShowArguments {
    return [this.#secret, index, 0, COPY_MAX];
  }

  /** What a thread has shown; undefined if it has not. */
  shown(index: number): KernelBytes | undefined {
    const element = new Uint8Array(HEADER_BYTES + COPY_MAX);
    if (tryLookup(this.#map, index, element) < 0) return undefined;
    const view = new DataView(element.buffer);
    const address = view.getBigUint64(0, true);
    if (address === 0n || view.getBigInt64(8, true) !== 0n) return undefined;
    return { address, bytes: new DataView(element.buffer, HEADER_BYTES) };
  }

  /** The begin of our own task_struct. */
  ownTask(): KernelBytes | undefined {
    syscall(SYS.getpid, ...this.showTask(0));
    return this.shown(0);
  }

  /** At most COPY_MAX bytes. Undefined for memory that is not there. */
  tryRead(address: bigint, bytes: number): DataView | undefined {
    syscall(SYS.getpid, this.#secret, 0, address, bytes);
    const shown = this.shown(0);
    return shown?.address === address ? new DataView(shown.bytes.buffer, HEADER_BYTES, bytes) : undefined;
  }

  /** The same, for memory that must be there. Throws CriuError. */
  read(address: bigint, bytes: number): DataView {
    const view = this.tryRead(address, bytes);
    if (view !== undefined) return view;
    const object = `memory of the kernel at ${address.toString(16)}`;
    throw new CriuError({ object, action: 'cannot be read', why: 'it is not where it should be', remedy: 'try again' });
  }

  [Symbol.dispose](): void {
    for (const fd of this.fds) close(fd);
  }
}

/** getpid(secret, index, address, bytes) copies to the array; address 0: the caller's task_struct. */
function probeCode(secret: bigint, map: number): Uint8Array {
  const p = new BpfProgram();
  const [r0, r1, r2, r3, r6, r7, r8] = [0, 1, 2, 3, 6, 7, 8];
  // The tracepoint has two arguments: the address of the registers, and the number of the call.
  p.load(r6, r1, 0);
  p.load(r7, r1, 8);
  p.endUnless(r7, SYS.getpid);
  p.stackAddress(r1, -ARGUMENT_BYTES);
  p.set(r2, ARGUMENT_BYTES);
  p.move(r3, r6);
  p.add(r3, PT_REGS_R10);
  p.call(BPF_FUNC_probe_read_kernel);
  p.loadStack(r1, -8);
  p.set64(r2, secret);
  p.endUnlessSame(r1, r2);
  p.loadStack(r1, -16);
  p.store32(-ARGUMENT_BYTES - 8, r1);
  p.setMap(r1, map);
  p.stackAddress(r2, -ARGUMENT_BYTES - 8);
  p.call(BPF_FUNC_map_lookup_elem);
  p.endIfZero(r0);
  p.move(r6, r0);
  p.loadStack(r8, -ARGUMENT_BYTES);
  p.endIfAbove(r8, COPY_MAX);
  p.call(BPF_FUNC_get_current_task);
  p.loadStack(r7, -24);
  p.moveIfZero(r7, r0);
  p.store(r6, 0, r7);
  p.move(r1, r6);
  p.add(r1, HEADER_BYTES);
  p.move(r2, r8);
  p.move(r3, r7);
  p.call(BPF_FUNC_probe_read_kernel);
  p.store(r6, 8, r0);
  return p.finish();
}
