/**
 * Structures of the kernel in its memory: their members (kernel-types.ts) are read where they are (kernel-memory.ts).
 * Begins at our own task_struct, from which all that we have open can be reached.
 */
import { CriuError } from '../base/errors.ts';
import { COPY_MAX, KernelMemory } from './kernel-memory.ts';
import { KernelTypes, type MemberPath } from './kernel-types.ts';

/** More than any list has that is read here. */
const ENTRIES_MAX = 1 << 20;

const tooMany = () =>
  new CriuError({
    object: 'memory of the kernel',
    action: 'cannot be read',
    why: `a list has more than ${ENTRIES_MAX} entries`,
    remedy: 'try again',
  });

export class KernelObjects {
  readonly memory: KernelMemory;
  readonly types: KernelTypes;
  readonly ownTask: bigint;
  #ownFiles: bigint | undefined = undefined;

  private constructor(memory: KernelMemory, types: KernelTypes, ownTask: bigint) {
    this.memory = memory;
    this.types = types;
    this.ownTask = ownTask;
  }

  /** Undefined where criu may not read memory of the kernel, or the kernel does not tell its types. */
  static tryOpen(): KernelObjects | undefined {
    const memory = KernelMemory.tryOpen(0);
    if (memory === undefined) return undefined;
    const types = KernelTypes.tryRead();
    const task = types === undefined ? undefined : memory.ownTask();
    if (types !== undefined && task !== undefined) return new KernelObjects(memory, types, task.address);
    memory[Symbol.dispose]();
    return undefined;
  }

  /** The address of a member. Throws CriuError for one that the kernel does not have. */
  member(object: bigint, path: MemberPath): bigint {
    return object + BigInt(this.types.offset(path));
  }

  /** A member that is a pointer or another word of 64 bits. Throws CriuError. */
  word(object: bigint, path: MemberPath): bigint {
    return this.memory.read(this.member(object, path), 8).getBigUint64(0, true);
  }

  u32(object: bigint, path: MemberPath): number {
    return this.memory.read(this.member(object, path), 4).getUint32(0, true);
  }

  u8(object: bigint, path: MemberPath): number {
    return this.memory.read(this.member(object, path), 1).getUint8(0);
  }

  /** The entries of a struct list_head, which has no object of its own. Throws CriuError. */
  list(head: bigint): bigint[] {
    const entries: bigint[] = [];
    for (let at = this.word(head, 'list_head.next'); at !== head; at = this.word(at, 'list_head.next')) {
      if (entries.push(at) > ENTRIES_MAX) throw tooMany();
    }
    return entries;
  }

  /** Any number of bytes. Throws CriuError. */
  copy(address: bigint, bytes: number): Uint8Array {
    const copy = new Uint8Array(bytes);
    for (let at = 0; at < bytes; at += COPY_MAX) {
      const { buffer, byteOffset, byteLength } = this.memory.read(address + BigInt(at), Math.min(bytes - at, COPY_MAX));
      copy.set(new Uint8Array(buffer, byteOffset, byteLength), at);
    }
    return copy;
  }

  /** The struct file of one of our descriptors. Throws CriuError. */
  ownFile(fd: number): bigint {
    this.#ownFiles ??= this.word(this.ownTask, 'task_struct.files');
    const table = this.word(this.#ownFiles, 'files_struct.fdt');
    const files = this.word(table, 'fdtable.fd');
    return this.memory.read(files + BigInt(8 * fd), 8).getBigUint64(0, true);
  }

  /** The number of a struct pid, or 0, as criu's namespace has it. Throws CriuError. */
  pidNumber(pid: bigint): number {
    if (pid === 0n) return 0;
    const level = this.u32(this.word(this.ownTask, 'task_struct.thread_pid'), 'pid.level');
    if (this.u32(pid, 'pid.level') < level) return 0;
    const entry = this.member(pid, 'pid.numbers') + BigInt(level * this.types.size('upid'));
    return this.u32(entry, 'upid.nr');
  }

  [Symbol.dispose](): void {
    this.memory[Symbol.dispose]();
  }
}
