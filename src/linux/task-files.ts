/**
 * All that a process has open, read from the kernel in one go: a BPF program writes a record for each descriptor while the
 * kernel goes through its table (Documentation/bpf/bpf_iterators.rst). That takes a tenth of the time of asking a
 * duplicate of each by system calls.
 * For kernels from 6.12 on.
 */
import { BPF_FUNC_d_path, BPF_FUNC_probe_read_kernel, BPF_FUNC_seq_write } from './abi/bpf.ts';
import { S_IFMT, S_IFSOCK } from './abi/fcntl.ts';
import { PIPEFS_MAGIC, SOCKFS_MAGIC } from './abi/statfs.ts';
import { BpfProgram } from './bpf-assembler.ts';
import { META, ProcessIterator } from './bpf-iterator.ts';
import type { KernelTypes } from './kernel-types.ts';
import { likenessRanges, type Range } from './socket-likeness.ts';
import { tryCreateArray } from './syscalls/bpf-program.ts';
import { close } from './syscalls/fs.ts';

/** The function of the kernel that stands for the iterator. */
const ITERATOR = 'bpf_iter_task_file';
/** struct bpf_iter__task_file. */
const CONTEXT = { task: 8, fd: 16, file: 24 } as const;

const PATH_BYTES_MAX = 4096;
/** A value of the map is where a record is put together, and in its second half what makes a socket alike to others. */
const VALUE_BYTES = 3 * PATH_BYTES_MAX;
const LIKENESS_AT = 2 * PATH_BYTES_MAX;

/** What follows the record of a socket. */
const LIKENESS = {
  /** Not 0 when something could not be read. */
  errors: 0,
  /** Of the struct socket. */
  flags: 8,
  /** socket-likeness.ts */
  ranges: 16,
} as const;

/** Where a record has what, in bytes; words of 64 bits but for those that say otherwise. */
const RECORD = {
  /** u32. */
  fd: 0,
  /** f_flags, u32. */
  flags: 4,
  position: 8,
  /** Not 0 when somebody was told to be its owner, or a signal was chosen. */
  owner: 16,
  inode: 24,
  size: 32,
  /** u32. */
  mode: 40,
  /** u32. */
  links: 44,
  /** The kernel's dev_t of the file system, u32. */
  device: 48,
  /** u32. */
  mntId: 52,
  /** f_type of the file system, u32. */
  fsType: 56,
  /** Not 0 when there are file locks or leases, or have been. */
  locks: 64,
  /** The 64 bits of the table that say whether its descriptors are closed by exec. */
  cloexec: 72,
  /** What d_path returned: bytes of the path with the one that ends it, or −errno; s32. 0 for pipes and sockets. */
  pathBytes: 80,
  path: 88,
} as const;

/** Records are of different lengths, multiples of 8. */
export interface TaskFileRecords {
  readonly count: number;
  readonly bytes: Uint8Array;
  readonly words: Uint32Array;
  /** Where each record begins, in words of 32 bits. */
  readonly starts: readonly number[];
  /** How many bytes come after the record of a socket. */
  readonly likenessBytes: number;
}

/** What makes the socket of the record at `start` alike to others: see socket-likeness.ts. Undefined if it is unknown. */
export function likenessOf({ bytes, words, likenessBytes }: TaskFileRecords, start: number): Uint8Array | undefined {
  const at = start * 4 + recordBytes(words[start + RECORD_AT.pathBytes] ?? 0);
  if (words[at / 4] !== 0 || words[at / 4 + 1] !== 0) return undefined;
  return bytes.subarray(at + LIKENESS.flags, at + likenessBytes);
}

/** The family in what `likenessOf` gives. */
export const familyIn = (likeness: Uint8Array): number => {
  const at = LIKENESS.ranges - LIKENESS.flags;
  return (likeness[at] ?? 0) | ((likeness[at + 1] ?? 0) << 8);
};

/** Where a record has what, in words of 32 bits; of what has 64, that is the lower half. */
export const RECORD_AT = {
  fd: RECORD.fd / 4,
  flags: RECORD.flags / 4,
  position: RECORD.position / 4,
  owner: RECORD.owner / 4,
  inode: RECORD.inode / 4,
  size: RECORD.size / 4,
  mode: RECORD.mode / 4,
  links: RECORD.links / 4,
  device: RECORD.device / 4,
  fsType: RECORD.fsType / 4,
  locks: RECORD.locks / 4,
  cloexec: RECORD.cloexec / 4,
  mntId: RECORD.mntId / 4,
  pathBytes: RECORD.pathBytes / 4,
  path: RECORD.path / 4,
} as const;

