/**
 * The flags of all mappings of a task, by a BPF iterator (bpf_iter_task_vma, Linux 6.1). smaps shows them too, but walks all
 * page tables and prints twenty counters for each mapping, which takes ten times longer.
 */
import { bytesOf } from '../base/bytes.ts';
import { CriuError } from '../base/errors.ts';
import { BPF_FUNC_btf_find_by_name_kind, BPF_FUNC_seq_write, BTF_KIND_FUNC } from './abi/bpf.ts';
import { SYS } from './abi/syscall-numbers.ts';
import { BpfProgram } from './bpf-assembler.ts';
import { addressOf, syscall } from './kernel.ts';
import { KernelTypes } from './kernel-types.ts';
import { tryLoadIteratorProgram, tryOpenIterator, tryRunProgram } from './syscalls/bpf-program.ts';
import { close } from './syscalls/fs.ts';

/** Each mapping has three words of 64 bits: start, end, and vm_flags; in halves, the lower one first. */
export const RECORD_HALVES = 6;
const RECORD_BYTES = 4 * RECORD_HALVES;
/** More than a read gives, which is eight pages. */
const READ_BYTES = 64 * 1024;
const ITERATOR = 'bpf_iter_task_vma';

let program: { readonly fd: number } | undefined;

/**
 * The mappings of a task in order of address, without [vsyscall]; once more for each thread that has descriptors of its own.
 * Undefined where the kernel does not have the iterator,
 * or does not allow it to us.
 */
export function tryReadMappingFlags(pid: number): Uint32Array | undefined {
  // It takes some milliseconds, so it is loaded once, and stays.
  program ??= { fd: tryLoad() };
  if (program.fd < 0) return undefined;
  const fd = tryOpenIterator(program.fd, pid);
  if (fd < 0) return undefined;
  let bytes = new Uint8Array(new ArrayBuffer(2 * READ_BYTES));
  let used = 0;
  let got = 1;
  for (; got > 0; used += Math.max(got, 0)) {
    if (used + READ_BYTES > bytes.length) {
      const more = new Uint8Array(new ArrayBuffer(2 * bytes.length));
      more.set(bytes);
      bytes = more;
    }
    got = syscall(SYS.read, fd, addressOf(bytes) + used, READ_BYTES);
  }
  close(fd);
  return got === 0 && used % RECORD_BYTES === 0 ? new Uint32Array(bytes.buffer, 0, used / 4) : undefined;
}

function tryLoad(): number {
  try {
    const types = KernelTypes.tryRead();
    const id = types === undefined ? 0 : findFunction(ITERATOR);
    return types === undefined || id <= 0 ? -1 : tryLoadIteratorProgram(iteratorCode(types), id);
  } catch (error) {
    if (error instanceof CriuError) return -1;
    throw error;
  }
}

/** The number by which the kernel knows one of its functions. It finds it ten times faster than we; 0 or less: it does not. */
function findFunction(name: string): number {
  const p = new BpfProgram();
  const [r0, r1, r2, r3, r4, r6, frame] = [0, 1, 2, 3, 4, 6, 10];
  const text = new BigUint64Array(Math.ceil((name.length + 1) / 8));
  new Uint8Array(text.buffer).set(bytesOf(name));
  p.move(r6, r1);
  text.forEach((word, i) => {
    p.set64(r1, word);
    p.store(frame, 8 * i - text.byteLength, r1);
  });
  p.stackAddress(r1, -text.byteLength);
  p.set(r2, text.byteLength);
  p.set(r3, BTF_KIND_FUNC);
  p.set(r4, 0);
  p.call(BPF_FUNC_btf_find_by_name_kind);
  p.store(r6, 0, r0);
  const answer = new BigInt64Array(1);
  const result = tryRunProgram(p.finish(), new Uint8Array(answer.buffer));
  return result < 0 ? result : Number(answer[0]);
}

/* struct bpf_iter__task_vma: meta, task, vma; struct bpf_iter_meta begins with seq. */
const META = 0;
const VMA = 16;
const SEQ = 0;

/** Writes what is wanted of the mapping; at the end it is called without one. */
function iteratorCode(types: KernelTypes): Uint8Array {
  const p = new BpfProgram();
  const [r1, r2, r3, r6, frame] = [1, 2, 3, 6, 10];
  p.load(r6, r1, VMA);
  p.endIfZero(r6);
  p.load(r1, r1, META);
  p.load(r1, r1, SEQ);
  (['vm_area_struct.vm_start', 'vm_area_struct.vm_end', 'vm_area_struct.vm_flags'] as const).forEach((member, i) => {
    p.load(r2, r6, types.offset(member));
    p.store(frame, 8 * i - RECORD_BYTES, r2);
  });
  p.stackAddress(r2, -RECORD_BYTES);
  p.set(r3, RECORD_BYTES);
  p.call(BPF_FUNC_seq_write);
  return p.finish();
}
