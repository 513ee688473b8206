/**
 * Seccomp: man 2 seccomp. A thread is in strict mode, or has a chain of filters; each filter is a classic BPF program.
 * Chains are shared between threads and inherited by children, and can only grow.
 *
 * The image keeps all filters of a tree in one list. A thread names the oldest filter of its chain, and `prev` of a
 * filter is the next newer one: the order in which they have to be installed.
 *
 * When all threads of a process have equal chains, only the leader has it in the image, with
 * SECCOMP_FILTER_FLAG_TSYNC: installed that way the threads share one chain again, and later TSYNC calls of the program
 * go on working (as criu/seccomp.c does it; the kernel doesn't tell what is shared).
 *
 * Lost: SECCOMP_FILTER_FLAG_SPEC_ALLOW, which the kernel doesn't tell. Refused: filters that hand system calls to a
 * supervisor (SECCOMP_RET_USER_NOTIF), since the supervisor's descriptor can't be made again for an old filter.
 */
import { CriuError } from '../../base/errors.ts';
import { SeccompMode, type ThreadCoreEntry } from '../../image/gen/core.ts';
import type { SeccompEntry, SeccompFilter } from '../../image/gen/seccomp.ts';
import { ERRNO } from '../../linux/abi/errno.ts';
import { PTRACE_SECCOMP_GET_FILTER, PTRACE_SECCOMP_GET_METADATA, SECCOMP_METADATA } from '../../linux/abi/ptrace.ts';
import {
  SECCOMP_FILTER_FLAG_TSYNC,
  SECCOMP_MODE_FILTER,
  SECCOMP_MODE_STRICT,
  SECCOMP_RET_USER_NOTIF,
  SOCK_FILTER_BYTES,
} from '../../linux/abi/seccomp.ts';
import { check } from '../../linux/kernel.ts';
import { ptrace } from '../../linux/syscalls/process.ts';
import { putU64, u32, u64 } from '../task/words.ts';

/** One filter as the kernel has it. */
export interface InstalledFilter {
  /** struct sock_filter, 8 bytes each. */
  readonly code: Uint8Array;
  /** SECCOMP_FILTER_FLAG_LOG or 0. */
  readonly flags: number;
}

/** State of one thread. */
export interface ThreadSeccomp {
  readonly mode: number;
  /** The oldest first. */
  readonly filters: readonly InstalledFilter[];
}

/** Reads the filters of a stopped thread. `mode` is the Seccomp line of /proc/PID/status. */
export function readSeccomp(tid: number, mode: number): ThreadSeccomp {
  const filters: InstalledFilter[] = [];
  if (mode !== SECCOMP_MODE_FILTER) return { mode, filters };
  for (;;) {
    const code = readFilter(tid, filters.length);
    if (code === undefined) return { mode, filters };
    if (notifiesSupervisor(code)) throw supervised(tid);
    filters.push({ code, flags: readFlags(tid, filters.length) });
  }
}

/** Filter number `index`, the oldest is 0; undefined when there are no more. */
function readFilter(tid: number, index: number): Uint8Array | undefined {
  const length = ptrace(PTRACE_SECCOMP_GET_FILTER, tid, index, 0);
  if (length === -ERRNO.ENOENT) return undefined;
  if (length === -ERRNO.EACCES) {
    throw new CriuError({
      object: `thread ${tid}`,
      action: 'cannot read its seccomp filters (ptrace: EACCES)',
      why: 'that needs CAP_SYS_ADMIN, and that criu itself has no seccomp filter',
      remedy: 'run criu as root outside of a container',
    });
  }
  check('ptrace', length, `SECCOMP_GET_FILTER, ${tid}, ${index}`);
  const code = new Uint8Array(length * SOCK_FILTER_BYTES);
  check('ptrace', ptrace(PTRACE_SECCOMP_GET_FILTER, tid, index, code), `SECCOMP_GET_FILTER, ${tid}, ${index}`);
  return code;
}

