/**
 * The three entries of a thread in the table of segments (man 2 set_thread_area): where its fs and gs selectors lead in
 * 32-bit code. The C library keeps the address of its thread-local data there.
 */

import { times } from '../../base/bytes.ts';
import { CriuError } from '../../base/errors.ts';
import { once } from '../../base/per-run.ts';
import { keepEncoded } from '../../image/codec.ts';
import type { UserDescT } from '../../image/gen/core-x86.ts';
import { errnoName } from '../../linux/abi/errno.ts';
import { GDT_ENTRY_TLS_ENTRIES, GDT_ENTRY_TLS_MIN, USER_DESC, USER_DESC_BYTES } from '../../linux/abi/ldt.ts';
import { PTRACE_GET_THREAD_AREA, PTRACE_SET_THREAD_AREA } from '../../linux/abi/ptrace.ts';
import { check } from '../../linux/kernel.ts';
import { ptrace } from '../../linux/syscalls/process.ts';
import { type Registers, register } from '../../tracee/registers.ts';
import { putU32, u32 } from '../task/words.ts';

/** The entries of a stopped thread. One of plain 64-bit code has no selectors, and nothing is asked. */
export function readTls(tid: number, registers: Registers): UserDescT[] {
  const usesSegments = register(registers, 'fs') !== 0n || register(registers, 'gs') !== 0n;
  if (!usesSegments) return emptyEntries();
  const bytes = new Uint8Array(USER_DESC_BYTES);
  return NUMBERS.map((number) => {
    check('ptrace', ptrace(PTRACE_GET_THREAD_AREA, tid, number, bytes), `GET_THREAD_AREA, ${tid}`);
    return describeEntry(bytes);
  });
}

const NUMBERS = times(GDT_ENTRY_TLS_ENTRIES, (i) => GDT_ENTRY_TLS_MIN + i);

/** What nearly all threads have. */
const emptyEntries = once(() => NUMBERS.map((entry_number) => keepEncoded({ ...EMPTY, entry_number })));

const EMPTY: Omit<UserDescT, 'entry_number'> = {
  base_addr: 0,
  limit: 0,
  seg_32bit: false,
  contents_h: false,
  contents_l: false,
  read_exec_only: true,
  limit_in_pages: false,
  seg_not_present: true,
  usable: false,
};

/** struct user_desc as the image has it. Pure. */
export function describeEntry(bytes: Uint8Array): UserDescT {
  const bits = u32(bytes, USER_DESC.bits);
  const has = (bit: number) => (bits & (1 << bit)) !== 0;
  return {
    entry_number: u32(bytes, USER_DESC.entry_number),
    base_addr: u32(bytes, USER_DESC.base_addr),
    limit: u32(bytes, USER_DESC.limit),
    seg_32bit: has(0),
    contents_l: has(1),
    contents_h: has(2),
    read_exec_only: has(3),
    limit_in_pages: has(4),
    seg_not_present: has(5),
    usable: has(6),
  };
}

/** The other way round. Pure. */
export function assembleEntry(entry: UserDescT): Uint8Array {
  const bytes = new Uint8Array(USER_DESC_BYTES);
  const { seg_32bit, contents_l, contents_h, read_exec_only, limit_in_pages, seg_not_present, usable } = entry;
  const flags = [seg_32bit, contents_l, contents_h, read_exec_only, limit_in_pages, seg_not_present, usable];
  putU32(bytes, USER_DESC.entry_number, entry.entry_number);
  putU32(bytes, USER_DESC.base_addr, entry.base_addr);
  putU32(bytes, USER_DESC.limit, entry.limit);
  putU32(
    bytes,
    USER_DESC.bits,
    flags.reduce((bits, flag, bit) => bits | (flag ? 1 << bit : 0), 0),
  );
  return bytes;
}

/**
 * Gives a stopped thread its entries, after its registers: the kernel takes the base of a selector that leads to an entry
 * from there (arch/x86/kernel/tls.c, set_tls_desc).
 */
export function writeTls(tid: number, entries: readonly UserDescT[]): void {
  for (const entry of entries) {
    if (entry.seg_not_present) continue;
    const result = ptrace(PTRACE_SET_THREAD_AREA, tid, entry.entry_number, assembleEntry(entry));
    if (result === 0) continue;
    throw new CriuError({
      object: `core-${tid}.img`,
      action: `has a thread-local segment ${entry.entry_number} that the kernel does not take (${errnoName(-result)})`,
      why: 'the image is damaged',
    });
  }
}
