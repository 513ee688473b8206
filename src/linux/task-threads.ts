/**
 * All threads of a process, read from the kernel in one go: a BPF program writes a record for each
 * (Documentation/bpf/bpf_iterators.rst). A record has what nearly every thread has of its own, and the thread's likeness:
 * what else of its task_struct a dump depends on. Nobody here knows what that means. But two threads that stand still and
 * have the same likeness give the same answers to all questions, so one of them is asked.
 */
import { byteStringAt, TWO_32 } from '../base/bytes.ts';
import { CriuError } from '../base/errors.ts';
import { BPF_FUNC_probe_read_kernel, BPF_FUNC_seq_write } from './abi/bpf.ts';
import { SCHED_DEADLINE } from './abi/sched.ts';
import { BpfProgram } from './bpf-assembler.ts';
import { META, ProcessIterator } from './bpf-iterator.ts';
import type { KernelTypes, MemberPath } from './kernel-types.ts';
import { tryCreateArray } from './syscalls/bpf-program.ts';
import { close } from './syscalls/fs.ts';

/** The function of the kernel that stands for the iterator. */
const ITERATOR = 'bpf_iter_task';
/** Where struct bpf_iter__task has the thread. */
const TASK = 8;

/** Where a record has what, in bytes; words of 64 bits but for those that say otherwise. */
const RECORD = {
  /** The address of the task_struct. */
  task: 0,
  /** Of the first of its children; when it has none, of this pointer. */
  children: 8,
  pending: 16,
  robustList: 24,
  compatRobustList: 32,
  tidAddress: 40,
  stack: 48,
  stackBytes: 56,
  /** u32. */
  stackFlags: 64,
  /** In the first pid namespace, u32. */
  tid: 68,
  /** 16 bytes. */
  name: 72,
  likeness: 88,
} as const;

/** The same in words of 32 bits; of what has 64, that is the lower half. */
const AT = {
  task: RECORD.task / 4,
  children: RECORD.children / 4,
  pending: RECORD.pending / 4,
  tid: RECORD.tid / 4,
  likeness: RECORD.likeness / 4,
} as const;

/** What threads have of their own, in words of 32 bits from where `start` says. */
export const THREAD_AT = {
  robustList: RECORD.robustList / 4,
  compatRobustList: RECORD.compatRobustList / 4,
  tidAddress: RECORD.tidAddress / 4,
  stack: RECORD.stack / 4,
  stackBytes: RECORD.stackBytes / 4,
  stackFlags: RECORD.stackFlags / 4,
} as const;

/** These are not copied as they are. */
const RESET_ON_FORK = 'task_struct.sched_reset_on_fork';
const IO_CONTEXT = 'task_struct.io_context';
/** It is as long as the kernel was configured for. */
const CPUS = 'task_struct.cpus_mask';
/** TASK_COMM_LEN. */
const NAME_BYTES = 16;

/** A member, or a member of a member, and where it goes. */
type Part = readonly [at: number, bytes: number, outer: MemberPath, inner?: MemberPath];

const OWN: readonly Part[] = [
  [RECORD.children, 8, 'task_struct.children', 'list_head.next'],
  [RECORD.pending, 8, 'task_struct.pending', 'sigpending.signal'],
  [RECORD.robustList, 8, 'task_struct.robust_list'],
  [RECORD.compatRobustList, 8, 'task_struct.compat_robust_list'],
  [RECORD.tidAddress, 8, 'task_struct.clear_child_tid'],
  [RECORD.stack, 8, 'task_struct.sas_ss_sp'],
  [RECORD.stackBytes, 8, 'task_struct.sas_ss_size'],
  [RECORD.stackFlags, 4, 'task_struct.sas_ss_flags'],
  [RECORD.tid, 4, 'task_struct.pid'],
  [RECORD.name, NAME_BYTES, 'task_struct.comm'],
];

