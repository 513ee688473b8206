import { expect, test } from 'bun:test';
import { newRegisters } from '../../tracee/registers.ts';
import { assembleEntry, describeEntry, readTls } from './tls.ts';

test('a segment as the kernel has it, in the image and back', () => {
  // What the C library asks for: flags are 32 bits, limit in pages, usable.
  const bytes = new Uint8Array(Uint32Array.of(12, 0xf7d0_0500, 0xf_ffff, 0b101_0001).buffer);
  const entry = describeEntry(bytes);
  expect(entry).toMatchObject({ entry_number: 12, base_addr: 0xf7d0_0500, limit: 0xf_ffff, seg_32bit: true });
  expect(entry).toMatchObject({ limit_in_pages: true, usable: true, seg_not_present: false, read_exec_only: false });
  expect(assembleEntry(entry)).toEqual(bytes);
});

test('the two bits of its contents are told apart', () => {
  const bytes = new Uint8Array(Uint32Array.of(13, 0, 0, 0b100).buffer);
  expect(describeEntry(bytes)).toMatchObject({ contents_h: true, contents_l: false });
  expect(assembleEntry(describeEntry(bytes))).toEqual(bytes);
});

test('a thread without selectors has three empty segments, and is not asked', () => {
  const entries = readTls(-1, newRegisters());
  expect(entries.map((entry) => [entry.entry_number, entry.seg_not_present])).toEqual([
    [12, true],
    [13, true],
    [14, true],
  ]);
});
