/**
 * The flags of all mappings of a task, and where its page tables are, by a BPF iterator (bpf_iter_task_vma, Linux 6.1). smaps shows them too, but walks all
 * page tables and prints twenty counters for each mapping, which takes ten times longer.
 */
import { perRun } from '../base/per-run.ts';
import { BPF_FUNC_seq_write } from './abi/bpf.ts';
import { BpfProgram } from './bpf-assembler.ts';
import { META, ProcessIterator } from './bpf-iterator.ts';
import type { KernelTypes } from './kernel-types.ts';

/** Each mapping has three words of 64 bits: start, end, and vm_flags; in halves, the lower one first. */
export const RECORD_HALVES = 6;
const RECORD_BYTES = 4 * RECORD_HALVES;
/** Before the first of them is where the page tables are. */
const TOP_TABLE_BYTES = 8;
const ITERATOR = 'bpf_iter_task_vma';

/** It is loaded once, and stays. */
const mappingsIterator = perRun(
  () => ProcessIterator.tryLoad(ITERATOR, iteratorCode),
  (iterator) => iterator?.[Symbol.dispose](),
);

export interface TaskMappings {
  /** Where the kernel has its top page table. */
  readonly topTable: bigint;
  readonly flags: Uint32Array;
}

/**
 * The mappings of a task in order of address, without [vsyscall]; once more for each thread that has descriptors of its own.
 * Undefined where the kernel does not have the iterator, or does not allow it to us.
 */
export function tryReadMappingFlags(pid: number): TaskMappings | undefined {
  const bytes = mappingsIterator()?.tryRead(pid);
  if (bytes === undefined || bytes.length % RECORD_BYTES !== TOP_TABLE_BYTES) return undefined;
  const [topTable = 0n] = new BigUint64Array(bytes.buffer, bytes.byteOffset, 1);
  return {
    topTable,
    flags: new Uint32Array(bytes.buffer, bytes.byteOffset + TOP_TABLE_BYTES, (bytes.length - TOP_TABLE_BYTES) / 4),
  };
}

/** Where struct bpf_iter__task_vma has the mapping. */
const VMA = 16;

/** Writes what is wanted of the mapping; at the end it is called without one. */
function iteratorCode(types: KernelTypes): Uint8Array {
  const p = new BpfProgram();
  const [r1, r2, r3, r6, r7, r8, frame] = [1, 2, 3, 6, 7, 8, 10];
  p.load(r6, r1, VMA);
  p.endIfZero(r6);
  p.load(r8, r1, META.pointer);
  p.load(r7, r8, META.seq);
  p.part(() => {
    p.load(r1, r8, META.number);
    p.endUnless(r1, 0);
    p.load(r2, r6, types.offset('vm_area_struct.vm_mm'));
    p.load(r2, r2, types.offset('mm_struct.pgd'));
    p.store(frame, -TOP_TABLE_BYTES, r2);
    p.move(r1, r7);
    p.stackAddress(r2, -TOP_TABLE_BYTES);
    p.set(r3, TOP_TABLE_BYTES);
    p.call(BPF_FUNC_seq_write);
  });
  (['vm_area_struct.vm_start', 'vm_area_struct.vm_end', 'vm_area_struct.vm_flags'] as const).forEach((member, i) => {
    p.load(r2, r6, types.offset(member));
    p.store(frame, 8 * i - RECORD_BYTES, r2);
  });
  p.move(r1, r7);
  p.stackAddress(r2, -RECORD_BYTES);
  p.set(r3, RECORD_BYTES);
  p.call(BPF_FUNC_seq_write);
  return p.finish();
}
