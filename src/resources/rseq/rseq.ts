/**
 * Restartable sequences: a thread registers a struct rseq, in which it names the critical section it is in; when the
 * kernel takes the CPU away inside a section, the thread goes on at the section's abort handler (kernel/rseq.c,
 * man 2 rseq of the rseq library).
 *
 * A stopped thread whose program counter is inside a section has to go on at the abort handler, in the original as in
 * the copy: when the agent runs in the thread, the kernel sees a program counter outside and forgets the section. So
 * `readRseq` must be asked before an agent runs in the thread.
 */
import type { Program } from '../../agent/program.ts';
import { CriuError } from '../../base/errors.ts';
import type { RseqEntry } from '../../image/gen/rseq.ts';
import { ERRNO } from '../../linux/abi/errno.ts';
import { PTRACE_GET_RSEQ_CONFIGURATION, PTRACE_RSEQ_CONFIGURATION } from '../../linux/abi/ptrace.ts';
import { RSEQ, RSEQ_CS } from '../../linux/abi/rseq.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { check } from '../../linux/kernel.ts';
import { ptrace } from '../../linux/syscalls/process.ts';
import { readMemory } from '../../tracee/memory.ts';
import { u32, u64 } from '../task/words.ts';

/** What a stopped thread has registered. */
export interface RseqState {
  /** Undefined when the kernel can't tell (before 5.13, or without CONFIG_RSEQ). */
  readonly entry: RseqEntry | undefined;
  /** Where the thread has to go on, when it is inside a critical section. */
  readonly abortAddress: bigint | undefined;
}

/** A critical section: struct rseq_cs. */
export interface CriticalSection {
  readonly start: bigint;
  readonly bytes: bigint;
  readonly abort: bigint;
}

/**
 * @param instruction program counter of the stopped thread
 * @throws SyscallError when struct rseq can't be read
 */
export function readRseq(pid: number, tid: number, instruction: bigint): RseqState {
  const config = new Uint8Array(PTRACE_RSEQ_CONFIGURATION.bytes);
  const got = ptrace(PTRACE_GET_RSEQ_CONFIGURATION, tid, config.length, config);
  if (got === -ERRNO.EIO || got === -ERRNO.EINVAL) return { entry: undefined, abortAddress: undefined };
  check('ptrace', got, `GET_RSEQ_CONFIGURATION, ${tid}`);
  const pointer = u64(config, PTRACE_RSEQ_CONFIGURATION.rseq_abi_pointer);
  const entry = {
    rseq_abi_pointer: pointer,
    rseq_abi_size: u32(config, PTRACE_RSEQ_CONFIGURATION.rseq_abi_size),
    signature: u32(config, PTRACE_RSEQ_CONFIGURATION.signature),
  };
  return { entry, abortAddress: pointer === 0n ? undefined : readAbortAddress(pid, pointer, instruction) };
}

function readAbortAddress(pid: number, pointer: bigint, instruction: bigint): bigint | undefined {
  const section = u64(readMemory(pid, Number(pointer), RSEQ.bytes), RSEQ.rseq_cs);
  if (section === 0n) return undefined;
  return abortAddress(instruction, parseCriticalSection(readMemory(pid, Number(section), RSEQ_CS.bytes)));
}

/** Parses struct rseq_cs. */
export function parseCriticalSection(bytes: Uint8Array): CriticalSection {
  return {
    start: u64(bytes, RSEQ_CS.start_ip),
    bytes: u64(bytes, RSEQ_CS.post_commit_offset),
    abort: u64(bytes, RSEQ_CS.abort_ip),
  };
}

/** Where a thread at `instruction` has to go on; undefined when it is outside of the section and may go on as it is. */
export function abortAddress(instruction: bigint, section: CriticalSection): bigint | undefined {
  // As the kernel compares: without sign, so an instruction before the start is outside too.
  return BigInt.asUintN(64, instruction - section.start) < section.bytes ? section.abort : undefined;
}

/**
 * Registers struct rseq; the memory must be there already.
 * @throws CriuError when the image has a critical section that must not be aborted (possible before Linux 6.0 only)
 */
export function planRseq(program: Program, entry: RseqEntry | undefined): void {
  if (entry === undefined || entry.rseq_abi_pointer === 0n) return;
  if (entry.rseq_cs_pointer !== undefined && entry.rseq_cs_pointer !== 0n) {
    throw new CriuError({
      object: 'core image',
      action: 'has a thread in a restartable sequence that must not be restarted',
      why: 'Linux supports RSEQ_CS_FLAG_NO_RESTART_ON_SIGNAL no longer since 6.0',
    });
  }
  const { rseq_abi_pointer, rseq_abi_size, signature } = entry;
  program.must('register restartable sequences', SYS.rseq, rseq_abi_pointer, rseq_abi_size, 0, signature);
}
