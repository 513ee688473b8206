/**
 * Syscall user dispatch: PR_SET_SYSCALL_USER_DISPATCH (Linux 5.11), by which system calls from outside of a range raise
 * SIGSYS while a byte of the program says so. Wine and emulators use it.
 *
 * An agent's system calls would be caught too, so the dispatch of a thread is off while an agent runs in it. The tracer
 * can read and set it from outside (man 2 ptrace, since 6.4).
 */
import type { Place, Program, Result, Word } from '../../agent/program.ts';
import { CriuError } from '../../base/errors.ts';
import type { SyscallDispatchExt } from '../../image/gen/core.ts';
import { ERRNO } from '../../linux/abi/errno.ts';
import { PR_SYS_DISPATCH_OFF } from '../../linux/abi/prctl.ts';
import {
  PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG,
  PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG,
  PTRACE_SUD_CONFIG,
} from '../../linux/abi/ptrace.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { check } from '../../linux/kernel.ts';
import { ptrace } from '../../linux/syscalls/process.ts';
import type { CallTable } from '../../tracee/call-table.ts';
import { putU64 } from './words.ts';

/** Where a table of calls (one row for each thread) has its answers. */
export interface DispatchColumns {
  readonly got: Result;
  readonly config: Place;
}

/** Asks for what a stopped thread has set: a call of our own, with the word that holds its number. */
export function askSyscallDispatch(row: Program, tid: Word): DispatchColumns {
  const config = row.reserve(PTRACE_SUD_CONFIG.bytes);
  const got = row.call(SYS.ptrace, PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG, tid, PTRACE_SUD_CONFIG.bytes, config);
  return { got, config };
}

/** What it is; undefined when that is off, or when the kernel is older than 6.4. */
export function readSyscallDispatch(
  table: CallTable,
  row: number,
  columns: DispatchColumns,
): SyscallDispatchExt | undefined {
  const got = table.result(row, columns.got);
  if (got === -ERRNO.EIO || got === -ERRNO.EINVAL) return undefined;
  check('ptrace', got, 'GET_SYSCALL_USER_DISPATCH_CONFIG');
  const config = table.at(row, columns.config);
  const { view } = table;
  if (view.getUint32(config + PTRACE_SUD_CONFIG.mode, true) === PR_SYS_DISPATCH_OFF) return undefined;
  const field = (name: 'mode' | 'selector' | 'offset' | 'len') =>
    view.getBigUint64(config + PTRACE_SUD_CONFIG[name], true);
  return { mode: field('mode'), selector: field('selector'), offset: field('offset'), len: field('len') };
}

/** Sets it in a stopped thread; undefined turns it off. */
export function writeSyscallDispatch(tid: number, entry: SyscallDispatchExt | undefined): void {
  const config = new Uint8Array(PTRACE_SUD_CONFIG.bytes);
  putU64(config, PTRACE_SUD_CONFIG.mode, entry?.mode ?? PR_SYS_DISPATCH_OFF);
  putU64(config, PTRACE_SUD_CONFIG.selector, entry?.selector ?? 0);
  putU64(config, PTRACE_SUD_CONFIG.offset, entry?.offset ?? 0);
  putU64(config, PTRACE_SUD_CONFIG.len, entry?.len ?? 0);
  const got = ptrace(PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG, tid, config.length, config);
  if (got === -ERRNO.EIO && entry !== undefined) {
    throw new CriuError({
      object: `thread ${tid}`,
      action: 'cannot have its syscall user dispatch restored',
      why: 'the kernel is older than 6.4',
    });
  }
  check('ptrace', got, `SET_SYSCALL_USER_DISPATCH_CONFIG, ${tid}`);
}
