import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import { parseBuildId, readBuildId } from './build-id.ts';

const ID = Uint8Array.from({ length: 20 }, (_, i) => i + 1);

/** An ELF file with the given notes in a PT_NOTE segment at `offset`. */
function elf(is64: boolean, notes: { type: number; name: string; id: Uint8Array }[], offset = 256): Uint8Array {
  const file = new Uint8Array(offset + 512);
  const view = new DataView(file.buffer);
  file.set([0x7f, 0x45, 0x4c, 0x46, is64 ? 2 : 1, 1, 1]);
  const headers = 64;
  let end = offset;
  for (const { type, name, id } of notes) {
    view.setUint32(end, name.length + 1, true);
    view.setUint32(end + 4, id.length, true);
    view.setUint32(end + 8, type, true);
    file.set(Buffer.from(name), end + 12);
    const at = end + 12 + ((name.length + 4) & ~3);
    file.set(id, at);
    end = at + ((id.length + 3) & ~3);
  }
  if (is64) {
    view.setBigUint64(32, BigInt(headers), true);
    view.setUint16(56, 1, true);
    view.setBigUint64(headers + 8, BigInt(offset), true);
    view.setBigUint64(headers + 32, BigInt(end - offset), true);
  } else {
    view.setUint32(28, headers, true);
    view.setUint16(44, 1, true);
    view.setUint32(headers + 4, offset, true);
    view.setUint32(headers + 16, end - offset, true);
  }
  view.setUint32(headers, 4, true);
  return file;
}

const WORDS = [0x04030201, 0x08070605, 0x0c0b0a09, 0x100f0e0d, 0x14131211];

describe('the build id', () => {
  test('of 64-bit and 32-bit files, after other notes', () => {
    const notes = [
      { type: 1, name: 'GNU', id: new Uint8Array(16) },
      { type: 3, name: 'GNU', id: ID },
    ];
    expect(parseBuildId(elf(true, notes)).words).toEqual(WORDS);
    expect(parseBuildId(elf(false, notes)).words).toEqual(WORDS);
  });

  test('is filled up with zeros to whole words', () => {
    const file = elf(true, [{ type: 3, name: 'GNU', id: Uint8Array.of(1, 2, 3, 4, 5) }]);
    expect(parseBuildId(file).words).toEqual([0x04030201, 5]);
  });

  test('is none in files without one, too long ones, other files and short ones', () => {
    expect(parseBuildId(elf(true, [])).words).toEqual([]);
    expect(parseBuildId(elf(true, [{ type: 3, name: 'GNU', id: new Uint8Array(0) }])).words).toEqual([]);
    expect(parseBuildId(Buffer.from('#!/bin/sh\n'.repeat(20))).words).toEqual([]);
    expect(parseBuildId(new Uint8Array(3)).words).toEqual([]);
  });

  test('is looked for further on when its segment is not within the first bytes', () => {
    const file = elf(true, [{ type: 3, name: 'GNU', id: ID }], 20000);
    const sizes: number[] = [];
    const words = readBuildId(file.length, (bytes) => {
      sizes.push(bytes);
      return file.subarray(0, bytes);
    });
    expect(words).toEqual(WORDS);
    expect(sizes).toEqual([4096, file.length]);
  });

  test('of garbage is nothing or something, but never an error', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), fc.boolean(), (bytes, is64) => {
        const file = elf(is64, [{ type: 3, name: 'GNU', id: ID }]);
        file.set(bytes.subarray(0, file.length - 5), 5);
        expect(Array.isArray(parseBuildId(file).words)).toBe(true);
      }),
    );
  });
});
