/**
 * All mappings of a task, by a BPF iterator (bpf_iter_task_vma, Linux 6.1): where they are, their flags, and whether the
 * kernel has more to say of them. maps and smaps show it as text, which takes as long for maps, and ten times longer for
 * smaps, for which all page tables are walked. What more there is tells `queryMapping`. And where its page tables are.
 */
import { byteString } from '../base/bytes.ts';
import { perRun } from '../base/per-run.ts';
import { BPF_FUNC_seq_write } from './abi/bpf.ts';
import { PROCMAP_QUERY, PROCMAP_QUERY_STRUCT } from './abi/pagemap.ts';
import { BpfProgram } from './bpf-assembler.ts';
import { META, ProcessIterator } from './bpf-iterator.ts';
import { addressOf } from './kernel.ts';
import type { KernelTypes } from './kernel-types.ts';
import { ioctl } from './syscalls/fs.ts';

/**
 * The record of a mapping, in halves of words, the lower one first. Those of the kernel's structures behind it are the same
 * exactly when the structures are: `file`, and `more` for its name or else its kind.
 */
export const MAPPING_RECORD = { halves: 10, start: 0, end: 2, flags: 4, file: 6, more: 8 } as const;
const RECORD_BYTES = 4 * MAPPING_RECORD.halves;
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
  readonly records: Uint32Array;
}

/**
 * The mappings of a task in order of address, without [vsyscall]; once more for each thread that has descriptors of its own.
 * Undefined where the kernel does not have the iterator, or does not allow it to us.
 */
export function tryReadTaskMappings(pid: number): TaskMappings | undefined {
  const bytes = mappingsIterator()?.tryRead(pid);
  if (bytes === undefined || bytes.length % RECORD_BYTES !== TOP_TABLE_BYTES) return undefined;
  const { buffer, byteOffset, length } = bytes;
  const [topTable = 0n] = new BigUint64Array(buffer, byteOffset, 1);
  return { topTable, records: new Uint32Array(buffer, byteOffset + TOP_TABLE_BYTES, (length - TOP_TABLE_BYTES) / 4) };
}

/** Where struct bpf_iter__task_vma has the mapping. */
const VMA = 16;

/** Writes what is wanted of the mapping; at the end it is called without one. */
function iteratorCode(types: KernelTypes): Uint8Array {
  const p = new BpfProgram();
  const [r1, r2, r3, r6, r7, r8, frame] = [1, 2, 3, 6, 7, 8, 10];
  const put = (half: number) => p.store(frame, 4 * half - RECORD_BYTES, r2);
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
  for (const member of ['start', 'end', 'flags', 'file'] as const) {
    p.load(r2, r6, types.offset(`vm_area_struct.vm_${member}`));
    put(MAPPING_RECORD[member]);
  }
  p.load(r2, r6, types.offset('vm_area_struct.vm_ops'));
  if (types.has('vm_area_struct.anon_name')) {
    p.move(r3, r2);
    p.load(r2, r6, types.offset('vm_area_struct.anon_name'));
    p.moveIfZero(r2, r3);
  }
  put(MAPPING_RECORD.more);
  p.move(r1, r7);
  p.stackAddress(r2, -RECORD_BYTES);
  p.set(r3, RECORD_BYTES);
  p.call(BPF_FUNC_seq_write);
  return p.finish();
}

/** What maps says of a mapping besides its addresses and access. */
export interface MappingFacts {
  readonly offset: number;
  readonly major: number;
  readonly minor: number;
  readonly inode: number;
  /** Nothing in it is escaped. */
  readonly name: string;
}

const NAME_BYTES = 4096;
const query = new Uint32Array(new ArrayBuffer(PROCMAP_QUERY_STRUCT.bytes));
const name = new Uint8Array(new ArrayBuffer(NAME_BYTES));
const WORD = 2 ** 32;
const at = (field: Exclude<keyof typeof PROCMAP_QUERY_STRUCT, 'bytes'>) => PROCMAP_QUERY_STRUCT[field] / 4;
const wordAt = (field: number) => (query[field] ?? 0) + (query[field + 1] ?? 0) * WORD;

/**
 * Of the mapping that begins at an address. Undefined when there is none, its name is too long, or the kernel is older than
 * 6.11. `mapsFd`: of /proc/PID/maps.
 */
export function tryQueryMapping(mapsFd: number, start: number): MappingFacts | undefined {
  const nameAddress = addressOf(name);
  query.fill(0);
  query[at('size')] = PROCMAP_QUERY_STRUCT.bytes;
  query[at('query_addr')] = start;
  query[at('query_addr') + 1] = start / WORD;
  query[at('vma_name_addr')] = nameAddress;
  query[at('vma_name_addr') + 1] = nameAddress / WORD;
  query[at('vma_name_size')] = NAME_BYTES;
  if (ioctl(mapsFd, PROCMAP_QUERY, query) < 0 || wordAt(at('vma_start')) !== start) return undefined;
  const nameBytes = query[at('vma_name_size')] ?? 0;
  return {
    offset: wordAt(at('vma_offset')),
    major: query[at('dev_major')] ?? 0,
    minor: query[at('dev_minor')] ?? 0,
    inode: wordAt(at('inode')),
    // With the byte that ends it.
    name: nameBytes === 0 ? '' : byteString(name.subarray(0, nameBytes - 1)),
  };
}
