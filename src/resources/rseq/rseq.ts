/**
 * Restartable sequences: a thread registers a struct rseq, in which it names the critical section it is in; when the
 * kernel takes the CPU away inside a section, the thread goes on at the section's abort handler (kernel/rseq.c,
 * man 2 rseq of the rseq library).
 *
 * A stopped thread whose program counter is inside a section has to go on at the abort handler, in the original as in
 * the copy: when the agent runs in the thread, the kernel sees a program counter outside and forgets the section. So
 * `readRseq` must be asked before an agent runs in the thread.
 */
import type { Place, Program, Result, Word } from '../../agent/program.ts';
import { CriuError } from '../../base/errors.ts';
import type { RseqEntry } from '../../image/gen/rseq.ts';
import { ERRNO } from '../../linux/abi/errno.ts';
import { PTRACE_GET_RSEQ_CONFIGURATION, PTRACE_RSEQ_CONFIGURATION } from '../../linux/abi/ptrace.ts';
import { RSEQ, RSEQ_CS } from '../../linux/abi/rseq.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { check } from '../../linux/kernel.ts';
import type { CallTable } from '../../tracee/call-table.ts';
import { readMemory } from '../../tracee/memory.ts';
import { u64 } from '../task/words.ts';

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

/** Where a table of calls (one row for each thread) has its answers. */
export interface RseqColumns {
  readonly got: Result;
  readonly config: Place;
  readonly read: Result;
  readonly area: Place;
}

/** Asks for what a stopped thread has registered: calls of our own, with the words that hold its numbers. */
export function askRseq(row: Program, pid: Word, tid: Word): RseqColumns {
  const config = row.reserve(PTRACE_RSEQ_CONFIGURATION.bytes);
  const area = row.reserve(RSEQ.bytes);
  const [own, theirs] = [row.words(0, RSEQ.bytes), row.words(0, RSEQ.bytes)];
  const got = row.call(SYS.ptrace, PTRACE_GET_RSEQ_CONFIGURATION, tid, PTRACE_RSEQ_CONFIGURATION.bytes, config);
  row.store64(own, area);
  row.store64(theirs, row.wordAt(row.at(config, PTRACE_RSEQ_CONFIGURATION.rseq_abi_pointer)));
  const read = row.call(SYS.process_vm_readv, pid, own, 1, theirs, 1, 0);
  return { got, config, read, area };
}

/**
 * @param instruction program counter of the stopped thread
 * @throws SyscallError when struct rseq can't be read
 */
export function readRseq(
  table: CallTable,
  row: number,
  columns: RseqColumns,
  pid: number,
  instruction: bigint,
): RseqState {
  const got = table.result(row, columns.got);
  if (got === -ERRNO.EIO || got === -ERRNO.EINVAL) return { entry: undefined, abortAddress: undefined };
  check('ptrace', got, 'GET_RSEQ_CONFIGURATION');
  const { view } = table;
  const config = table.at(row, columns.config);
  const pointer = view.getBigUint64(config + PTRACE_RSEQ_CONFIGURATION.rseq_abi_pointer, true);
  const entry = {
    rseq_abi_pointer: pointer,
    rseq_abi_size: view.getUint32(config + PTRACE_RSEQ_CONFIGURATION.rseq_abi_size, true),
    signature: view.getUint32(config + PTRACE_RSEQ_CONFIGURATION.signature, true),
  };
  if (pointer === 0n) return { entry, abortAddress: undefined };
  check('process_vm_readv', table.result(row, columns.read), `task ${pid}, struct rseq at 0x${pointer.toString(16)}`);
  const section = view.getBigUint64(table.at(row, columns.area) + RSEQ.rseq_cs, true);
  if (section === 0n) return { entry, abortAddress: undefined };
  const bytes = readMemory(pid, Number(section), RSEQ_CS.bytes);
  return { entry, abortAddress: abortAddress(instruction, parseCriticalSection(bytes)) };
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
