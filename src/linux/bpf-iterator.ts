/**
 * What the kernel goes through for a process (its mappings, its descriptors), written down by a small BPF program for each
 * of these things (Documentation/bpf/bpf_iterators.rst; of one process since Linux 6.1).
 *
 * Where the kernel or its policy does not allow it (CAP_BPF and CAP_PERFMON are needed, and no lockdown for
 * confidentiality), nobody can look.
 */
import { bytesOf } from '../base/bytes.ts';
import { CriuError } from '../base/errors.ts';
import { BPF_FUNC_btf_find_by_name_kind, BTF_KIND_FUNC } from './abi/bpf.ts';
import { ERRNO } from './abi/errno.ts';
import { SYS } from './abi/syscall-numbers.ts';
import { BpfProgram } from './bpf-assembler.ts';
import { addressOf, syscall } from './kernel.ts';
import { KernelTypes } from './kernel-types.ts';
import { tryLoadIteratorProgram, tryOpenIterator, tryRunProgram } from './syscalls/bpf-program.ts';
import { close } from './syscalls/fs.ts';

/** Members of struct bpf_iter_meta, to which the first word of every iterator's context points. */
export const META = { pointer: 0, seq: 0, number: 16 } as const;

/** What one read gives at most (kernel/bpf/bpf_iter.c bpf_seq_read()). */
const READ_BYTES = 1 << 15;

export class ProcessIterator {
  readonly #program: number;

  private constructor(program: number) {
    this.#program = program;
  }

  /**
   * `name` is that of the kernel's function for the iterator; `code` makes the program, and throws CriuError when the kernel
   * has not what it needs. Undefined when it can't be had. Loading takes some milliseconds.
   */
  static tryLoad(name: string, code: (types: KernelTypes) => Uint8Array): ProcessIterator | undefined {
    const types = KernelTypes.tryRead();
    const id = types === undefined ? 0 : findFunction(name);
    if (types === undefined || id <= 0) return undefined;
    try {
      const program = tryLoadIteratorProgram(code(types), id);
      return program < 0 ? undefined : new ProcessIterator(program);
    } catch (error) {
      // A kernel with other structures.
      if (error instanceof CriuError) return undefined;
      throw error;
    }
  }

  [Symbol.dispose](): void {
    close(this.#program);
  }

  /** What the program writes of process `pid`; about `expected` bytes. Undefined when it is gone, or not in order. */
  tryRead(pid: number, expected = READ_BYTES): Uint8Array | undefined {
    const fd = tryOpenIterator(this.#program, pid);
    if (fd < 0) return undefined;
    const bytes = tryReadAll(fd, expected);
    close(fd);
    return bytes;
  }
}

function tryReadAll(fd: number, expected: number): Uint8Array | undefined {
  let bytes = new Uint8Array(new ArrayBuffer(expected + READ_BYTES));
  let used = 0;
  for (;;) {
    if (bytes.length - used < READ_BYTES) {
      const longer = new Uint8Array(new ArrayBuffer(2 * bytes.length));
      longer.set(bytes);
      bytes = longer;
    }
    const got = syscall(SYS.read, fd, addressOf(bytes) + used, READ_BYTES);
    if (got === 0) return bytes.subarray(0, used);
    if (got === -ERRNO.EAGAIN) continue;
    if (got < 0) return undefined;
    used += got;
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