/** Flags of a filter; 0 before Linux 4.16, which can't tell. */
function readFlags(tid: number, index: number): number {
  const metadata = new Uint8Array(SECCOMP_METADATA.bytes);
  putU64(metadata, SECCOMP_METADATA.filter_off, index);
  const got = ptrace(PTRACE_SECCOMP_GET_METADATA, tid, metadata.length, metadata);
  if (got === -ERRNO.EIO || got === -ERRNO.EINVAL) return 0;
  check('ptrace', got, `SECCOMP_GET_METADATA, ${tid}, ${index}`);
  return Number(u64(metadata, SECCOMP_METADATA.flags));
}

const BPF_RET_K = 0x06;
const ACTION_MASK = 0xffff_0000;

/** Whether a filter can say SECCOMP_RET_USER_NOTIF. */
export function notifiesSupervisor(code: Uint8Array): boolean {
  for (let at = 0; at + SOCK_FILTER_BYTES <= code.length; at += SOCK_FILTER_BYTES) {
    const opcode = u32(code, at) & 0xffff;
    if (opcode === BPF_RET_K && (u32(code, at + 4) & ACTION_MASK) >>> 0 === SECCOMP_RET_USER_NOTIF) return true;
  }
  return false;
}

function supervised(tid: number): CriuError {
  return new CriuError({
    object: `thread ${tid}`,
    action: 'has a seccomp filter that hands system calls to a supervisor (SECCOMP_RET_USER_NOTIF)',
    why: 'the connection with the supervisor cannot be made again',
    remedy: 'run the container without seccomp notifications',
  });
}

type SeccompFields = Pick<ThreadCoreEntry, 'seccomp_mode' | 'seccomp_filter'>;

/** Collects the filters of a tree for seccomp.img. */
export class SeccompFilters {
  readonly #filters: SeccompFilter[] = [];
  readonly #chains = new Map<string, number>();

  /** Adds the threads of a process, the leader first; returns their fields of thread_core_entry. */
  add(threads: readonly ThreadSeccomp[]): SeccompFields[] {
    const [leader, ...others] = threads;
    const isShared = leader?.mode === SECCOMP_MODE_FILTER && others.every((thread) => isSame(thread, leader));
    return threads.map((thread) => {
      if (thread.mode === SECCOMP_MODE_STRICT) return { seccomp_mode: SeccompMode.strict };
      if (thread.mode !== SECCOMP_MODE_FILTER || (isShared && thread !== leader)) return {};
      const extra = isShared ? SECCOMP_FILTER_FLAG_TSYNC : 0;
      return { seccomp_mode: SeccompMode.filter, seccomp_filter: this.#addChain(thread.filters, extra) };
    });
  }

  /** The content of seccomp.img. */
  get entry(): SeccompEntry {
    return { seccomp_filters: this.#filters };
  }

  /** Position of the oldest filter. The newest gets the lowest position, as the list has it in images of CRIU. */
  #addChain(filters: readonly InstalledFilter[], extraFlags: number): number {
    const key = `${extraFlags} ${chainKey(filters)}`;
    let position = this.#chains.get(key);
    if (position === undefined) {
      filters.toReversed().forEach(({ code, flags }, i) => {
        const prev = i === 0 ? {} : { prev: this.#filters.length - 1 };
        this.#filters.push({ filter: code, ...prev, flags: flags | extraFlags });
      });
      position = this.#filters.length - 1;
      this.#chains.set(key, position);
    }
    return position;
  }
}

function isSame(a: ThreadSeccomp, b: ThreadSeccomp): boolean {
  if (a.mode !== b.mode || a.filters.length !== b.filters.length) return false;
  return a.filters.every((filter, i) => Buffer.compare(filter.code, b.filters[i]?.code ?? filter.code) === 0);
}

function chainKey(filters: readonly InstalledFilter[]): string {
  return filters.map(({ code, flags }) => `${flags}:${Buffer.from(code).toString('latin1')}`).join('\n');
}