const RECORD_BYTES_USUAL = 128;

export class TaskFiles {
  readonly #iterator: ProcessIterator;
  readonly #likenessBytes: number;

  private constructor(iterator: ProcessIterator, likenessBytes: number) {
    this.#iterator = iterator;
    this.#likenessBytes = likenessBytes;
  }

  /** Undefined where it is not allowed, or the kernel does not tell its types. */
  static tryOpen(): TaskFiles | undefined {
    const map = tryCreateArray(1, VALUE_BYTES);
    if (map < 0) return undefined;
    let ranges: readonly Range[] = [];
    const iterator = ProcessIterator.tryLoad(ITERATOR, (types) => {
      ranges = likenessRanges(types);
      return recordCode(types, map, ranges);
    });
    close(map);
    return iterator && new TaskFiles(iterator, likenessBytes(ranges));
  }

  [Symbol.dispose](): void {
    this.#iterator[Symbol.dispose]();
  }

  /** Everything that process `pid`, which stands still, has open, by ascending descriptors; `count` is about how much. */
  tryRead(pid: number, count: number): TaskFileRecords | undefined {
    const bytes = this.#iterator.tryRead(pid, count * RECORD_BYTES_USUAL);
    return bytes && findRecords(bytes, this.#likenessBytes);
  }
}

function findRecords(bytes: Uint8Array, likeness: number): TaskFileRecords {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >> 2);
  const starts: number[] = [];
  for (let at = 0; at < words.length; ) {
    starts.push(at);
    const isSocket = ((words[at + RECORD_AT.mode] ?? 0) & S_IFMT) === S_IFSOCK;
    at += (recordBytes(words[at + RECORD_AT.pathBytes] ?? 0) + (isSocket ? likeness : 0)) / 4;
  }
  return { count: starts.length, bytes, words, starts, likenessBytes: likeness };
}

/** An error in place of the path has no bytes. */
const recordBytes = (pathBytes: number) => (RECORD.path + (pathBytes > PATH_BYTES_MAX ? 0 : pathBytes) + 7) & -8;

/** Of what follows the record of a socket. */
function likenessBytes(ranges: readonly Range[]): number {
  let bytes: number = LIKENESS.ranges;
  for (const [start, end] of ranges) bytes += end - start;
  return (bytes + 7) & -8;
}

/**
 * The program that writes a record; `map` has the value where it is put together. `ranges`: of the struct sock of a socket.
 * Throws CriuError.
 */
function recordCode(types: KernelTypes, map: number, ranges: readonly Range[]): Uint8Array {
  const p = new BpfProgram();
  beginRecord(p, map);
  describeFile(p, types);
  describeMountAndTable(p, types);
  writeWithPath(p, types);
  writeLikeness(p, types, ranges);
  return p.finish();
}

/* Registers: the first are for arguments and results of helpers, the others are kept. */
const r0 = 0;
const r1 = 1;
const r2 = 2;
const r3 = 3;
const r4 = 4;
const context = 6;
const file = 7;
const record = 8;
const object = 9;

function beginRecord(p: BpfProgram, map: number): void {
  p.move(context, r1);
  p.load(file, context, CONTEXT.file);
  p.endIfZero(file);
  p.findFirstValue(map, -4);
  p.move(record, r0);
}

function describeFile(p: BpfProgram, types: KernelTypes): void {
  const put = (to: number, bytes: 4 | 8, from: number, offset: number, size: 2 | 4 | 8 = bytes) => {
    p.load(r1, from, offset, size);
    p.store(record, to, r1, bytes);
  };
  // It is a pointer since Linux 6.12, which has this member; before, it was a structure.
  types.offset('fown_struct.file');
  put(RECORD.fd, 4, context, CONTEXT.fd);
  put(RECORD.flags, 4, file, types.offset('file.f_flags'));
  put(RECORD.position, 8, file, types.offset('file.f_pos'));
  put(RECORD.owner, 8, file, types.offset('file.f_owner'));
  p.load(object, file, types.offset('file.f_inode'));
  put(RECORD.inode, 8, object, types.offset('inode.i_ino'));
  put(RECORD.size, 8, object, types.offset('inode.i_size'));
  put(RECORD.mode, 4, object, types.offset('inode.i_mode'), 2);
  put(RECORD.links, 4, object, types.offset('inode.i_nlink'));
  put(RECORD.locks, 8, object, types.offset('inode.i_flctx'));
  p.load(object, object, types.offset('inode.i_sb'));
  put(RECORD.device, 4, object, types.offset('super_block.s_dev'));
  put(RECORD.fsType, 8, object, types.offset('super_block.s_magic'));
}

