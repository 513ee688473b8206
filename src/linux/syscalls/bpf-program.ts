/** bpf(2), as far as small programs at tracepoints and of iterators need it. All return a descriptor, or −errno. */
import {
  BPF_F_SLEEPABLE,
  BPF_ITER_CREATE,
  BPF_LINK_CREATE,
  BPF_MAP_LOOKUP_ELEM,
  BPF_MAP_TYPE_ARRAY,
  BPF_PROG_LOAD,
  BPF_PROG_TEST_RUN,
  BPF_PROG_TYPE_RAW_TRACEPOINT,
  BPF_PROG_TYPE_SYSCALL,
  BPF_PROG_TYPE_TRACING,
  BPF_RAW_TRACEPOINT_OPEN,
  BPF_TRACE_ITER,
} from '../abi/bpf.ts';
import { ERRNO } from '../abi/errno.ts';
import { SYS } from '../abi/syscall-numbers.ts';
import { addressOf, syscall } from '../kernel.ts';
import { tryCreateMap } from './bpf.ts';
import { close } from './fs.ts';

/** Helpers that read kernel memory are for programs with a licence that is compatible with the GPL. */
const LICENCE = 'Dual MIT/GPL\0';
/** Up to attach_btf_id. */
const ATTRIBUTE_BYTES = 112;

type Field = readonly [offset: number, value: number | Uint8Array];

/** union bpf_attr with some of its fields; memory goes in by its address. */
function bpf(command: number, fields: readonly Field[]): number {
  const attributes = new Uint8Array(ATTRIBUTE_BYTES);
  const view = new DataView(attributes.buffer);
  for (const [offset, value] of fields) {
    if (typeof value === 'number') view.setUint32(offset, value, true);
    else view.setBigUint64(offset, BigInt(addressOf(value)), true);
  }
  return syscall(SYS.bpf, command, attributes, ATTRIBUTE_BYTES);
}

/** An array of `maxEntries` values. `flags`: BPF_F_MMAPABLE. */
export function tryCreateArray(maxEntries: number, valueBytes: number, flags = 0): number {
  const shape = { keyBytes: 4, valueBytes, maxEntries, flags, name: '', ifindex: 0, extra: 0n };
  return tryCreateMap({ type: BPF_MAP_TYPE_ARRAY, ...shape });
}

export function tryLoadTracepointProgram(code: Uint8Array): number {
  return load(BPF_PROG_TYPE_RAW_TRACEPOINT, code, []);
}

/** A program that is executed once, for what only programs may ask; it gets `context`, and may write to it. 0 or −errno. */
export function tryRunProgram(code: Uint8Array, context: Uint8Array): number {
  const fd = tryLoadOwnProgram(code);
  if (fd < 0) return fd;
  const result = bpf(BPF_PROG_TEST_RUN, [
    [0, fd],
    [40, context.length],
    [48, context],
  ]);
  close(fd);
  return result;
}

/** A program that is executed when we say so. */
export function tryLoadOwnProgram(code: Uint8Array): number {
  return load(BPF_PROG_TYPE_SYSCALL, code, [[44, BPF_F_SLEEPABLE]]);
}

/** Executes it. 0 or −errno. */
export function tryExecuteProgram(fd: number): number {
  return bpf(BPF_PROG_TEST_RUN, [[0, fd]]);
}

/** A program for an iterator, which the kernel has as a function (Documentation/bpf/bpf_iterators.rst). */
export function tryLoadIteratorProgram(code: Uint8Array, functionId: number): number {
  return load(BPF_PROG_TYPE_TRACING, code, [
    [68, BPF_TRACE_ITER],
    [108, functionId],
  ]);
}

/** A signal, such as those of the runtime, ends the check of a program (kernel/bpf/verifier.c do_check()). */
const ATTEMPTS = 5;

function load(type: number, code: Uint8Array, more: readonly Field[]): number {
  const fields: Field[] = [[0, type], [4, code.length / 8], [8, code], [16, Buffer.from(LICENCE)], ...more];
  let program = -ERRNO.EAGAIN;
  for (let i = 0; i < ATTEMPTS && program === -ERRNO.EAGAIN; i++) program = bpf(BPF_PROG_LOAD, fields);
  return program;
}

/** A file with what the program writes of all that the iterator finds in a process (Linux 6.1). */
export function tryOpenIterator(programFd: number, pid: number): number {
  // union bpf_iter_link_info. With the tid instead, the last part of a long file comes again and again.
  const which = new Uint8Array(Uint32Array.of(0, pid, 0).buffer);
  const link = bpf(BPF_LINK_CREATE, [
    [0, programFd],
    [8, BPF_TRACE_ITER],
    [16, which],
    [24, which.length],
  ]);
  if (link < 0) return link;
  const fd = bpf(BPF_ITER_CREATE, [[0, link]]);
  close(link);
  return fd;
}

/** Runs the program at a tracepoint, in all tasks, until the descriptor that is returned is closed. */
export function tryAttachTracepoint(programFd: number, name: string): number {
  return bpf(BPF_RAW_TRACEPOINT_OPEN, [
    [0, Buffer.from(`${name}\0`)],
    [8, programFd],
  ]);
}

/** Copies a value of an array; 0 or −errno. */
export function tryLookup(mapFd: number, index: number, value: Uint8Array): number {
  const key = new Uint8Array(Uint32Array.of(index).buffer);
  return bpf(BPF_MAP_LOOKUP_ELEM, [
    [0, mapFd],
    [8, key],
    [16, value],
  ]);
}