/** The policy of scheduling is the first word. Pointers are the same when what they point to is. */
const LIKENESS: readonly (readonly [bytes: 4 | 8, outer: MemberPath, inner?: MemberPath])[] = [
  [4, 'task_struct.policy'],
  [4, 'task_struct.static_prio'],
  [4, 'task_struct.rt_priority'],
  [4, 'task_struct.personality'],
  [4, 'task_struct.pdeath_signal'],
  [4, 'task_struct.seccomp', 'seccomp.mode'],
  // The policy for machine checks is in it.
  [4, 'task_struct.flags'],
  [4, RESET_ON_FORK],
  [8, 'task_struct.seccomp', 'seccomp.filter'],
  // Traps of rdtsc and cpuid, and the control of speculation; in the other word no_new_privs too.
  [8, 'task_struct.thread_info', 'thread_info.flags'],
  [8, 'task_struct.atomic_flags'],
  [8, 'task_struct.timer_slack_ns'],
  [8, 'task_struct.cred'],
  [8, 'task_struct.real_cred'],
  [8, 'task_struct.cgroups'],
  [8, 'task_struct.nsproxy'],
  [8, IO_CONTEXT],
];

/** The mask of CPUs has less. */
const RECORD_BYTES_MAX = 4096;

export class TaskThreads {
  readonly #iterator: ProcessIterator;
  readonly #recordBytes: number;
  /** Where a thread has its list of children, in its task_struct. */
  readonly #childrenAt: number;

  private constructor(iterator: ProcessIterator, recordBytes: number, childrenAt: number) {
    this.#iterator = iterator;
    this.#recordBytes = recordBytes;
    this.#childrenAt = childrenAt;
  }

  /** Undefined where it is not allowed, or the kernel does not tell its types. */
  static tryOpen(): TaskThreads | undefined {
    const map = tryCreateArray(1, RECORD_BYTES_MAX);
    if (map < 0) return undefined;
    let [recordBytes, childrenAt] = [0, 0];
    const iterator = ProcessIterator.tryLoad(ITERATOR, (types) => {
      const code = new RecordCode(types, map);
      recordBytes = code.bytes;
      childrenAt = types.offset('task_struct.children');
      return code.finish();
    });
    close(map);
    return iterator && new TaskThreads(iterator, recordBytes, childrenAt);
  }

  [Symbol.dispose](): void {
    this.#iterator[Symbol.dispose]();
  }

