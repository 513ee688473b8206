/**
 * Syscall user dispatch: PR_SET_SYSCALL_USER_DISPATCH (Linux 5.11), by which system calls from outside of a range raise
 * SIGSYS while a byte of the program says so. Wine and emulators use it.
 *
 * An agent's system calls would be caught too, so the dispatch of a thread is off while an agent runs in it. The tracer
 * can read and set it from outside (man 2 ptrace, since 6.4).
 */
import { CriuError } from '../../base/errors.ts';
import type { SyscallDispatchExt } from '../../image/gen/core.ts';
import { ERRNO } from '../../linux/abi/errno.ts';
import { PR_SYS_DISPATCH_OFF } from '../../linux/abi/prctl.ts';
import {
  PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG,
  PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG,
  PTRACE_SUD_CONFIG,
} from '../../linux/abi/ptrace.ts';
import { check } from '../../linux/kernel.ts';
import { ptrace } from '../../linux/syscalls/process.ts';
import { putU64, u64 } from './words.ts';

/** What a stopped thread has set; undefined when that is off, or when the kernel is older than 6.4. */
export function readSyscallDispatch(tid: number): SyscallDispatchExt | undefined {
  const config = new Uint8Array(PTRACE_SUD_CONFIG.bytes);
  const got = ptrace(PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG, tid, config.length, config);
  if (got === -ERRNO.EIO || got === -ERRNO.EINVAL) return undefined;
  check('ptrace', got, `GET_SYSCALL_USER_DISPATCH_CONFIG, ${tid}`);
  const mode = u64(config, PTRACE_SUD_CONFIG.mode);
  if (mode === BigInt(PR_SYS_DISPATCH_OFF)) return undefined;
  return {
    mode,
    selector: u64(config, PTRACE_SUD_CONFIG.selector),
    offset: u64(config, PTRACE_SUD_CONFIG.offset),
    len: u64(config, PTRACE_SUD_CONFIG.len),
  };
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
