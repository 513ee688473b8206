/** bpf(2), as far as small programs at tracepoints need it. All return a descriptor, or −errno. */
import {
  BPF_MAP_LOOKUP_ELEM,
  BPF_MAP_TYPE_ARRAY,
  BPF_PROG_LOAD,
  BPF_PROG_TYPE_RAW_TRACEPOINT,
  BPF_RAW_TRACEPOINT_OPEN,
} from '../abi/bpf.ts';
import { SYS } from '../abi/syscall-numbers.ts';
import { addressOf, syscall } from '../kernel.ts';
import { tryCreateMap } from './bpf.ts';

/** Helpers that read kernel memory are for programs with a licence that is compatible with the GPL. */
const LICENCE = 'Dual MIT/GPL\0';
const ATTRIBUTE_BYTES = 72;

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

/** An array of `maxEntries` values. */
export function tryCreateArray(maxEntries: number, valueBytes: number): number {
  const shape = { keyBytes: 4, valueBytes, maxEntries, flags: 0, name: '', ifindex: 0, extra: 0n };
  return tryCreateMap({ type: BPF_MAP_TYPE_ARRAY, ...shape });
}

export function tryLoadTracepointProgram(code: Uint8Array): number {
  const licence = Buffer.from(LICENCE);
  return bpf(BPF_PROG_LOAD, [
    [0, BPF_PROG_TYPE_RAW_TRACEPOINT],
    [4, code.length / 8],
    [8, code],
    [16, licence],
  ]);
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