  /** The threads of process `pid`; `count` is about how many. Undefined when it is gone. */
  tryRead(pid: number, count: number): ThreadRecords | undefined {
    const bytes = this.#iterator.tryRead(pid, count * this.#recordBytes);
    if (bytes === undefined || bytes.length % this.#recordBytes !== 0) return undefined;
    return new ThreadRecords(bytes, this.#recordBytes, this.#childrenAt);
  }
}

export class ThreadRecords {
  readonly #bytes: Uint8Array;
  readonly words: Uint32Array;
  readonly #recordWords: number;
  readonly #childrenAt: number;
  /** Where the record of each thread begins, in words. */
  readonly #starts = new Map<number, number>();

  constructor(bytes: Uint8Array, recordBytes: number, childrenAt: number) {
    this.#bytes = bytes;
    this.words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
    this.#recordWords = recordBytes / 4;
    this.#childrenAt = childrenAt;
    for (let at = 0; at < this.words.length; at += this.#recordWords)
      this.#starts.set(this.words[at + AT.tid] ?? 0, at);
  }

  /** Where the record of a thread begins. */
  start(tid: number): number | undefined {
    return this.#starts.get(tid);
  }

  hasChildren(start: number): boolean {
    const { words } = this;
    const [low, high] = [words[start + AT.task] ?? 0, words[start + AT.task + 1] ?? 0];
    const own = low + this.#childrenAt;
    const carry = own >= TWO_32 ? 1 : 0;
    return words[start + AT.children] !== own >>> 0 || words[start + AT.children + 1] !== (high + carry) >>> 0;
  }

  /** What most threads do not have would be of their own, too: pending signals, and a deadline for the scheduler. */
  isPlain(start: number): boolean {
    const { words } = this;
    const hasPending = words[start + AT.pending] !== 0 || words[start + AT.pending + 1] !== 0;
    return !hasPending && words[start + AT.likeness] !== SCHED_DEADLINE;
  }

  areAlike(a: number, b: number): boolean {
    const { words } = this;
    for (let at = AT.likeness; at < this.#recordWords; at++) if (words[a + at] !== words[b + at]) return false;
    return true;
  }

  hasSameName(a: number, b: number): boolean {
    const { words } = this;
    for (let at = RECORD.name / 4; at < AT.likeness; at++) if (words[a + at] !== words[b + at]) return false;
    return true;
  }

  /** A byte string. */
  name(start: number): string {
    const at = 4 * start + RECORD.name;
    let end = at;
    while (end < at + NAME_BYTES && this.#bytes[end] !== 0) end++;
    return byteStringAt(this.#bytes, at, end);
  }
}

/* Registers: the first are for arguments and results of helpers, the others are kept. */
const r0 = 0;
const r1 = 1;
const r2 = 2;
const r3 = 3;
const context = 6;
const task = 7;
const record = 8;

/** The program that writes a record, which is put together in the value of a map. Throws CriuError. */
class RecordCode {
  readonly #p = new BpfProgram();
  readonly #types: KernelTypes;
  /** Of a record. */
  readonly bytes: number;

  constructor(types: KernelTypes, map: number) {
    this.#types = types;
    this.#begin(map);
    for (const [at, bytes, outer, inner] of OWN) this.#copy(at, bytes, outer, inner);
    let at: number = RECORD.likeness;
    for (const [bytes, outer, inner] of LIKENESS) {
      if (outer === RESET_ON_FORK) this.#copyBit(at, outer);
      else this.#copy(at, bytes, outer, inner);
      if (outer === IO_CONTEXT) this.#followIoContext(at);
      at += bytes;
    }
    const mask = types.end(CPUS) - types.offset(CPUS);
    if (at + mask > RECORD_BYTES_MAX) throw tooLong(mask);
    this.#copy(at, mask, CPUS);
    this.bytes = (at + mask + 7) & -8;
  }

  /** Adds the end, which writes the record. */
  finish(): Uint8Array {
    const p = this.#p;
    p.load(r1, context, META.pointer);
    p.load(r1, r1, META.seq);
    p.move(r2, record);
    p.set(r3, this.bytes);
    p.call(BPF_FUNC_seq_write);
    return p.finish();
  }

  #begin(map: number): void {
    const p = this.#p;
    p.move(context, r1);
    p.load(task, context, TASK);
    p.endIfZero(task);
    p.findFirstValue(map, -4);
    p.move(record, r0);
    p.store(record, RECORD.task, task);
  }

  #copy(to: number, bytes: number, outer: MemberPath, inner?: MemberPath): void {
    const offset = this.#types.offset(outer) + (inner === undefined ? 0 : this.#types.offset(inner));
    this.#p.move(r3, task);
    this.#copyFrom(to, bytes, offset);
  }

  /** From where r3 points to. */
  #copyFrom(to: number, bytes: number, offset: number): void {
    const p = this.#p;
    p.move(r1, record);
    p.add(r1, to);
    p.set(r2, bytes);
    p.add(r3, offset);
    p.call(BPF_FUNC_probe_read_kernel);
  }

  /** Copies a word with nothing in it but a bit field of one bit. */
  #copyBit(to: number, member: MemberPath): void {
    const p = this.#p;
    const bit = this.#types.offset(member) * 8;
    p.move(r3, task);
    this.#copyFrom(to, 4, (bit >>> 5) * 4);
    p.load(r1, record, to, 4);
    p.and(r1, 1 << (bit & 31));
    p.store(record, to, r1, 4);
  }

  /** The priority takes the place of the pointer. Who has none of its own has 0 (block/ioprio.c); it is read so too. */
  #followIoContext(at: number): void {
    const p = this.#p;
    p.load(r3, record, at);
    p.set(r1, 0);
    p.store(record, at, r1);
    this.#copyFrom(at, 2, this.#types.offset('io_context.ioprio'));
  }
}

const tooLong = (bytes: number) =>
  new CriuError({ object: 'task_struct', action: 'is not what it should be', why: `${CPUS} has ${bytes} bytes` });