/** Copies memory from where r3 points to. */
function copy(p: BpfProgram, to: number, bytes: number): void {
  p.move(r1, record);
  p.add(r1, to);
  p.set(r2, bytes);
  p.call(BPF_FUNC_probe_read_kernel);
}

function describeMountAndTable(p: BpfProgram, types: KernelTypes): void {
  // struct mount has a struct vfsmount inside, to which a path points.
  p.load(r3, file, types.offset('file.f_path') + types.offset('path.mnt'));
  p.add(r3, types.offset('mount.mnt_id') - types.offset('mount.mnt'));
  copy(p, RECORD.mntId, 4);
  p.endUnless(r0, 0);
  p.load(object, context, CONTEXT.task);
  p.endIfZero(object);
  p.load(object, object, types.offset('task_struct.files'));
  p.load(object, object, types.offset('files_struct.fdt'));
  p.load(r3, object, types.offset('fdtable.close_on_exec'));
  p.load(r1, context, CONTEXT.fd, 4);
  p.shiftRight(r1, 6);
  p.shiftLeft(r1, 3);
  p.addRegister(r3, r1);
  copy(p, RECORD.cloexec, 8);
  p.endUnless(r0, 0);
}

/** Writes bytes of the value, r3 of them. */
function write(p: BpfProgram, from: number): void {
  p.load(r1, context, META.pointer);
  p.load(r1, r1, META.seq);
  p.move(r2, record);
  p.add(r2, from);
  p.call(BPF_FUNC_seq_write);
}

function writeWithPath(p: BpfProgram, types: KernelTypes): void {
  p.move(r1, file);
  p.add(r1, types.offset('file.f_path'));
  p.move(r2, record);
  p.add(r2, RECORD.path);
  p.set(r3, PATH_BYTES_MAX);
  // Names of pipes and sockets are made of their inode numbers, which takes long.
  p.load(r4, record, RECORD.fsType);
  p.zeroIfSame(r3, r4, PIPEFS_MAGIC);
  p.zeroIfSame(r3, r4, SOCKFS_MAGIC);
  p.call(BPF_FUNC_d_path);
  p.store(record, RECORD.pathBytes, r0, 4);
  p.zeroIfAbove(r0, PATH_BYTES_MAX);
  p.add(r0, RECORD.path + 7);
  p.and(r0, -8);
  p.move(r3, r0);
  write(p, 0);
}

/** Whatever happens, the record of a socket is followed by so many bytes. */
function writeLikeness(p: BpfProgram, types: KernelTypes, ranges: readonly Range[]): void {
  p.load(r1, record, RECORD.mode, 4);
  p.and(r1, S_IFMT);
  p.endUnless(r1, S_IFSOCK);
  p.load(object, file, types.offset('file.private_data'));
  const errors = file;
  p.set(errors, 0);
  const tryCopy = (offset: number, to: number, bytes: number) => {
    p.move(r3, object);
    p.add(r3, offset);
    copy(p, LIKENESS_AT + to, bytes);
    p.or(errors, r0);
  };
  tryCopy(types.offset('socket.flags'), LIKENESS.flags, 8);
  // The pointer goes where errors are put in the end.
  tryCopy(types.offset('socket.sk'), LIKENESS.errors, 8);
  p.load(object, record, LIKENESS_AT + LIKENESS.errors);
  let to: number = LIKENESS.ranges;
  for (const [start, end] of ranges) {
    tryCopy(start, to, end - start);
    to += end - start;
  }
  p.store(record, LIKENESS_AT + LIKENESS.errors, errors);
  p.set(r3, likenessBytes(ranges));
  write(p, LIKENESS_AT);
}
